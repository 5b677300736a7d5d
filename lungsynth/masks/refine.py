"""From a probability map to a mask: every way of refining, behind one table.

Each refinement is a function (probability of each class, image, config, affinity field) -> posterior of
each class; those of ours stand in `lungsynth.masks.fusion`. How to add one: `lungsynth.masks.registry`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError, MaskError, ShapeError
from lungsynth.masks.coarse import THRESHOLDS
from lungsynth.masks.crf import CrfConfig, check_crf
from lungsynth.masks.fusion import TOKEN_GAMMAS  # and so ours are registered
from lungsynth.masks.registry import REFINEMENTS, failures, load_plugins, needs_affinity
from lungsynth.masks.registry import RefineConfig as RefineConfig  # others take it from here too
from lungsynth.masks.walk import AffinityField


def check_config(config: RefineConfig) -> None:
    """Refuse unknown names and values out of range, before anything is computed.

    Raises:
        ConfigError: names the value, what was expected, and what there is.
    """
    if config.method not in REFINEMENTS:
        raise ConfigError(
            f"Refinement {config.method!r} is unknown; there are {', '.join(sorted(REFINEMENTS))}."
            f"{failures()}"
        )
    if config.threshold not in ("auto", *THRESHOLDS):
        raise ConfigError(
            f"Threshold {config.threshold!r} is unknown; there are auto, {', '.join(sorted(THRESHOLDS))}."
        )
    c = config
    gammas = c.gammas if c.gammas is not None else TOKEN_GAMMAS
    beta_fits, gammas_fit = c.beta > 0 and math.isfinite(c.beta), all(0 < g < 1 for g in gammas)
    rules = (
        ("label_confidence", 0.5 < c.label_confidence < 1, "above 0.5 and under 1"),
        ("beta", beta_fits, "a number above 0 (psa uses 8, DiffuMask 16)"),
        ("n_steps", 0 <= c.n_steps <= 100_000, "0 to 100000 (psa uses 256)"),
        ("gammas", gammas and gammas_fit, "one level or more, each above 0 and under 1"),
        ("student_weight", 0 <= c.student_weight <= 1, "0 to 1"),
        ("fusion_weight", 0 <= c.fusion_weight <= 1, "0 to 1"),
        ("n_rounds", 1 <= c.n_rounds <= 20, "1 to 20"),
        ("min_part", 0 <= c.min_part < 1, "0 or more and under 1"),
        ("ignore_band", 0 <= c.ignore_band < 0.5, "0 (off) or more, under 0.5"),
    )
    for name, fits, expected in rules:
        if not fits:
            raise ConfigError(f"{name}={getattr(c, name)}: expected {expected}.")
    check_crf(config.crf)


def refine_names() -> list[str]:
    """Every parameter of a mask as `with_values` and a query name it."""
    own = [one.name for one in fields(RefineConfig) if one.name != "crf"]
    return own + [f"crf.{one.name}" for one in fields(CrfConfig)]


def with_values(config: RefineConfig, texts: Sequence[str]) -> RefineConfig:
    """A configuration with parameters given as text: `beta=16`, `crf.theta_beta=8`, `clean_up=false`.

    Args:
        config: What is not named keeps its value.
        texts: `NAME=VALUE`; lists as `gammas=0.3,0.5,0.7`.

    Raises:
        ConfigError: no such parameter, or a value of another kind or out of range.
    """
    for text in texts:
        name, equals, value = text.partition("=")
        owner, dot, inner = name.partition(".")
        target: Any = getattr(config, owner, None) if dot else config
        known = {f.name: f for f in fields(target)} if is_dataclass(target) else {}
        key = inner if dot else owner
        if not equals or key not in known or is_dataclass(getattr(target, key)):
            names = ", ".join(refine_names())
            raise ConfigError(f"{text!r}: expected NAME=VALUE with one of {names}.")
        changed = replace(target, **{key: _parsed(text, value, getattr(target, key))})
        config = replace(config, **{owner: changed}) if dot else changed
    check_config(config)
    return config


def _parsed(text: str, value: str, now: Any) -> Any:
    """A value of the kind the parameter has now; None is a tuple of numbers that is not set."""
    try:
        if isinstance(now, bool):
            return {"true": True, "false": False}[value.lower()]
        if now is None or isinstance(now, tuple):
            return tuple(float(part) for part in value.split(","))
        return type(now)(value)
    except (ValueError, KeyError) as error:
        listed = now is None or isinstance(now, tuple)
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
        kind = "numbers with commas between them" if listed else kinds[type(now)]
        raise ConfigError(f"{text.partition('=')[0]}={value[:40]}: expected {kind}.") from error


def check_affinity(config: RefineConfig, affinity: object | None) -> None:
    """Refuse a method that needs an affinity field where there is none.

    Raises:
        ConfigError: says what to do.
    """
    if affinity is None and needs_affinity(config.method):
        raise ConfigError(
            f"Refinement {config.method!r} needs an affinity network, and this checkpoint has none; "
            "train one (python -m lungsynth train affinity) or choose crf or none."
        )


def refine(
    probability: FloatArray,
    image: UInt8Array,
    config: RefineConfig,
    affinity: AffinityField | None = None,
) -> FloatArray:
    """Posterior of each class by the configured method.

    Args:
        probability: (classes, H, W) float32, background first, each pixel sums to 1.
        image: (H, W) grey uint8.
        config: The method and its parameters.
        affinity: Affinities of the image, for the methods that need them; the others ignore it.

    Returns:
        (classes, H, W) float32, each pixel sums to 1.

    Raises:
        ConfigError: see `check_config` and `check_affinity`.
        ShapeError: sizes differ, under 2 pixels a side, or the field does not fit the image.
        MaskError: the probability is not finite.
    """
    check_config(config)
    check_affinity(config, affinity)
    if probability.ndim != 3 or probability.shape[1:] != image.shape or min(image.shape) < 2:
        raise ShapeError(
            f"`probability` is {probability.shape}, `image` is {image.shape}; expected "
            "(classes, H, W) and (H, W) of one size, at least 2x2 pixels."
        )
    if not np.isfinite(probability).all():
        raise MaskError(
            "The class probability holds NaN or infinity; the checkpoint may be broken."
        )
    return REFINEMENTS[config.method].function(probability, image, config, affinity)


def refine_many(
    probabilities: Sequence[FloatArray],
    images: Sequence[UInt8Array],
    config: RefineConfig,
    fields: Sequence[AffinityField | None] | None = None,
    *,
    workers: int = 2,
) -> Iterator[FloatArray]:
    """`refine` of many images by several processes, in order.

    pydensecrf holds Python's lock, so threads would not help. Processes are spawned and import neither
    torch nor diffusers; a script that calls this needs the usual `if __name__ == "__main__":`.

    Args:
        probabilities: One (classes, H, W) an image.
        images: Likewise (H, W).
        config: The method and its parameters; a refinement that no plugin registers needs workers=1.
        fields: Affinity fields likewise, or None.
        workers: Processes; 1 works in this one.

    Yields:
        Posteriors (classes, H, W).

    Raises:
        ConfigError: different numbers of things, or no worker; before anything is computed.
        LungSynthError: as `refine`, for the first image it concerns.
    """
    fields = [None] * len(images) if fields is None else fields
    if not len(probabilities) == len(images) == len(fields) or workers < 1:
        raise ConfigError(
            f"{len(probabilities)} probabilities, {len(images)} images, {len(fields)} fields, {workers} "
            "workers; expected as many of each, and 1 worker or more."
        )
    check_config(config)
    return _refined(probabilities, images, config, fields, min(workers, max(1, len(images))))


def _refined(
    probabilities: Sequence[FloatArray],
    images: Sequence[UInt8Array],
    config: RefineConfig,
    fields: Sequence[AffinityField | None],
    workers: int,
) -> Iterator[FloatArray]:
    if workers == 1:
        yield from map(refine, probabilities, images, [config] * len(images), fields)
        return
    from multiprocessing import get_context  # deferred: the help of `--refine` comes through here

    with futures.ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(
            refine, probabilities, images, [config] * len(images), fields, chunksize=2
        )


load_plugins()  # at the end: a plugin may import this very module
