"""From the probability of each class to its mask and scores: the last step, which needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from lungsynth.arrays import IGNORE, FloatArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.masks import quality
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.coarse import class_level, shift_background
from lungsynth.masks.fusion import TOKEN_GAMMAS, WORD_GAMMAS
from lungsynth.masks.refine import RefineConfig, clean, refine
from lungsynth.masks.walk import AffinityField


def no_word(word: str) -> FloatArray:
    """The `word_heat` of a real film, which no word drew.

    Raises:
        DataError: always; classes of real films are read from tokens.
    """
    raise DataError(f"{word!r} has no learnt token; run `learn-token` first.")


def at_threshold(
    probability: FloatArray,
    specs: Sequence[ClassSpec],
    logits: dict[int, Tensor],
    config: RefineConfig,
) -> FloatArray:
    """The probability with token classes moved to a threshold named by the caller.

    Args:
        probability: (classes + 1, H, W), background first.
        specs: The classes, in that order.
        logits: Class id -> logits, of those that have a token.
        config: Names the threshold; "auto" moves nothing.
    """
    if config.threshold == "auto" or not any(spec.id in logits for spec in specs):
        return probability
    levels = [
        class_level(probability, 1 + k, config.threshold) if spec.id in logits else 0.5
        for k, spec in enumerate(specs)
    ]
    return shift_background(probability, levels)


def with_levels(config: RefineConfig, specs: Sequence[ClassSpec]) -> RefineConfig:
    """The configuration with the levels γ that fit the classes, where it names none."""
    if config.gammas is not None:
        return config
    is_word = any(spec.token is None for spec in specs)
    return replace(config, gammas=WORD_GAMMAS if is_word else TOKEN_GAMMAS)


def finish_mask(
    probability: FloatArray,
    image: UInt8Array,
    specs: Sequence[ClassSpec],
    config: RefineConfig,
    affinity: AffinityField | None = None,
    *,
    posterior: FloatArray | None = None,
) -> tuple[UInt8Array, UInt8Array, dict[str, Any]]:
    """Probability of each class -> coarse mask, refined mask, scores. Needs no model.

    Args:
        probability: (classes + 1, H, W), background first.
        image: (H, W) grey.
        specs: The classes, in the order of `probability`.
        config: How the mask is refined.
        affinity: Affinities of the image, for the methods that need them.
        posterior: Of `refine` with these very arguments, where the caller has it already.

    Returns:
        Coarse mask (H, W), refined mask (H, W) and scores. With `config.ignore_band` above 0 the
        refined mask is 255 where the top posterior is under 0.5 + the band, and the scores are those
        of the mask without it.

    Raises:
        MaskError, ShapeError, ConfigError: see `lungsynth.masks.refine.refine`.
    """
    config = with_levels(config, specs)
    ids = np.array([0, *(spec.id for spec in specs)], dtype=np.uint8)
    if posterior is None:
        posterior = refine(probability, image, config, affinity)
    coarse = ids[probability.argmax(0)]
    refined = ids[posterior.argmax(0)]
    mask = np.zeros_like(refined)
    scores: dict[str, Any] = {}
    for index, spec in enumerate(specs):
        region = refined == spec.id
        if config.clean_up:
            region = clean(
                region,
                n_parts=spec.n_parts,
                min_part=config.min_part,
                weight=probability[1 + index],
            )
            region &= (refined == spec.id) | (refined == 0)  # a hole may be another class's place
        mask[region & (mask == 0)] = spec.id
        stable = quality.stability(posterior[1 + index])
        scores[spec.name] = {
            "area": round(quality.area_share(mask == spec.id), 5),
            "parts": quality.count_parts(mask == spec.id),
            "stability": round(stable, 5),
            # a mask is believed where its border hardly moves with the level, and refining hardly moved it
            "trust": round(stable * quality.agreement(coarse == spec.id, mask == spec.id), 5),
        }
    if config.ignore_band:
        mask[posterior.max(0) < 0.5 + config.ignore_band] = IGNORE
    return coarse, mask, scores
