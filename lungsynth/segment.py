"""A mask for a real film of any size, read the way a generated picture is read.

    film (H, W) -> upright, bone bright -> square of the model's side -> latents -> noise, one
    pass, tokens -> probability -> refined in the square -> film's part of it -> class ids -> file's
    frame

The square is the one the model is trained and evaluated on (`lungsynth.films.framing.whole`), except that
films longer than 1.25 : 1 are padded rather than cropped, so that every pixel gets a class. Refining
in the square and enlarging the posterior, not the mask, keeps borders smooth, and the work of the model
and the refinement the same whatever the film's size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from lungsynth import __version__
from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, DataError, ShapeError
from lungsynth.films.film import MIN_SIDE, Film
from lungsynth.films.framing import WHOLE, Framing, cut
from lungsynth.masks.chain import finish, run
from lungsynth.masks.reading import Read, no_word, read
from lungsynth.masks.refine import RefineConfig, check_affinity, check_config
from lungsynth.masks.tokens import parse_timesteps
from lungsynth.model.backbone import embed_prompts, encode_images, side_pixels
from lungsynth.model.put_right import Righted, Righting, put_right
from lungsynth.pipeline import Synthesizer


@dataclass(frozen=True, slots=True)
class Segmented:
    """What was read of one film. P is the side of the model's square."""

    mask: UInt8Array  # (H, W) class ids, the film's own size
    probability: FloatArray  # (classes + 1, P, P), background first: from attention alone
    posterior: FloatArray  # (classes + 1, P, P): after every stage
    box: tuple[int, int, int, int]  # rows y0:y1 and columns x0:x1 of the square that show the film
    scores: dict[str, Any]  # of each class, by name
    stages: dict[str, Any]  # of each class, by name: see `lungsynth.masks.chain.Posterior`
    ratios: dict[str, float | None]  # widths in proportion, such as the cardiothoracic
    settings: dict[str, Any]  # everything the mask depends on besides the film; JSON
    righted: Righted  # the film as it was read, what was undone, and the film check


def class_prompt(synthesizer: Synthesizer) -> str:
    """The prompt a checkpoint's class tokens were learnt with; "" unless they say another."""
    for spec in synthesizer.classes:
        if spec.token is not None and spec.token.info.get("prompt"):
            return spec.token.info["prompt"]
    return ""


def to_square(image: UInt8Array, *, pixels: int) -> UInt8Array:
    """The whole film in a black square (pixels, pixels), never cropped, never squashed."""
    height, width = image.shape
    side = max(height, width) / min(height, width)
    return cut(image, Framing(WHOLE, 0.5, 0.5, side), pixels=pixels)


def square_box(height: int, width: int, *, pixels: int) -> tuple[int, int, int, int]:
    """Where `to_square` puts a film: rows y0:y1 and columns x0:x1 of the square."""
    # rounded as `lungsynth.films.framing.cut` rounds it
    side = max(height, width) / min(height, width) * min(height, width)
    scale = pixels / side
    y0, x0 = (0.0 if extent >= side else (extent - side) / 2 for extent in (height, width))
    return (
        round(-y0 * scale),
        round((min(height, y0 + side) - y0) * scale),
        round(-x0 * scale),
        round((min(width, x0 + side) - x0) * scale),
    )


def to_film(maps: FloatArray, height: int, width: int) -> FloatArray:
    """Maps of the square (C, P, P) -> maps of the film (C, height, width), bilinear."""
    y0, y1, x0, x1 = square_box(height, width, pixels=maps.shape[-1])
    pictures = (Image.fromarray(np.ascontiguousarray(one)) for one in maps[:, y0:y1, x0:x1])
    resized = (one.resize((width, height), Image.Resampling.BILINEAR) for one in pictures)
    return np.stack([np.asarray(one, np.float32) for one in resized])


def segment_settings(
    synthesizer: Synthesizer,
    *,
    prompt: str | None = None,
    seed: int = 0,
    n_noise: int = 1,
    config: RefineConfig | None = None,
    righting: Righting | None = None,
) -> dict[str, Any]:
    """Everything a mask depends on besides its film, as JSON: kept in records, hashed to resume.

    Raises:
        DataError: the checkpoint has classes without a learnt token, or none at all.
        ConfigError: `n_noise` or a name in `config` is not valid, or asks for an affinity network
            that the checkpoint does not have.
        PromptError: `prompt` has no word the checkpoint knows.
    """
    config = config or RefineConfig()
    check_config(config)
    check_affinity(config, synthesizer.affinity_field)
    if n_noise < 1:
        raise ConfigError(f"`n_noise` is {n_noise}; expected at least 1.")
    if not synthesizer.classes or any(spec.token is None for spec in synthesizer.classes):
        raise DataError(
            f"Checkpoint {synthesizer.name!r} has no learnt class tokens, so there is nothing to "
            "segment. Learn one from annotated films with `annotate` and `learn-token`."
        )
    text = class_prompt(synthesizer) if prompt is None else prompt
    if text.strip():
        text = synthesizer.check(text, ())[0].text
    timesteps = {t for s in synthesizer.classes if s.token for t in parse_timesteps(s.token)}
    return {
        "model": synthesizer.name,
        "model_hash": synthesizer.model_hash,
        "lora": synthesizer.lora,
        "code_version": __version__,
        "prompt": text,
        "seed": seed,
        "n_noise": n_noise,
        "timesteps": sorted(timesteps),
        "refine": asdict(config),
        "convention": synthesizer.classes[0].convention,
        "classes": {str(spec.id): spec.name for spec in synthesizer.classes},
        "righting": asdict(righting or Righting()),
    }


