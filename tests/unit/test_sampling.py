"""Drawing pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lungsynth.errors import ConfigError, ShapeError
from lungsynth.model.options import scheduler_label
from lungsynth.model.sampling import (
    SCHEDULERS,
    SampleOptions,
    draw,
    resolve_size,
    set_scheduler,
    to_grey,
)


@pytest.fixture
def fresh(pipe: Any) -> Any:
    """The shared pipeline, with its scheduler put back afterwards."""
    scheduler = pipe.scheduler
    yield pipe
    pipe.scheduler = scheduler


def test_the_native_size_is_the_default(pipe: Any) -> None:
    assert resolve_size(pipe, SampleOptions()) == (64, 64)
    assert resolve_size(pipe, SampleOptions(height=32, width=128)) == (32, 128)


@pytest.mark.parametrize(
    ("height", "width", "name", "nearest"),
    [
        (50, None, "height", 64),
        (None, 33, "width", 32),
        (16, 64, "height", 32),
        (64, 100_000, "width", 256),
        (-64, 64, "height", 32),
    ],
)
def test_a_size_that_does_not_fit_names_the_nearest(
    pipe: Any, height: int | None, width: int | None, name: str, nearest: int
) -> None:
    with pytest.raises(ShapeError, match=rf"`{name}` is .*multiple of 32.*nearest is {nearest}\."):
        resolve_size(pipe, SampleOptions(height=height, width=width))


@pytest.mark.parametrize("scheduler", ["default", *SCHEDULERS])
@pytest.mark.parametrize("steps", [1, 4])
def test_every_scheduler_draws_a_finite_picture(fresh: Any, scheduler: str, steps: int) -> None:
    drawn = draw(fresh, ["both lungs"], [0], SampleOptions(steps=steps, scheduler=scheduler))
    assert drawn.images.shape == (1, 64, 64) and drawn.images.dtype == np.uint8
    assert torch.isfinite(drawn.latents).all() and drawn.latents.abs().max() > 1e-3


def test_a_scheduler_is_set_with_its_spacing_and_taken_back(fresh: Any) -> None:
    for name in ("dpm", "dpm-log", "dpm", "ddim", "dpm-log"):
        set_scheduler(fresh, name)
        assert scheduler_label(dict(fresh.scheduler.config)) == SCHEDULERS[name].label
        held = fresh.scheduler
        set_scheduler(fresh, name)
        assert fresh.scheduler is held
    assert SCHEDULERS["dpm-log"].label == "DPMSolverMultistepScheduler (log-SNR)"


def spread_kept(pipe: Any, name: str, steps: int, deviation: float) -> float:
    """Standard deviation that a perfect denoiser's samples keep, for Gaussian latents, as a share."""
    set_scheduler(pipe, name)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(steps)
    x = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0)).double()
    for t in scheduler.timesteps:
        alpha = float(scheduler.alphas_cumprod[int(t)])
        a, s = alpha**0.5, (1 - alpha) ** 0.5
        clean = a * deviation**2 / (a * a * deviation**2 + s * s) * x
        x = scheduler.step(a * (x - a * clean) / s - s * clean, t, x).prev_sample
    return float(x.std()) / deviation


@pytest.mark.parametrize("deviation", [0.4, 1.0])
def test_steps_even_in_log_snr_keep_the_spread_that_ddim_loses(deviation: float) -> None:
    from lungsynth.model.checkpoint import load_pipeline

    pipe, _ = load_pipeline("mini")
    assert spread_kept(pipe, "ddim", 20, deviation) < 0.95
    assert spread_kept(pipe, "dpm-log", 12, deviation) > 0.95


def test_an_unknown_scheduler_lists_those_there_are(fresh: Any) -> None:
    with pytest.raises(ConfigError, match="'magic' is unknown; there are default, ddim"):
        draw(fresh, ["both lungs"], [0], SampleOptions(scheduler="magic"))


def test_half_the_digits_give_nearly_the_same_picture(fresh: Any) -> None:
    full, half = (
        draw(fresh, ["both lungs"], [5], SampleOptions(steps=4, precision=p))
        for p in ("fp32", "bf16")
    )
    assert half.latents.dtype == torch.float32 and torch.isfinite(half.latents).all()
    assert half.captured is not None
    away = (half.latents - full.latents).abs().mean() / full.latents.std()
    assert 0 < away < 0.05  # rounded somewhere, but the same picture


def test_an_unknown_precision_lists_those_there_are(fresh: Any) -> None:
    with pytest.raises(ConfigError, match="'fp8' is unknown; there are auto, fp32, bf16"):
        draw(fresh, ["both lungs"], [0], SampleOptions(precision="fp8"))


def test_pictures_of_any_shape(pipe: Any, sd_pipe: Any) -> None:
    drawn = draw(pipe, ["both lungs"], [0], SampleOptions(steps=1, height=32, width=96))
    assert drawn.images.shape == (1, 32, 96)
    drawn = draw(sd_pipe, ["both lungs"], [0], SampleOptions(steps=1, height=64, width=128))
    assert drawn.images.shape == (1, 64, 128)


