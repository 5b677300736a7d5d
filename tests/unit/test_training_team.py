"""Threads that share a training step."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_frames
from torch import Tensor, nn

from lungsynth.errors import ConfigError
from lungsynth.training.common import STATE_NAME
from lungsynth.training.diffusion.parts import DiffusionOptions, build_parts
from lungsynth.training.diffusion.train import train_diffusion
from lungsynth.training.metrics import METRICS_NAME
from lungsynth.training.presets import DIFFUSION_PRESETS, VAE_PRESETS
from lungsynth.training.team import GRAIN, Team, even
from lungsynth.training.vae import build
from lungsynth.training.words.regions import GRID, PLANES


def sizes(parts: list[slice]) -> list[int]:
    return [part.stop - part.start for part in parts]


def test_parts_cover_a_batch_in_order() -> None:
    for size, n in ((1, 5), (2, 64), (3, 10), (4, 2)):
        parts = Team(size, nullcontext).split(n)
        assert [k for part in parts for k in range(n)[part]] == list(range(n))
        assert len(parts) == size


def test_the_slower_core_is_given_less_and_shares_do_not_flutter() -> None:
    team = Team(2, nullcontext)
    assert sizes(team.split(64)) == [32, 32]
    team.speeds = [10.0, 30.0]
    assert sizes(team.split(64)) == [16, 48]
    team.speeds = [10.5, 30.0]
    assert sizes(team.split(64)) == [16, 48]
    team.speeds = [1e-9, 30.0]
    assert sum(sizes(team.split(64))) == 64
    assert sizes(team.split(10)) != sizes(team.split(64))


def test_speeds_are_those_of_the_threads() -> None:
    weight = nn.Parameter(torch.ones(()))
    team = Team(2, nullcontext)

    def loss(part: slice) -> tuple[Tensor, dict[str, float]]:
        n = part.stop - part.start
        time.sleep(n * (0.004 if part.start == 0 else 0.001))  # the first thread is the slower
        return weight * n, {"n": float(n)}

    for _ in range(12):
        total, numbers = team.backward(loss, 64, [weight])
        assert total == 64 and numbers == {"n": 64.0}
        assert weight.grad is not None and weight.grad == 64
        weight.grad = None
    first, second = sizes(team.split(64))
    assert second > 2 * first and first >= GRAIN


def test_what_goes_wrong_in_a_thread_comes_out_and_the_threads_stay_usable() -> None:
    weight, threads = nn.Parameter(torch.ones(())), torch.get_num_threads()
    team = Team(2, nullcontext)

    def wrong(part: slice) -> tuple[Tensor, dict[str, float]]:
        raise ConfigError("no such loss")

    with pytest.raises(ConfigError, match="no such loss"):
        team.backward(wrong, 8, [weight])
    assert torch.get_num_threads() == threads
    total, _ = team.backward(lambda part: (weight * (part.stop - part.start), {}), 8, [weight])
    assert total == 8


def test_shares_that_are_even_differ_by_one_at_most() -> None:
    assert even(10, 3) == [4, 3, 3] and even(2, 4) == [1, 1, 0, 0]


def test_a_shared_step_is_the_whole_one_but_for_rounding(tmp_path: Path) -> None:
    """Every term of the loss: the denoising, the grounding, the judge's excess."""
    frames = tiny_frames()
    regions = np.zeros((len(frames.images), len(PLANES), GRID, GRID), dtype=np.uint8)
    regions[..., : GRID // 2] = 255
    frames = replace(frames, regions=regions)
    vae = build(VAE_PRESETS["tiny"], frames).eval()
    losses = []
    for workers in (1, 2, 3):
        options: DiffusionOptions = replace(
            DIFFUSION_PRESETS["tiny"],
            steps=2,
            batch_size=8,
            precision="fp32",
            grounding=0.5,
            facts=0.5,
            judge_steps=2,
            caption_dropout=0.0,
            workers=workers,
            log_every=1,
        )
        out = tmp_path / str(workers)
        train_diffusion(build_parts(vae, frames, options), frames, out, options, quiet=True)
        losses.append((out / METRICS_NAME).read_text().splitlines())
    one, *others = (load_file(tmp_path / str(k) / STATE_NAME) for k in (1, 2, 3))
    for other in others:
        for name, value in one.items():
            if name.startswith("adam.exp_avg."):  # the gradients' mean: Adam's step forgets sizes
                assert torch.allclose(value, other[name], rtol=1e-3, atol=1e-6), name
    first, second, _ = (json.loads(lines[0]) for lines in losses)
    assert {"grounding", "facts", "mse"} <= set(first)
    for name in ("loss", "grounding", "facts", "mse", "grad"):
        assert first[name] == pytest.approx(second[name], rel=1e-4), name
