"""What every training run shares: state on disk, resuming, metrics."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_frames
from torch import Tensor, nn
from warm import start

from lungsynth.errors import CheckpointError, ConfigError, OutputError
from lungsynth.model import tensor_files
from lungsynth.model.tensor_files import load_tensors, save_tensors, write_folder
from lungsynth.training.common import (
    OPTIONS_NAME,
    STATE_NAME,
    Ema,
    LoopOptions,
    Run,
    learning_rate,
    torch_generator,
)
from lungsynth.training.diffusion.parts import build_parts
from lungsynth.training.diffusion.train import train_diffusion
from lungsynth.training.metrics import METRICS_NAME
from lungsynth.training.presets import DIFFUSION_PRESETS, VAE_PRESETS
from lungsynth.training.vae import build, train_vae

OPTIONS = LoopOptions(
    steps=12, batch_size=4, lr=1e-2, warmup_steps=3, log_every=2, precision="fp32"
)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))


def loss_of(
    net: nn.Module, *, die_at: int | None = None
) -> Callable[[int], tuple[Tensor, dict[str, float]]]:
    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == die_at:
            raise KeyboardInterrupt
        x = torch.randn(4, 5, generator=torch_generator(0, step))
        return (net(x) - x.sum(1, keepdim=True)).pow(2).mean(), {"extra": 1.0}

    return loss


def state(out: Path) -> dict[str, Tensor]:
    return load_file(out / STATE_NAME)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / METRICS_NAME).read_text().splitlines()]


@pytest.mark.parametrize("killed_at", [1, 5, 11])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, killed_at: int) -> None:
    net = model()
    assert Run(tmp_path / "whole", net, OPTIONS, {}).loop(loss_of(net), quiet=True)
    often = replace(OPTIONS, save_minutes=0.0)
    net = model()
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path / "cut", net, often, {}).loop(loss_of(net, die_at=killed_at), quiet=True)
    net = model()
    run = Run(tmp_path / "cut", net, often, {})
    assert run.step == killed_at
    assert run.loop(loss_of(net), quiet=True)
    assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))
    assert {k for k in state(tmp_path / "cut") if k.startswith("adam.")}


def test_an_autoencoder_in_pieces_equals_one_in_one_go(tmp_path: Path) -> None:
    frames, options = tiny_frames(), replace(VAE_PRESETS["tiny"], steps=3)
    held = frames.images[:2]
    assert train_vae(frames, held, tmp_path / "whole", options, quiet=True)
    pieces = replace(options, max_minutes=1e-9)
    done = [train_vae(frames, held, tmp_path / "cut", pieces, quiet=True) for _ in range(3)]
    assert done[:2] == [False, False]
    assert train_vae(frames, held, tmp_path / "cut", pieces, quiet=True)
    assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert same(load_file(tmp_path / "whole" / weights), load_file(tmp_path / "cut" / weights))
    assert sorted(p.name for p in (tmp_path / "cut" / "vae").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def test_a_diffusion_model_in_pieces_equals_one_in_one_go(tmp_path: Path) -> None:
    """Also the text encoder and the tokenizer, which is trained anew by each piece."""
    frames, options = tiny_frames(), replace(DIFFUSION_PRESETS["tiny"], steps=3)
    vae = build(VAE_PRESETS["tiny"], frames).eval()

    def train(out: Path, options: Any) -> bool:
        return train_diffusion(build_parts(vae, frames, options), frames, out, options, quiet=True)

    assert train(tmp_path / "whole", options)
    for _ in range(3):
        train(tmp_path / "cut", replace(options, max_minutes=1e-9))
    assert same(state(tmp_path / "whole"), state(tmp_path / "cut"))
    moved = {k.split(".")[2] for k in state(tmp_path / "cut") if k.startswith("adam.exp_avg.")}
    assert moved == {"unet", "text_encoder"}
    one, two = (
        tmp_path / out / "pipeline" / "tokenizer" / "tokenizer.json" for out in ("whole", "cut")
    )
    assert one.read_bytes() == two.read_bytes()


def test_a_process_killed_by_the_system_goes_on_with_the_same_command(
    parquet: Path, tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """It is begun and ended in this process, for each start of another takes seconds."""
    run = tmp_path / "run"
    words = "train vae --preset tiny --pixels 64 --steps 200 --quiet".split()
    command = [*words, "--data", str(parquet), "--out", str(run)]
    first = run_cli(*command, "--max-minutes", "0.00001")
    assert first.code == 0, first.err
    assert "run the same command to resume" in first.err
    (run / METRICS_NAME).unlink()
    root = Path(__file__).parents[2]
    child = start(
        ["-m", "lungsynth", *command], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    deadline = time.monotonic() + 900
    lines = run / METRICS_NAME
    while not (lines.exists() and lines.read_text().count("\n") >= 2):
        assert not child.has_ended() and time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait().returncode == -signal.SIGKILL
    last = run_cli(*command)
    assert last.code == 0 and "complete" in last.err, last.err
    steps = [line["step"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert steps == sorted(set(steps)) and steps[-1] == 200
    assert (tmp_path / "run" / "vae" / "config.json").is_file()


def test_other_options_are_refused_with_both_values(tmp_path: Path) -> None:
    net = model()
    Run(tmp_path, net, OPTIONS, {"kind": "x"}).loop(loss_of(net), quiet=True)
    before = state(tmp_path)
    with pytest.raises(ConfigError, match=r"lr: 0\.01 then, 0\.5 now.*another --out"):
        Run(tmp_path, model(), replace(OPTIONS, lr=0.5), {"kind": "x"})
    with pytest.raises(ConfigError, match="kind: 'x' then, 'y' now"):
        Run(tmp_path, model(), OPTIONS, {"kind": "y"})
    assert same(before, state(tmp_path))
    for free in (
        {"max_minutes": 3.0},
        {"log_every": 7},
        {"save_minutes": 1.0},
        {"sample_every": 4},
    ):
        Run(tmp_path, model(), replace(OPTIONS, **free), {"kind": "x"})


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_corrupt_state_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    net = model()
    Run(tmp_path, net, OPTIONS, {}).loop(loss_of(net), quiet=True)
    (tmp_path / STATE_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=STATE_NAME):
        Run(tmp_path, model(), OPTIONS, {})
    assert (tmp_path / STATE_NAME).read_bytes() == content


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    net = model()
    Run(tmp_path, net, OPTIONS, {}).loop(loss_of(net), quiet=True)
    with pytest.raises(CheckpointError, match="another model"):
        Run(tmp_path, nn.Linear(3, 3), OPTIONS, {})
    without = {k: v for k, v in state(tmp_path).items() if not k.startswith("ema.")}
    save_file(without, tmp_path / STATE_NAME)
    with pytest.raises(CheckpointError, match="another model"):
        Run(tmp_path, model(), OPTIONS, {})


@pytest.mark.parametrize("text", ["", "{", "[]x", "3"])
def test_options_cut_short_are_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / OPTIONS_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=OPTIONS_NAME):
        Run(tmp_path, model(), OPTIONS, {})


def test_metrics_beyond_the_state_are_trimmed(tmp_path: Path) -> None:
    net = model()
    Run(tmp_path, net, replace(OPTIONS, max_minutes=1e-9), {}).loop(loss_of(net), quiet=True)
    with (tmp_path / METRICS_NAME).open("a") as handle:
        handle.write(
            '{"step": 1, "loss": 3.0}\n{"step": 9, "loss": 1.0}\n{"loss": 2}\n{"step": 10, "lo'
        )
    net = model()
    run = Run(tmp_path, net, OPTIONS, {})
    assert metrics(tmp_path) == [{"step": 1, "loss": 3.0}]
    run.loop(loss_of(net), quiet=True)
    assert [m["step"] for m in metrics(tmp_path)] == [1, 2, 4, 6, 8, 10, 12]
    assert metrics(tmp_path)[-1].keys() >= {"loss", "grad", "extra", "lr", "images_per_s"}


def test_a_step_without_a_finite_gradient_is_skipped(tmp_path: Path) -> None:
    net = model()
    begun = {k: v.clone() for k, v in net.state_dict().items()}

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        return net(torch.ones(1, 5)).sum() * float("nan"), {}

    Run(tmp_path, net, replace(OPTIONS, steps=2), {}).loop(loss, quiet=True)
    assert same(begun, dict(net.state_dict()))
    assert metrics(tmp_path)[-1]["skipped"] == 1.0


def test_pictures_are_drawn_with_the_average_weights(tmp_path: Path) -> None:
    net = model()
    seen: list[tuple[int, bool, bool]] = []
    run = Run(tmp_path, net, replace(OPTIONS, sample_every=5), {})

    def on_sample(step: int) -> dict[str, float]:
        equal = all(torch.equal(p, run.ema.shadow[k]) for k, p in net.named_parameters())
        seen.append((step, equal, net.training))
        return {"psnr": 1.0}

    run.loop(loss_of(net), on_sample=on_sample, quiet=True)
    assert seen == [(5, True, False), (10, True, False), (12, True, False)]
    assert not torch.equal(net[0].weight, run.ema.shadow["0.weight"])
    with pytest.raises(ZeroDivisionError):
        run.with_ema(lambda: {"x": 1 / 0})
    assert not torch.equal(net[0].weight, run.ema.shadow["0.weight"])


def test_a_model_with_nothing_to_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        Run(tmp_path, model().requires_grad_(False), OPTIONS, {})


def test_the_learning_rate_warms_up_and_decays() -> None:
    options = LoopOptions(steps=100, lr=1.0, warmup_steps=10, final_lr_ratio=0.1)
    assert [learning_rate(s, options) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate(10, options) == pytest.approx(1.0)
    assert learning_rate(55, options) == pytest.approx(0.55)
    assert learning_rate(100, options) == pytest.approx(0.1)
    assert learning_rate(10**6, options) == pytest.approx(0.1)


def test_the_moving_average_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(0.0)
    ema = Ema(net, 0.5)
    net.weight.data.fill_(1.0)
    ema.update(net, 0)  # decay min(0.5, 1/10)
    assert ema.shadow["weight"].item() == pytest.approx(0.9)
    ema.update(net, 1000)  # decay 0.5
    assert ema.shadow["weight"].item() == pytest.approx(0.95)


def test_generators_depend_on_seed_and_step() -> None:
    draws = [
        torch.rand(1, generator=torch_generator(*key)).item()
        for key in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0))
    ]
    assert draws[0] == draws[4] and len(set(draws)) == 4


def test_a_full_disk_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors({"a": torch.ones(2)}, path, {"step": "1"})

    def full(tensors: Any, where: Path, metadata: Any = None) -> None:
        Path(where).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        save_tensors({"a": torch.zeros(2)}, path, {})
    assert torch.equal(load_tensors(path)["a"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_folder_is_written_whole_and_keeps_what_else_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "old.safetensors").write_text("old")
    (folder / "tokens").mkdir()

    def save(where: Path) -> None:
        (where / "unet").mkdir()
        (where / "unet" / "new.safetensors").write_text("new")
        (where / "model_index.json").write_text("{}")

    def fail(where: Path) -> None:
        save(where)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_folder(folder, fail)
    assert sorted(p.name for p in folder.rglob("*")) == ["old.safetensors", "tokens", "unet"]
    write_folder(folder, save)
    names = sorted(p.name for p in folder.rglob("*"))
    assert names == ["model_index.json", "new.safetensors", "tokens", "unet"]
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        Run(tmp_path / "file" / "run", model(), OPTIONS, {})
    with pytest.raises(OutputError):
        save_tensors({"a": torch.ones(1)}, tmp_path / "file" / "x.safetensors", {})


def test_pictures_and_crops_must_fit(tmp_path: Path) -> None:
    frames = tiny_frames(4)
    with pytest.raises(ConfigError, match="64 pixels and crops of 128"):
        train_vae(frames, frames.images, tmp_path, VAE_PRESETS["cpu"], quiet=True)
    odd = tiny_frames(4, pixels=72)
    with pytest.raises(ConfigError, match="multiples of 16"):
        train_vae(odd, odd.images, tmp_path, VAE_PRESETS["tiny"], quiet=True)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_number_of_held_out_films(tmp_path: Path, n: int) -> None:
    frames = tiny_frames(4)
    options = replace(VAE_PRESETS["tiny"], steps=1)
    assert train_vae(frames, frames.images[:1].repeat(n, 0), tmp_path, options, quiet=True)
    assert (tmp_path / "recon_0000001.png").is_file()
    assert metrics(tmp_path)[-1]["psnr"] > 5
