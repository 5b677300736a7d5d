"""Which number format is chosen, said, recorded, and warned of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lungsynth.errors import ConfigError
from lungsynth.model import precision as module
from lungsynth.model.precision import (
    PRECISIONS,
    native_bf16,
    resolve_precision,
    rounded_network,
)
from lungsynth.model.sampling import SampleOptions, draw
from lungsynth.pipeline import Synthesizer
from lungsynth.training.common import OPTIONS_NAME, LoopOptions, Run

LOWERED = """
import warnings
from lungsynth.model.precision import bf16_factor, native_bf16, resolve_precision
assert not native_bf16() and resolve_precision("auto") == "fp32", "auto took what is emulated"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("fp32") == "fp32"
print(len(caught), f"{bf16_factor('cpu'):.1f}", caught[0].message)
"""


def pretend(monkeypatch: pytest.MonkeyPatch, *, native: bool, factor: float = 0.4) -> None:
    """A processor with or without bf16, where bf16 takes `factor` times as long."""
    monkeypatch.setattr(module, "native_bf16", lambda device="cpu": native)
    monkeypatch.setattr(module, "bf16_factor", lambda kind="cpu": factor)


@pytest.mark.parametrize(
    ("native", "factor", "chosen"),
    # what a clock says on a busy machine decides nothing
    [(True, 0.4, "bf16"), (True, 3.0, "bf16"), (False, 0.4, "fp32"), (False, 7.0, "fp32")],
)
def test_auto_takes_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, factor: float, chosen: str
) -> None:
    pretend(monkeypatch, native=native, factor=factor)
    assert resolve_precision("auto") == chosen


def test_bf16_that_is_emulated_warns_with_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, native=False, factor=7.14)
    with pytest.warns(UserWarning, match=r"emulated.* 7\.1 times as long as in fp32"):
        assert resolve_precision("bf16") == "bf16"
    pretend(monkeypatch, native=True)
    assert resolve_precision("bf16") == "bf16"  # silent, or the suite fails
    assert resolve_precision("fp32") == "fp32"
    with pytest.raises(ConfigError, match="'fp8' is unknown; there are auto, fp32, bf16"):
        resolve_precision("fp8")


def test_a_processor_lowered_by_its_environment_has_no_bf16() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOWERED],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    n, factor, told = done.stdout.split(maxsplit=2)
    assert n == "1" and float(factor) > 1 and f"{factor} times" in told


def test_what_the_processor_says_is_what_it_takes() -> None:
    found = torch.cpu.get_capabilities()
    if not (found.get("amx_bf16") and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        pytest.skip("a processor without AMX")
    assert native_bf16() and resolve_precision("auto") == "bf16"


@pytest.mark.parametrize("native", [True, False])
def test_the_record_says_what_was_taken(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, native: bool
) -> None:
    pretend(monkeypatch, native=native)
    synthesizer = Synthesizer(str(checkpoint))
    assert SampleOptions().precision == "auto"
    (result,) = synthesizer.generate(["both lungs"], [3], options=SampleOptions(steps=2))
    taken = "bf16" if native else "fp32"
    assert result.record["options"]["precision"] == taken
    (again,) = synthesizer.generate(
        ["both lungs"], [3], options=SampleOptions(steps=2, precision=taken)
    )
    assert (again.image == result.image).all() and again.record == result.record


def test_the_network_rounds_and_the_sampler_does_not(pipe: Any) -> None:
    seen = []
    handle = pipe.unet.conv_in.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    before = pipe.scheduler
    try:
        drawn = draw(
            pipe, ["lungs"], [0], SampleOptions(steps=2, scheduler="euler", precision="bf16")
        )
    finally:
        handle.remove()
        pipe.scheduler = before
    assert set(seen) == {torch.bfloat16}
    # a latent that had been rounded to bf16 on its way would be one of its few values
    assert not torch.equal(drawn.latents, drawn.latents.bfloat16().float())


def test_the_network_is_left_as_it_was(pipe: Any) -> None:
    before = {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    for name, kind in PRECISIONS.items():
        with pytest.raises(ZeroDivisionError), rounded_network(pipe.unet, name):
            inside = {p.dtype for p in pipe.unet.parameters()}
            assert inside == {kind or torch.float32}
            raise ZeroDivisionError
    assert not pipe.unet._forward_hooks and not pipe.unet._forward_pre_hooks
    assert not torch.is_autocast_enabled("cpu")
    after = pipe.unet.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert all(after[k].dtype == before[k].dtype for k in before)


def test_a_run_says_what_it_took_and_another_processor_may_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = LoopOptions(steps=2, batch_size=1, log_every=1)
    assert options.precision == "auto"

    def kept() -> str:
        return str(json.loads((tmp_path / OPTIONS_NAME).read_text())["precision"])

    def turn(options: LoopOptions) -> Run:
        net = nn.Linear(2, 1)
        run = Run(tmp_path, net, options, {})
        run.loop(lambda step: (net(torch.ones(1, 2)).float().pow(2).mean(), {}), quiet=True)
        return run

    pretend(monkeypatch, native=True)
    assert turn(options).options.precision == kept() == "bf16"
    pretend(monkeypatch, native=False)
    assert turn(options).options.precision == kept() == "fp32"
    with (
        pytest.raises(ConfigError, match="precision: 'fp32' then, 'bf16' now"),
        pytest.warns(UserWarning),
    ):
        turn(replace(options, precision="bf16"))
