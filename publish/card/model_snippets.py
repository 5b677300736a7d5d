"""Code in a model's card that loads the repository it stands in; a test runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lungsynth import __version__
from publish.hub.weights import LORA_NAME, Checkpoint

PROMPTS = (
    "PA chest X-ray of a 35-year-old woman, clear lungs",
    "Frontal chest X-ray of a 60-year-old man with pneumonia",
)
"""Drawn for the gallery unless others are given."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the weights cannot tell about themselves."""

    repo: str  # ORG/NAME
    licence: str | None = None  # a Hub identifier; None = inherited
    base: str | None = None  # ORG/NAME of the model it was trained from; None = from nothing
    base_licence: str | None = None
    data: tuple[tuple[str, str], ...] = ()  # name of a data set, its licence
    steps: int | None = None
    training: str = ""  # the command, or a sentence
    evaluation: Mapping[str, Path] = field(default_factory=dict)  # name in the repository -> JSON
    prompts: tuple[str, ...] = PROMPTS
    plain: bool = False  # the repository brings the class of its autoencoder
    home: str = ""  # address of the repository the checkpoint's own card links into


def snippet(checkpoint: Checkpoint, facts: ModelFacts) -> str:
    """Python that loads the repository with diffusers and draws one picture."""
    lines = ["import torch"]
    where = json.dumps(facts.base if checkpoint.is_lora else facts.repo)
    lines += ["from diffusers import StableDiffusionPipeline"]
    options = "dtype=torch.float32"
    if facts.plain:  # without lungsynth: the class comes with the repository
        options += ", trust_remote_code=True"
    elif checkpoint.needs_lungsynth:
        lines += ["from lungsynth import PatchAutoencoderKL  # makes the class known to diffusers"]
    lines += ["", f"pipe = StableDiffusionPipeline.from_pretrained({where}, {options})"]
    if checkpoint.is_lora:
        lines += [
            f"pipe.load_lora_weights({json.dumps(facts.repo)}, weight_name={json.dumps(LORA_NAME)})"
        ]
    lines += [
        "picture = pipe(",
        f"    {json.dumps(facts.prompts[0], ensure_ascii=False)}, num_inference_steps=20,",
        "    generator=torch.Generator().manual_seed(0),",
        ").images[0]",
        'picture.save("xray.png")',
    ]
    return "\n".join(lines)


def mask_snippet(checkpoint: Checkpoint, facts: ModelFacts) -> str:
    """Python that loads the repository with lungsynth and draws one picture with its mask."""
    named = ", ".join(f"{value} = {name}" for name, value in checkpoint.classes.items())
    return "\n".join(
        [
            "from huggingface_hub import snapshot_download",
            "from lungsynth.pipeline import Synthesizer",
            "from lungsynth.model.sampling import SampleOptions",
            "from PIL import Image",
            "",
            f"synthesizer = Synthesizer(snapshot_download({json.dumps(facts.repo)}))",
            "[drawn] = synthesizer.generate(",
            f"    [{json.dumps(facts.prompts[0], ensure_ascii=False)}], [0],  # prompts, seeds",
            "    options=SampleOptions(steps=20),",
            ")",
            'Image.fromarray(drawn.image).save("xray.png")',
            f'Image.fromarray(drawn.mask).save("mask.png")  # {named}',
        ]
    )


def use_section(checkpoint: Checkpoint, facts: ModelFacts) -> str:
    """How to load the repository: with masks where it has class tokens, and by diffusers alone."""
    alone = f"```python\n{snippet(checkpoint, facts)}\n```"
    if not checkpoint.classes or checkpoint.is_lora:
        return alone
    code = "vae/patch_autoencoder.py"
    told = f" It runs [{code}]({code}), which is lungsynth's." if facts.plain else ""
    return (
        f"Pictures with masks, by lungsynth {__version__}:\n\n"
        f"```python\n{mask_snippet(checkpoint, facts)}\n```\n\n"
        f"Pictures alone, by diffusers:{told}\n\n{alone}"
    )
