"""Checkpoints of the layouts of Stable Diffusion 1.5 and 2.1, with and without LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import TEXTS, UNETS, write_layout, write_lora

from lungsynth.maps import END, START, draw_with_maps
from lungsynth.model.backbone import embed_prompts
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer

PROMPT = "chest x-ray of a man, both lungs"
WORDS = ["lungs", "chest x-ray"]


@pytest.fixture(scope="module", params=sorted(UNETS))
def layout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Version, and its checkpoint, narrow."""
    version = request.param
    return version, write_layout(tmp_path_factory.mktemp("sd") / f"sd-{version}", version)


def result_of(folder: Path, *, lora: Path | None = None, **options: Any) -> Any:
    model = Synthesizer(str(folder), lora=None if lora is None else str(lora), device="cpu")
    chosen = SampleOptions(steps=2, guidance=3.0, precision="fp32", **options)
    (result,) = model.generate([PROMPT], [3], options=chosen, words=WORDS)
    return model, result


def check(result: Any, side: int) -> None:
    assert result.image.shape == result.mask.shape == (side, side)
    assert result.image.std() > 0 and set(np.unique(result.mask)) <= {0, 1}
    for word in WORDS:
        heat = result.maps[word]
        assert np.isfinite(heat).all() and heat.max() == pytest.approx(1) and heat.min() < 0.99
    assert result.record["classes"] == {"1": "lungs"}


def test_a_layout_draws_with_maps_and_mask(layout: Any) -> None:
    version, folder = layout
    model, result = result_of(folder)
    check(result, 64)
    width = TEXTS[version]["hidden_size"]
    assert embed_prompts(model.pipe, [PROMPT]).shape == (1, 77, width)
    wanted = {"1.5": "epsilon", "2.1": "v_prediction"}[version]
    assert model.pipe.scheduler.config.prediction_type == wanted
    (taller,) = model.generate(
        [PROMPT], [3], options=SampleOptions(steps=1, height=128, width=64), words=WORDS
    )
    assert taller.image.shape == (128, 64) == taller.maps["lungs"].shape


def test_the_kind_of_prediction_counts(layout: Any) -> None:
    """A v-prediction checkpoint that is sampled as if it predicted noise is another picture."""
    model, result = result_of(layout[1], scheduler="ddim")
    other = {"epsilon": "v_prediction", "v_prediction": "epsilon"}
    config = dict(model._scheduler.config)
    config["prediction_type"] = other[config["prediction_type"]]
    model._scheduler = type(model._scheduler).from_config(config)
    options = SampleOptions(steps=2, guidance=3.0, precision="fp32", scheduler="ddim")
    (wrong,) = model.generate([PROMPT], [3], options=options, words=WORDS)
    assert np.abs(result.image.astype(int) - wrong.image.astype(int)).max() > 2


def test_a_lora_changes_picture_and_maps(layout: Any, tmp_path: Path) -> None:
    lora = write_lora(layout[1], tmp_path / "lora")
    _, plain = result_of(layout[1])
    model, changed = result_of(layout[1], lora=lora)
    check(changed, 64)
    assert changed.record["lora"] == "lora"
    assert np.abs(plain.image.astype(int) - changed.image.astype(int)).max() > 2
    assert np.abs(plain.maps["lungs"] - changed.maps["lungs"]).max() > 0.01
    drawn = list(
        draw_with_maps(
            model.pipe, [PROMPT] * 2, words=[["lungs", START], [END]], num_inference_steps=1
        )
    )
    assert [list(maps) for _, maps in drawn] == [["lungs", START], [END]]


@pytest.mark.slow
@pytest.mark.parametrize("with_lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("version", sorted(UNETS))
def test_the_real_size_draws_with_maps_and_mask(
    tmp_path: Path, version: str, with_lora: bool
) -> None:
    """512 pixels, one step: 0.9 billion parameters, 6 GiB of memory."""
    folder = write_layout(tmp_path / f"sd-{version}", version, full=True)
    lora = write_lora(folder, tmp_path / "lora") if with_lora else None
    model = Synthesizer(str(folder), lora=None if lora is None else str(lora), device="cpu")
    options = SampleOptions(steps=1, guidance=3.0, height=512, width=512)
    (result,) = model.generate([PROMPT], [0], options=options, words=WORDS)
    check(result, 512)
    assert result.record["lora"] == ("lora" if with_lora else None)
    n_parameters = sum(
        p.numel() for name, p in model.pipe.unet.named_parameters() if "lora" not in name
    )
    assert 850e6 < n_parameters < 880e6
