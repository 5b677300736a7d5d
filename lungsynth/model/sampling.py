"""Drawing pictures: prompts and seeds in, pictures and captured attention out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    import diffusers

    kind = getattr(diffusers, SCHEDULERS[name])
    if not isinstance(pipe.scheduler, kind):
        # without its Runge-Kutta start, as Stable Diffusion runs it: one call of the U-Net a step
        extra = {"skip_prk_steps": True} if name == "pndm" else {}
        pipe.scheduler = kind.from_config(pipe.scheduler.config, **extra)


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

    def callback(_: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if on_step and not on_step(index + 1, options.steps, values["latents"]):
            raise InterruptedError("drawing was cancelled")
        return values

    def run() -> Any:
        return pipe(
            prompt_embeds=embeddings,
            negative_prompt_embeds=without,
            latents=noise,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            height=height,
            width=width,
            output_type="latent",
            callback_on_step_end=callback,
            callback_on_step_end_tensor_inputs=["latents"],
        ).images

    captured: Captured | None = None
    with torch.inference_mode():
        if capture:
            window = AttentionCapture(
                network(pipe),
                height=shape[1],
                width=shape[2],
                guided=guided,
                keep_steps=options.keep_steps,
            )
            with window as captured, rounding:
                if on_capture:
                    on_capture(captured)
                latents = run()
        else:
            with rounding:
                latents = run()
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
    return Drawn(to_grey(decoded), latents.float().cpu(), embeddings.cpu(), captured)
