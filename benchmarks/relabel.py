"""`python -m benchmarks relabel`: other masks for the pictures of a published set.

The pictures stay; each is read again by the tokens of a checkpoint, and refined in several ways, so
that `evaluate downstream` compares masks and nothing else. "raw" is the arg-max of the probability.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lungsynth.model.options import PRECISION_NAMES

ROW_COLUMNS = ("id", "prompt", "seed", "trust", "image")
RAW = "raw"


@click.command("relabel")
@click.argument("dist", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default=None, metavar="NAME|DIR", help="Whose tokens read the pictures.")
@click.option("--classes", default=None, metavar="NAME", help="Convention of the masks.")
@click.option("--methods", default="raw,crf,sequential,cross", show_default=True)
@click.option("--student-weight", type=click.FloatRange(0, 1), default=None)
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--precision", type=click.Choice(PRECISION_NAMES), default="auto", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Writes METHOD.parquet for each; a finished folder is left alone.",
)
def relabel(
    dist: Path,
    model: str | None,
    classes: str | None,
    methods: str,
    student_weight: float | None,
    limit: int | None,
    batch_size: int,
    precision: str,
    out: Path,
) -> None:
    """Masks of other tokens and refinements for the pictures of DIST."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tqdm import tqdm

    from lungsynth.files import write_parquet
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.pipeline import Synthesizer

    names = methods.split(",")
    if all((out / f"{name}.parquet").exists() for name in names):
        click.echo(f"{out}: done before")
        return
    synthesizer = Synthesizer(model, classes=classes)
    config = RefineConfig()
    if student_weight is not None:
        config = replace(config, student_weight=student_weight)
    rows = pa.concat_tables(
        [
            pq.read_table(p, columns=list(ROW_COLUMNS))
            for p in sorted((dist / "data").glob("*.parquet"))
        ]
    ).to_pylist()[:limit]
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for start in tqdm(range(0, len(rows), batch_size), unit="batch"):
        part = rows[start : start + batch_size]
        for name, masks in _masks(synthesizer, part, names, config, precision).items():
            made[name] += [
                {
                    "id": one["id"],
                    "image": one["image"]["bytes"],
                    "mask": mask,
                    "trust": one["trust"],
                    "mask_convention": synthesizer.classes[0].convention,
                }
                for one, mask in zip(part, masks, strict=True)
            ]
    for name, found in made.items():
        write_parquet(found, out / f"{name}.parquet")
    click.echo(f"{out}: {len(rows)} pictures, {', '.join(names)}")


def _masks(
    synthesizer: Any, part: list[dict[str, Any]], names: list[str], config: Any, precision: str
) -> dict[str, list[bytes]]:
    """PNG masks of some rows, by method."""
    import io

    import numpy as np
    from PIL import Image

    from lungsynth.images import png_bytes
    from lungsynth.masks.chain import run
    from lungsynth.masks.reading import no_word, read
    from lungsynth.model.backbone import embed_prompts, encode_images
    from lungsynth.segment import class_prompt

    images = np.stack([np.asarray(Image.open(io.BytesIO(one["image"]["bytes"]))) for one in part])
    text = embed_prompts(synthesizer.pipe, [class_prompt(synthesizer)] * len(part))
    logits = synthesizer.read_tokens(
        encode_images(synthesizer.pipe, images),
        text,
        [one["seed"] for one in part],
        precision=precision,
    )
    found: dict[str, list[bytes]] = {name: [] for name in names}
    for index, image in enumerate(images):
        specs = synthesizer.classes
        probability = read(specs, logits, index, no_word, config)
        aids = synthesizer.aids(image, config, [n for n in names if n != RAW])
        for name in names:
            chosen = replace(config, method="none" if name == RAW else name)
            made = run(probability, image, specs, chosen, aids)
            found[name].append(png_bytes(made.coarse if name == RAW else made.mask))
    return found
