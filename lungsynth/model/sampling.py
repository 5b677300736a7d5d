"""Drawing pictures: prompts and seeds in, pictures and captured attention out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, ShapeError
from lungsynth.model.attention import AttentionCapture, Captured
from lungsynth.model.backbone import (
    embed_prompts,
    is_guided,
    latent_shape,
    network,
    side_pixels,
    side_step,
)
from lungsynth.model.options import LOG_SNR, scheduler_label
from lungsynth.model.options import SCHEDULERS as SCHEDULERS
from lungsynth.model.options import SampleOptions as SampleOptions  # the address on published cards
from lungsynth.model.precision import rounded_network


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch of pictures as they come from the model."""

    images: UInt8Array  # (B, H, W) grey
    latents: Tensor  # (B, C, h, w) float32, scaled x_0
    embeddings: Tensor  # (B, tokens, width) float32, of the prompts
    captured: Captured | None  # attention, when it was asked for


def check_interval(interval: tuple[float, float] | None) -> None:
    """Make sure that a guidance interval is one.

    Raises:
        ConfigError: it is not of two timesteps in [0, 1000], the lower first.
    """
    if interval is None:
        return
    if len(interval) != 2 or not 0 <= interval[0] < interval[1] <= 1000:
        raise ConfigError(
            f"Guidance interval {tuple(interval)}: expected two timesteps from 0 (clean) to 1000 (noise), "
            "the lower first, such as (200, 800)."
        )


class Guide:
    """Switches classifier-free guidance on and off between the steps of a diffusers pipeline.

    Outside its interval a step runs without the empty prompt, so it takes half the time
    (Kynkäänniemi et al., NeurIPS 2024).

    Args:
        pipe: A Stable Diffusion pipeline.
        embeddings: (B, tokens, width) of the prompts.
        without: Likewise of the empty prompt.
        scale: Of the guidance, where it is on.
        interval: See `SampleOptions`.
    """

    def __init__(
        self,
        pipe: Any,
        embeddings: Tensor,
        without: Tensor,
        scale: float,
        interval: tuple[float, float],
    ) -> None:
        self.pipe, self.scale, self.interval = pipe, scale, interval
        self.embeddings = embeddings
        self.both = torch.cat([without, embeddings])

    def on(self, timestep: float) -> bool:
        """Whether a step at this timestep is guided."""
        low, high = self.interval
        return low <= timestep <= high

    def first(self, steps: int) -> bool:
        """Whether the first of so many steps is guided; sets the scheduler's timesteps."""
        self.pipe.scheduler.set_timesteps(steps)
        return self.on(float(self.pipe.scheduler.timesteps[0]))

    def turn(self, index: int) -> dict[str, Any]:
        """After step `index`: what the pipeline must change for the next."""
        timesteps = self.pipe.scheduler.timesteps
        if index + 1 >= len(timesteps):
            return {}
        guided = self.on(float(timesteps[index + 1]))
        self.pipe._guidance_scale = self.scale if guided else 1.0
        return {"prompt_embeds": self.both if guided else self.embeddings}


def resolve_size(pipe: Any, options: SampleOptions) -> tuple[int, int]:
    """(height, width) in pixels.

    Raises:
        ShapeError: a side is not a positive multiple of what the model needs.
    """
    native, step = side_pixels(pipe), side_step(pipe)
    height, width = options.height or native, options.width or native
    for name, side in (("height", height), ("width", width)):
        if side < step or side % step or side > 4 * native:
            near = min(max(round(side / step), 1) * step, 4 * native)
            raise ShapeError(
                f"`{name}` is {side} pixels; expected a multiple of {step} from {step} to {4 * native} "
                f"(the model was trained at {native}). The nearest is {near}."
            )
    return height, width


