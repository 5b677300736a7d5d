"""The checkpoint in the package: complete, small enough, and drawing what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungsynth.model.checkpoint import CHECKPOINTS, PICKLED, shipped_names
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer

MINI = CHECKPOINTS / "mini"
PROMPT = "Frontal PA chest X-ray of a 60-year-old man. Normal."


@pytest.fixture(scope="module")
def shipped() -> Synthesizer:
    return Synthesizer()


def test_it_is_complete_and_small() -> None:
    assert "mini" in shipped_names()
    files = [p for p in MINI.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 100e6
    assert not [p for p in files if p.suffix in PICKLED]
    card = (MINI / "README.md").read_text()
    for word in (
        "Kermany",
        "ChestX-ray14",
        "Hannover",
        "Shenzhen",
        "CC BY 4.0",
        "not for diagnosis",
    ):
        assert word in card
    assert "@@" not in card


def test_diffusers_loads_it_after_importing_lungsynth() -> None:
    from diffusers import StableDiffusionPipeline

    import lungsynth  # noqa: F401

    pipe = StableDiffusionPipeline.from_pretrained(MINI)
    assert pipe.unet.config.cross_attention_dim == pipe.text_encoder.config.hidden_size
    assert pipe.vae_scale_factor == 16


def test_it_draws_two_lungs(shipped: Synthesizer) -> None:
    result = next(iter(shipped.generate([PROMPT], [0], options=SampleOptions(steps=8))))
    assert result.image.shape == result.mask.shape == (256, 256)
    assert result.image.std() > 20  # a film, not a flat grey
    assert set(np.unique(result.mask)) == {0, 1, 2}
    columns = {k: np.nonzero(result.mask == k)[1].mean() for k in (1, 2)}
    assert columns[2] < columns[1]  # the patient's right lung is on the left of the picture
    share = (result.mask > 0).mean()
    assert 0.08 < share < 0.6
    assert result.record["classes"] == {"1": "left lung", "2": "right lung"}
    # lungs hold air: darker than the rest of the body between and around them
    middle = result.image[60:200, 30:226]
    lungs = result.mask[60:200, 30:226] > 0
    assert middle[lungs].mean() < middle[~lungs].mean()


def test_it_knows_the_words_of_the_readme(shipped: Synthesizer) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for prompt in (
        "Frontal chest X-ray of a 60-year-old man with pneumonia",
        "PA chest X-ray of a 35-year-old woman, clear lungs",
    ):
        assert prompt in readme
        assert shipped.check(prompt)[0].unknown == ()


def test_classes_and_tokens_fit(shipped: Synthesizer) -> None:
    spec = json.loads((MINI / "classes.json").read_text())
    assert [c["id"] for c in spec["classes"]] == [s.id for s in shipped.classes] == [1, 2]