def settings_sha256(settings: dict[str, Any]) -> str:
    """Hash of `segment_settings`."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def segment_film(synthesizer: Synthesizer, film: UInt8Array | Film, **how: Any) -> Segmented:
    """Segment one film; see `segment_films`."""
    return segment_films(synthesizer, [film], **how)[0]


def segment_films(
    synthesizer: Synthesizer,
    films: Sequence[UInt8Array | Film],
    *,
    prompt: str | None = None,
    seed: int = 0,
    n_noise: int = 1,
    config: RefineConfig | None = None,
    righting: Righting | None = None,
) -> list[Segmented]:
    """Segment films by the checkpoint's class tokens, in one batch.

    Every film is put right first (`lungsynth.model.put_right`) and its mask brought back into the
    film's own frame. It is read under the noise of the same seed, so its mask depends on neither its
    place nor its company.

    Args:
        synthesizer: A checkpoint with class tokens.
        films: Each a `Film`, or (H, W) grey uint8 of its own size, at least 32 pixels a side.
        prompt: Text the films are read with; None takes `class_prompt`.
        seed: Of the noise.
        n_noise: Noise draws (seeds `seed`, `seed + 1`, …) whose logits are averaged.
        config: How masks are refined; None for the defaults.
        righting: What may be put right before a film is read; None for the defaults.

    Raises:
        DataError, ConfigError, PromptError: see `segment_settings`.
        ShapeError: an image is not (H, W) uint8, or too small.
        MaskError: the checkpoint gave NaN.
    """
    config = config or RefineConfig()
    settings = segment_settings(
        synthesizer, prompt=prompt, seed=seed, n_noise=n_noise, config=config, righting=righting
    )
    righted = [_put_right(film, righting) for film in films]
    if not righted:
        return []
    images = [one.image for one in righted]
    pipe: Any = synthesizer.pipe
    pixels = side_pixels(pipe)
    squares = np.stack([to_square(image, pixels=pixels) for image in images])
    logits: dict[int, Any] = {}
    each: list[dict[int, Any]] = []
    with synthesizer._lock:  # a capture swaps the attention of the whole model
        latents = encode_images(pipe, squares)
        embeddings = embed_prompts(pipe, [settings["prompt"]] * len(images))
        for n in range(n_noise):
            seeds = [seed + n] * len(images)
            found = synthesizer.read_tokens(latents, embeddings, seeds, each=each)
            logits = {key: logits.get(key, 0) + value / n_noise for key, value in found.items()}
    reading = Read(logits, each)
    return [
        _finish(synthesizer, one, squares[index], reading, index, config, settings)
        for index, one in enumerate(righted)
    ]


def _put_right(film: UInt8Array | Film, righting: Righting | None) -> Righted:
    image, declared = (film.image, film.declared) if isinstance(film, Film) else (film, None)
    if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < MIN_SIDE:
        raise ShapeError(
            f"A film is {image.shape} {image.dtype}; expected (H, W) uint8 of at least "
            f"{MIN_SIDE} pixels a side (`lungsynth.films.film.read_film` reads files so)."
        )
    return put_right(image, declared, righting)


def _finish(
    synthesizer: Synthesizer,
    righted: Righted,
    square: UInt8Array,
    reading: Read,
    index: int,
    config: RefineConfig,
    settings: dict[str, Any],
) -> Segmented:
    specs, image = synthesizer.classes, righted.image
    height, width = image.shape
    probability = read(specs, reading.mean, index, no_word, config)
    seen = synthesizer.seen(reading.each, index, square, film=righted.check.score)
    made = run(probability, square, specs, config, synthesizer.aids(square, config, seen=seen))
    after = made.posterior
    mask, scores = finish(
        to_film(after.probability, height, width),
        to_film(after.evidence, height, width),
        specs,
        config,
    )
    scores = {name: made.scores[name] | one for name, one in scores.items()}
    return Segmented(
        righted.move.back(mask),
        probability,
        after.probability,
        square_box(height, width, pixels=square.shape[0]),
        scores,
        after.stages,
        synthesizer.measured_ratios(mask),
        settings,
        righted,
    )