def set_scheduler(pipe: Any, name: str) -> None:
    """Give the pipeline another sampler with the same noise schedule.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "default":
        return
    if name not in SCHEDULERS:
        raise ConfigError(
            f"Scheduler {name!r} is unknown; there are default, {', '.join(SCHEDULERS)}."
        )
    import diffusers  # deferred: two seconds beyond torch, and already there with a pipeline

    wanted = SCHEDULERS[name]
    kind = getattr(diffusers, wanted.kind)
    now = pipe.scheduler
    if isinstance(now, kind) and scheduler_label(dict(now.config)) == wanted.label:
        return
    settings = {LOG_SNR: False} if LOG_SNR in now.config else {}
    pipe.scheduler = kind.from_config(now.config, **settings | dict(wanted.settings))


def to_grey(decoded: Tensor) -> UInt8Array:
    """Decoded (B, c, H, W) in [-1, 1] -> (B, H, W) uint8; colour channels are averaged."""
    grey = decoded.float().mean(1).clamp(-1, 1).add(1).mul(127.5).round()
    return np.asarray(grey.to(torch.uint8).cpu().numpy())


def draw(
    pipe: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SampleOptions,
    *,
    capture: bool = True,
    on_step: Callable[[int, int, Tensor], bool] | None = None,
    on_capture: Callable[[Captured], None] | None = None,
) -> Drawn:
    """Draw one picture per prompt and seed.

    Each picture's noise comes from its own CPU generator, so a picture does not depend on the batch
    it is drawn in beyond the rounding of batched matrix products (measured in docs/RESULTS.md).

    Args:
        pipe: A Stable Diffusion pipeline.
        prompts: One prompt a picture.
        seeds: One seed a picture.
        options: See `SampleOptions`.
        capture: Read cross-attention while drawing.
        on_step: Called as (step, steps, current latents); returning False stops the drawing
            with `InterruptedError`.
        on_capture: Called before the first step with what the attention is read into as it comes.

    Raises:
        ShapeError, ConfigError: options do not fit the model.
        InterruptedError: `on_step` returned False.
    """
    if len(prompts) != len(seeds) or not prompts:
        raise ConfigError(
            f"{len(prompts)} prompts and {len(seeds)} seeds; expected as many, at least one."
        )
    height, width = resolve_size(pipe, options)
    check_interval(options.guidance_interval)
    set_scheduler(pipe, options.scheduler)
    device = network(pipe).device
    rounding = rounded_network(network(pipe), options.precision)
    shape = latent_shape(pipe, height, width)
    noise = torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(int(s))) for s in seeds]
    ).to(device)
    embeddings = embed_prompts(pipe, prompts)
    guided = is_guided(pipe, options.guidance)
    without = embed_prompts(pipe, [""] * len(prompts)) if guided else None
    guide, scale = None, options.guidance
    if without is not None and options.guidance_interval is not None:
        guide = Guide(pipe, embeddings, without, options.guidance, options.guidance_interval)
        scale = options.guidance if guide.first(options.steps) else 1.0

    def callback(_: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        # some schedulers (PNDM) take a step more than they are asked for
        if on_step and not on_step(index + 1, len(pipe.scheduler.timesteps), values["latents"]):
            raise InterruptedError("drawing was cancelled")
        return values | (guide.turn(index) if guide else {})

    window: Any = nullcontext()
    if capture:
        window = AttentionCapture(
            network(pipe),
            height=shape[1],
            width=shape[2],
            guided=(lambda: bool(pipe.do_classifier_free_guidance)) if guide else guided,
            keep_steps=options.keep_steps,
        )
    with torch.inference_mode():
        with window as captured, rounding:
            if captured is not None and on_capture:
                on_capture(captured)
            latents = pipe(
                prompt_embeds=embeddings,
                negative_prompt_embeds=without if scale > 1 else None,
                latents=noise,
                num_inference_steps=options.steps,
                guidance_scale=scale,
                height=height,
                width=width,
                output_type="latent",
                callback_on_step_end=callback,
                callback_on_step_end_tensor_inputs=["latents"],
            ).images
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
    return Drawn(to_grey(decoded), latents.float().cpu(), embeddings.cpu(), captured)
