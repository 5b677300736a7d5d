"""Power by band, and radiomics beside the autoencoder's own limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_films import image_set, write_films
from scipy.ndimage import gaussian_filter

from lungsynth.errors import DataError
from lungsynth.evaluation.drawing import balanced_prompts, draw_set
from lungsynth.evaluation.fidelity.detail import (
    BANDS,
    band_powers,
    detail_table,
    evaluate_detail,
    power_ratio,
    radiomic_ratio,
)
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer


def wave(cycles: int) -> np.ndarray:
    """(1, 256, 256) uint8: so many cycles from side to side."""
    x = np.sin(2 * np.pi * cycles * np.arange(256) / 256)
    return np.tile((127.5 + 100 * x).astype(np.uint8), (256, 1))[None]


@pytest.mark.parametrize("cycles", [12, 24, 48, 96])
def test_a_wave_lies_in_its_band(cycles: int) -> None:
    (powers,) = band_powers(wave(cycles))
    (inside,) = [k for k, (low, high) in enumerate(BANDS) if low <= cycles < high]
    assert int(powers.argmax()) == inside
    assert powers[inside] > 100 * np.delete(powers, inside).max()


def test_contrast_counts_squared_and_blur_takes_the_fine_bands() -> None:
    films = image_set(12).images
    powers = band_powers(films)
    weak = ((films.astype(float) - 128) / 2 + 128).astype(np.uint8)
    half = power_ratio(band_powers(weak), powers, np.random.default_rng(0))
    assert half[0]["value"] == pytest.approx(0.25, rel=0.05)
    blurred = np.stack([gaussian_filter(film, 2.0) for film in films])
    told = power_ratio(band_powers(blurred), powers, np.random.default_rng(0))
    assert told[0]["value"] > 0.6 and told[3]["value"] < 0.05
    assert all(one["low"] <= one["value"] <= one["high"] for one in told)


def test_samples_like_reconstructions_have_ratio_one() -> None:
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=(600, 4)) for name in ("real train", "real test")}
    drawn["reconstructions"] = rng.normal(0.8, 1, (600, 4))
    near = {**drawn, "samples": rng.normal(0.8, 1, (600, 4))}
    far = {**drawn, "samples": rng.normal(2.4, 1, (600, 4))}
    assert radiomic_ratio(near, 20, rng)["ratio"]["value"] == pytest.approx(1, abs=0.3)
    assert radiomic_ratio(far, 20, rng)["ratio"]["value"] > 4


def test_the_command_writes_a_report(
    checkpoint: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    films, drawn = write_films(tmp_path / "films.parquet", 160), tmp_path / "drawn"
    maker = Synthesizer(str(checkpoint))
    options = SampleOptions(steps=1, guidance=1.0, precision="fp32")
    assert (
        len(list(draw_set(maker, drawn, balanced_prompts(40), options=options, quiet=True))) == 40
    )
    out = tmp_path / "out"
    done = run_cli(
        *("evaluate", "detail", "--data", films, "--synthetic", drawn, "--model", checkpoint),
        *("--out", out, "--limit", 16, "--subsamples", 20, "--quiet"),
    )
    assert done.code == 0, done.err
    told = json.loads((out / "detail.json").read_text())
    assert set(told["groups"]) == {"adults", "children"} and told["model_hash"]
    for group in told["groups"].values():
        assert group["n"] == 16
        assert set(group["power"]) == {"8-16", "16-32", "32-64", "64-128"}
        each = group["radiomics"]
        assert each["ratio"]["value"] == pytest.approx(
            each["samples"]["value"] / each["reconstructions"]["value"], rel=1e-3
        )
    assert "samples ÷ reconstructions" in done.out and "64-128 cycles" in detail_table(told)


def test_too_few_pictures_are_refused(pipe: Any) -> None:
    few = image_set(6)
    with pytest.raises(DataError, match=r"Too few pictures: .*3 samples"):
        evaluate_detail(pipe, few, few, few)
