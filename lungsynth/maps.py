"""Where each word acted, for any Stable Diffusion pipeline of diffusers: many prompts at once.

    from lungsynth.maps import draw_with_maps

    for picture, maps in draw_with_maps(pipe, prompts, words=[["lungs"], ["heart", "<start>"]]):
        maps["lungs"]  # (H, W) in [0, 1]

`capture_of(pipe)` reads any call of a pipeline, `prompt_maps` makes maps of what it read. None needs
a checkpoint of ours; see docs/ATTENTION.md and examples/attention_maps.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from diffusers.loaders import TextualInversionLoaderMixin
from PIL import Image

from lungsynth.arrays import FloatArray
from lungsynth.errors import CaptureError, ConfigError
from lungsynth.model.attention import AttentionCapture, Captured, word_maps
from lungsynth.model.backbone import network
from lungsynth.prompts import END, PADDING, START, default_words, word_tokens

__all__ = [
    "END",
    "PADDING",
    "START",
    "AttentionCapture",
    "Captured",
    "capture_of",
    "draw_with_maps",
    "prompt_maps",
]

Maps = dict[str, FloatArray]

OTHER_GUIDANCE = ("do_perturbed_attention_guidance", "image_guidance_scale")
"""Of diffusers' pipelines whose calls may hold three parts (PAG, InstructPix2Pix)."""


def capture_of(pipe: Any, **options: bool) -> AttentionCapture:
    """A capture for a pipeline, whatever size, batch and guidance it is then called with.

        with capture_of(pipe) as captured:
            pictures = pipe(["a man with pneumonia", "clear lungs"], guidance_scale=7.5).images
        captured.mean((64, 64))  # (2, 64, 64, 77): probabilities, one entry a picture

    Args:
        pipe: A pipeline with a U-Net: text to image, image to image, inpainting, SDXL …
        options: `probabilities`, `keep_steps`, `queries`; see `AttentionCapture`.

    Raises:
        CaptureError: the pipeline has no U-Net, or its calls hold more than a half with and a half
            without the prompt.
    """
    kind = type(pipe).__name__
    if not hasattr(pipe, "unet"):
        raise CaptureError(
            f"{kind} has no U-Net; expected a Stable Diffusion pipeline of diffusers."
        )
    if not hasattr(type(pipe), "do_classifier_free_guidance") or any(
        hasattr(type(pipe), name) for name in OTHER_GUIDANCE
    ):
        raise CaptureError(
            f"{kind} guides in a way of its own, so it is not known which part of a call is the "
            "prompt's; expected a pipeline with classifier-free guidance alone."
        )
    # asked at each call: the pipeline knows only then whether it is guided
    return AttentionCapture(
        network(pipe), guided=lambda: bool(pipe.do_classifier_free_guidance), **options
    )


def prompt_maps(
    captured: Captured,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    height: int,
    width: int,
    words: Sequence[Sequence[str]] | None = None,
) -> list[Maps]:
    """Maps of the words of every prompt of a captured call.

    Args:
        captured: What `capture_of` read of one call of a pipeline.
        tokenizer: The pipeline's; a fast one (with offsets).
        prompts: Those of the call, in order. Each may stand for several pictures
            (`num_images_per_prompt`).
        height: Of the maps, in pixels.
        width: Likewise.
        words: For each prompt its words or phrases; START, END and PADDING are among those there
            are. None takes its content words.

    Returns:
        For each picture, in the pipeline's order: word -> (height, width) float32 in [0, 1].

    Raises:
        ConfigError: the call had another number of pictures, or `words` has another length.
        WordError: a word does not occur in its prompt, or lies beyond the token limit.
        CaptureError: no probabilities were captured.
    """
    if not captured.sums:
        raise CaptureError(
            "No probabilities were captured: call the pipeline inside `capture_of(pipe)`."
        )
    n_pictures = next(iter(captured.sums.values())).shape[0]
    if not prompts or n_pictures % len(prompts):
        raise ConfigError(
            f"{len(prompts)} prompts for {n_pictures} captured pictures; give those of the call."
        )
    chosen = _words_of(prompts, words)
    each = n_pictures // len(prompts)
    found: list[Maps] = []
    for index, prompt in enumerate(prompts):
        read = _as_read(prompt, tokenizer)
        tokens = [word_tokens(read, word, tokenizer) for word in chosen[index]]
        for k in range(index * each, (index + 1) * each):
            heats = word_maps(captured, k, tokens, height=height, width=width)
            arrays = np.asarray(heats.numpy(), dtype=np.float32)
            found.append(dict(zip(chosen[index], arrays, strict=True)))
    return found


def draw_with_maps(
    pipe: Any,
    prompts: Sequence[str],
    *,
    words: Sequence[Sequence[str]] | None = None,
    batch_size: int = 4,
    **call: Any,
) -> Iterator[tuple[Any, Maps]]:
    """Draw prompts with a pipeline, several a call, and give each picture with its maps.

    Args:
        pipe: A Stable Diffusion pipeline of diffusers.
        prompts: Any number.
        words: See `prompt_maps`.
        batch_size: Prompts a call.
        call: Passed on to the pipeline, such as `num_inference_steps`, `guidance_scale`, `height`.

    Yields:
        (picture as the pipeline gives it, word -> map of the picture's size).

    Raises:
        ConfigError, WordError: before the first picture is drawn.
    """
    chosen = _words_of(prompts, words)
    if batch_size < 1:
        raise ConfigError(f"`batch_size` is {batch_size}; expected at least 1.")
    for prompt, those in zip(prompts, chosen, strict=True):
        read = _as_read(prompt, pipe.tokenizer)
        for word in those:
            word_tokens(read, word, pipe.tokenizer)
    for start in range(0, len(prompts), batch_size):
        part = list(prompts[start : start + batch_size])
        with capture_of(pipe) as captured:
            pictures = pipe(part, **call).images
        width, height = _size(pictures[0])
        maps = prompt_maps(
            captured,
            pipe.tokenizer,
            part,
            height=height,
            width=width,
            words=chosen[start : start + batch_size],
        )
        yield from zip(pictures, maps, strict=True)


def _as_read(prompt: str, tokenizer: Any) -> str:
    """A prompt as the pipeline tokenizes it: a textual inversion stands for as many tokens as it has."""
    return str(TextualInversionLoaderMixin().maybe_convert_prompt(prompt, tokenizer))


def _size(picture: Any) -> tuple[int, int]:
    """(width, height) of a picture: a PIL image, (H, W, c) of "np", or (c, H, W) of "pt"."""
    if isinstance(picture, Image.Image):
        return picture.size
    shape = tuple(picture.shape)
    height, width = shape[:2] if shape[-1] in (1, 3, 4) else shape[-2:]
    return int(width), int(height)


def _words_of(prompts: Sequence[str], words: Sequence[Sequence[str]] | None) -> list[Sequence[str]]:
    if isinstance(prompts, str) or not prompts:
        raise ConfigError(f"`prompts` is {prompts!r:.60}; expected a list of texts.")
    chosen = [default_words(one, None) for one in prompts] if words is None else list(words)
    if len(chosen) != len(prompts) or any(isinstance(one, str) for one in chosen):
        raise ConfigError(
            f"`words` has {len(chosen)} entries for {len(prompts)} prompts; expected a list of words "
            "for each."
        )
    return list(chosen)