def test_the_global_generator_is_neither_read_nor_moved(pipe: Any) -> None:
    options = SampleOptions(steps=2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = draw(pipe, ["both lungs"], [5], options).images
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert np.array_equal(one, draw(pipe, ["both lungs"], [5], options).images)
    assert not np.array_equal(one, draw(pipe, ["both lungs"], [6], options).images)


def test_guidance_and_words_change_the_picture(pipe: Any) -> None:
    def latents(prompt: str, guidance: float) -> torch.Tensor:
        return draw(pipe, [prompt], [0], SampleOptions(steps=2, guidance=guidance)).latents

    one = latents("both lungs", 1.0)
    assert not torch.allclose(one, latents("both lungs", 4.0))
    assert not torch.allclose(one, latents("a child with pneumonia", 1.0))


def test_progress_is_told_and_drawing_can_be_stopped(pipe: Any) -> None:
    told: list[tuple[int, int]] = []

    def on_step(step: int, steps: int, latents: torch.Tensor) -> bool:
        assert latents.shape[0] == 1
        told.append((step, steps))
        return step < 3

    before = pipe.unet.attn_processors
    with pytest.raises(InterruptedError):
        draw(pipe, ["both lungs"], [0], SampleOptions(steps=5), on_step=on_step)
    assert told == [(1, 5), (2, 5), (3, 5)]
    assert all(before[k] is v for k, v in pipe.unet.attn_processors.items())


def test_the_last_step_is_as_many_as_there_are(pipe: Any) -> None:
    told: list[tuple[int, int]] = []

    def on_step(step: int, steps: int, latents: torch.Tensor) -> bool:
        told.append((step, steps))
        return True

    before = pipe.scheduler
    draw(pipe, ["both lungs"], [0], SampleOptions(steps=3, scheduler="pndm"), on_step=on_step)
    pipe.scheduler = before
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("prompts", "seeds"), [([], []), (["a"], []), (["a"], [1, 2])])
def test_prompts_and_seeds_must_match(pipe: Any, prompts: list[str], seeds: list[int]) -> None:
    with pytest.raises(ConfigError, match="expected as many"):
        draw(pipe, prompts, seeds, SampleOptions(steps=1))


def test_decoded_pictures_become_grey() -> None:
    decoded = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5)
    assert to_grey(decoded).tolist() == [[[0, 0, 128, 255, 255]]]
    assert to_grey(decoded.expand(1, 3, 1, 5)).shape == (1, 1, 5)


def batches_of(pipe: Any, options: SampleOptions) -> tuple[Any, list[int]]:
    """What was drawn for one prompt, and how many pictures each call of the network was given."""
    sizes: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(args[0])), with_kwargs=True
    )
    try:
        drawn = draw(pipe, ["both lungs"], [3], options)
    finally:
        hook.remove()
    return drawn, sizes


@pytest.mark.parametrize("scheduler", ["default", "dpm", "euler"])
def test_guidance_is_on_inside_its_interval_alone(fresh: Any, scheduler: str) -> None:
    plain = SampleOptions(steps=4, guidance=3.0, scheduler=scheduler, precision="fp32")
    everywhere, _ = batches_of(fresh, plain)
    whole, sizes = batches_of(fresh, replace(plain, guidance_interval=(0, 1000)))
    assert sizes == [2, 2, 2, 2]
    assert torch.equal(whole.latents, everywhere.latents)
    middle, sizes = batches_of(fresh, replace(plain, guidance_interval=(400, 800)))
    timesteps = [float(t) for t in fresh.scheduler.timesteps]
    assert sizes == [2 if 400 <= t <= 800 else 1 for t in timesteps]
    assert 1 < sum(sizes) - 4 + 1 < 5  # some are guided and some are not
    assert not torch.equal(middle.latents, everywhere.latents)
    assert middle.captured is not None
    (grid, *_) = middle.captured.resolutions
    assert torch.allclose(middle.captured.mean(grid).sum(-1), torch.ones(1, *grid), atol=1e-4)


def test_an_interval_that_no_step_lies_in_is_no_guidance(fresh: Any) -> None:
    options = SampleOptions(steps=4, guidance=3.0, guidance_interval=(0, 0.5), precision="fp32")
    none, sizes = batches_of(fresh, options)
    off, _ = batches_of(fresh, SampleOptions(steps=4, guidance=1.0, precision="fp32"))
    assert sizes == [1, 1, 1, 1]
    assert torch.equal(none.latents, off.latents)


@pytest.mark.parametrize("interval", [(800, 200), (-1, 5), (5, 2000), (3, 3)])
def test_a_guidance_interval_that_is_none_is_refused(fresh: Any, interval: Any) -> None:
    with pytest.raises(ConfigError, match=r"Guidance interval .*expected two timesteps"):
        draw(fresh, ["both lungs"], [0], SampleOptions(steps=2, guidance_interval=interval))
