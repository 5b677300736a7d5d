"""The words of the card; `{…}` are filled in by `publish.card.dataset_card`."""

from __future__ import annotations

HUMAN = ("introduction", "limitations", "acknowledgements")
"""Sections people may write between markers; a rebuild keeps them."""

TEXT = """
# {title}

> **{notice}**
> Pictures and masks are machine-made. No radiologist has read them. Not for clinical use.
{unmeasured}
{n_rows:,} synthetic frontal chest X-rays ({sides} pixels, grey), each drawn from a text prompt,
with a mask of {classes} read from the model's cross-attention and refined.

{introduction}

![Pictures, and the same with their masks](figures/examples.png)

## Load

```python
import numpy as np
from datasets import load_dataset

rows = load_dataset("{place}", split="{first_split}"{revision})
row = rows[0]
image, mask = np.asarray(row["image"]), np.asarray(row["mask"])  # (H, W) uint8 both
{probability_snippet}print(row["prompt"], image.shape, np.unique(mask))
```

Without a download, and the coloured preview:

```python
from datasets import load_dataset

stream = load_dataset("{place}", split="{first_split}", streaming=True{revision})
print(next(iter(stream))["id"])
preview = load_dataset("{place}", "preview", split="train"{revision})
print(preview[0]["overlay"].size)
```

{place_note}
| split | rows |
| --- | --- |
{split_rows}

Rows whose prompts differ in case and signs only share a `prompt_group` and a split. Every split is
synthetic, so none of them shows how a method does on real films.

## Masks

`mask` is an 8-bit grey PNG of the same height and width as `image`; its values are class ids, so it
looks black in a viewer: the `preview` config shows it in colour. The same table is in
`id2label.json`. 0 is background{masks_note}

| value | class | mean share of the picture | rows with it |
| --- | --- | --- | --- |
{class_rows}

## Columns

| column | meaning |
| --- | --- |
{columns}

What a prompt asks for is not a diagnosis of the picture: nobody has checked that it shows.
{asked}
![Areas, trust, and what prompts ask for](figures/distributions.png)

## How it was made

Drawn from {prompts} with seed {seed}: {steps} steps of {scheduler}, guidance {guidance:g}, with the
checkpoint `{model}` (weights `{model_hash}`) and lungsynth {code_version}. Every parameter, the
libraries, and the SHA-256 of each file are in `manifest.json` (configuration `{config_sha}`).
{replay}

{filter}

{by_eye}

## How good the masks are
{evaluation}
The least sure masks that were published (lowest `trust`):

![The least sure masks](figures/least_sure.png)

{further}## What is known of the checkpoint

{measured}

## Memorisation

{memorisation}

## Uses

For research on synthetic data and on segmentation. Out of scope: diagnosis, treatment or any clinical
decision, identifying anyone, and standing in for real films when a method is judged.

## Limitations

Pictures inherit the ages, views, devices and hospitals of the model's training data. Masks are what
the model's attention and a refinement make of a picture, not what an expert would draw.

{limitations}

{withdrawn}## Licence

{licence}
The code that made it is under Apache-2.0.
{sources}
## Contact and citation

{contact}

```bibtex
{bibtex}
```

{acknowledgements}

## Changelog

{changelog}
"""
