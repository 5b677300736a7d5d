"""Where each word of a prompt acted, for any Stable Diffusion checkpoint in diffusers layout.

    python examples/attention_maps.py "chest X-ray of a man with pneumonia, both lungs"
    python examples/attention_maps.py "a cat on a sofa" "a dog in the rain" --model ORG/MODEL

Writes OUT/0.png, 1.png … : the picture, then a map for each content word and for the start and end
tokens. Several prompts are drawn together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lungsynth.images import colour_heat
from lungsynth.maps import END, START, draw_with_maps
from lungsynth.model.checkpoint import load_pipeline
from lungsynth.prompts import default_words


def main() -> None:
    """Read the arguments, draw, write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="+", metavar="PROMPT")
    parser.add_argument("--model", default=None, help="Folder or Hub id; the shipped checkpoint.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("maps"))
    given = parser.parse_args()
    pipe, _ = load_pipeline(given.model)
    words = [[*default_words(prompt, None), START, END] for prompt in given.prompts]
    drawn = draw_with_maps(
        pipe,
        given.prompts,
        words=words,
        num_inference_steps=given.steps,
        guidance_scale=given.guidance,
        generator=torch.Generator().manual_seed(given.seed),
    )
    given.out.mkdir(parents=True, exist_ok=True)
    for index, (picture, maps) in enumerate(drawn):
        grey = np.asarray(picture.convert("L"))
        panels = [np.asarray(picture.convert("RGB"))]
        panels += [colour_heat(heat, grey) for heat in maps.values()]
        Image.fromarray(np.concatenate(panels, axis=1)).save(given.out / f"{index}.png")
        print(f"{given.out / f'{index}.png'}: picture, {', '.join(maps)}")  # noqa: T201


if __name__ == "__main__":
    main()
