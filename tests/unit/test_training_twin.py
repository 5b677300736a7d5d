"""A copy of the networks in bfloat16 that a step runs through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_frames
from torch import nn

from lungsynth.training.common import STATE_NAME
from lungsynth.training.diffusion.parts import DiffusionOptions, build_parts
from lungsynth.training.diffusion.train import train_diffusion
from lungsynth.training.metrics import METRICS_NAME
from lungsynth.training.presets import DIFFUSION_PRESETS, VAE_PRESETS
from lungsynth.training.team import Twin
from lungsynth.training.vae import build


def test_a_twin_follows_its_weights() -> None:
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    twin = Twin({"one": network})
    assert twin.networks["one"].weight.dtype == torch.bfloat16
    with torch.no_grad():
        network.weight.fill_(1 + 2**-9)  # between two numbers of bfloat16
    twin.refresh()
    assert (twin.networks["one"].weight == 1).all()
    [rounded] = twin.of([network.weight])
    assert rounded is twin.networks["one"].weight
    assert network.weight.dtype == torch.float32 and (network.weight > 1).all()


# where bf16 is emulated the step is slow, and says so, but must be the same
@pytest.mark.filterwarnings("ignore:This processor has no bf16:UserWarning")
def test_a_step_through_the_twin_is_that_of_float32_but_for_rounding(tmp_path: Path) -> None:
    frames = tiny_frames()
    vae = build(VAE_PRESETS["tiny"], frames).eval()
    states, losses = [], []
    for precision, workers in (("fp32", 1), ("bf16", 1), ("bf16", 2)):
        options: DiffusionOptions = replace(
            DIFFUSION_PRESETS["tiny"],
            steps=1,
            batch_size=16,
            precision=precision,
            workers=workers,
            log_every=1,
        )
        out = tmp_path / f"{precision}-{workers}"
        train_diffusion(build_parts(vae, frames, options), frames, out, options, quiet=True)
        states.append(load_file(out / STATE_NAME))
        losses.append(json.loads((out / METRICS_NAME).read_text().splitlines()[0])["loss"])
    exact = torch.cat([v.flatten() for k, v in states[0].items() if "exp_avg." in k])
    for state, loss in zip(states[1:], losses[1:], strict=True):
        assert {v.dtype for k, v in state.items() if k.startswith("model.")} == {torch.float32}
        rounded = torch.cat([v.flatten() for k, v in state.items() if "exp_avg." in k])
        assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.1
        assert abs(loss / losses[0] - 1) < 0.01
