"""Detail: power by band of spatial frequency, and radiomics beside the autoencoder's own limit.

A latent model draws what its decoder can show. So samples stand beside real films and beside the
autoencoder's reconstructions of real films, which is as good as they can get without another decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.common import PIXELS, ImageSet, Interval
from lungsynth.evaluation.fidelity.distances import frechet_distance, halves
from lungsynth.evaluation.fidelity.extractors import RadiomicsExtractor
from lungsynth.evaluation.fidelity.measure import MIN_IMAGES
from lungsynth.evaluation.tables import aligned, shown
from lungsynth.evaluation.words.labels import asked_labels, film_labels
from lungsynth.films.framing import whole
from lungsynth.model.backbone import encode_images, side_pixels
from lungsynth.model.sampling import to_grey

BANDS = ((8, 16), (16, 32), (32, 64), (64, 128))
"""Cycles a picture side, from the first up to, not including, the second."""
N_RESAMPLES = 1000
DETAIL_LIMIT = 240  # pictures of a set in an age group
GROUPS = ("adults", "children")


def band_powers(images: UInt8Array, *, quiet: bool = True) -> Float64Array:
    """(N, 256, 256) uint8 -> (N, 4) mean spectral power in each of `BANDS`.

    A Hann window takes away the edges; power is of grey levels in [0, 1], its mean taken off.
    """
    side = images.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))
    cycles = np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(cycles[:, None], cycles[None, :])
    masks = [(radius >= low) & (radius < high) for low, high in BANDS]
    rows = []
    for image in tqdm(images, desc="spectra", unit="image", disable=quiet, mininterval=2):
        grey = image.astype(np.float64) / 255
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        rows.append([float(power[mask].mean()) for mask in masks])
    return np.asarray(rows, dtype=np.float64).reshape(len(images), len(BANDS))


def power_ratio(
    ours: Float64Array, real: Float64Array, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Mean power of `ours` ÷ of `real` in each band, with 95 % intervals over pictures of both."""

    def mean(values: Float64Array) -> Float64Array:
        times = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), N_RESAMPLES)
        return np.asarray(times @ values / len(values))

    draws, value = mean(ours) / mean(real), ours.mean(0) / real.mean(0)
    return [Interval.of(float(v), draws[:, k]).report() for k, v in enumerate(value)]


def reconstructed(pipe: Any, films: ImageSet, *, batch: int = 16, quiet: bool = True) -> ImageSet:
    """Films as the autoencoder of a pipeline gives them back, at the side that is compared."""
    side = side_pixels(pipe)
    out: list[UInt8Array] = []
    for start in tqdm(
        range(0, len(films), batch), desc="reconstructing", disable=quiet, mininterval=2
    ):
        part = films.images[start : start + batch]
        shown = np.stack([whole(one, pixels=side) for one in part]) if side != PIXELS else part
        latents = encode_images(pipe, shown) / float(pipe.vae.config.scaling_factor)
        with torch.inference_mode():
            given = to_grey(pipe.vae.decode(latents, return_dict=False)[0])
        out += [whole(one, pixels=PIXELS) if side != PIXELS else one for one in given]
    return ImageSet(np.stack(out), films.names, films.fields)


def radiomic_ratio(
    features: Mapping[str, Float64Array], n_subsamples: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Fréchet distances of every set to `real test` over random halves, and samples ÷ reconstructions."""
    test = features["real test"]
    draws = {
        name: np.array(
            [
                frechet_distance(values[i], test[j])
                for i, j in halves(values, test, n_subsamples, rng)
            ]
        )
        for name, values in features.items()
        if name != "real test"
    }
    told = {k: Interval.of(float(v.mean()), v).report() for k, v in draws.items()}
    limit = draws["reconstructions"]
    ratio = draws["samples"].mean() / limit.mean()
    return {**told, "ratio": Interval.of(float(ratio), draws["samples"] / limit).report()}


def evaluate_detail(
    pipe: Any,
    samples: ImageSet,
    train: ImageSet,
    test: ImageSet,
    *,
    n_subsamples: int = 40,
    limit: int = DETAIL_LIMIT,
    seed: int = 0,
    quiet: bool = True,
) -> dict[str, Any]:
    """Power by band and radiomics of samples and of the autoencoder's reconstructions.

    Args:
        pipe: Whose autoencoder reconstructs.
        samples: Drawn with it; `age_group` among their fields.
        train: Real films to reconstruct, and for the floor.
        test: Real films everything is compared with.
        n_subsamples: Random halves behind an interval of radiomics.
        limit: Pictures of each set in an age group; the same number of each.
        seed: Of every draw.
        quiet: No progress bar.

    Returns:
        JSON: `groups` -> `adults` and `children`, where there are enough: `n`; `power` -> band ->
        `samples`, `reconstructions`, `real train` ÷ real test; `radiomics` -> Fréchet distances of
        the three to real test films at n / 2 pictures, and `ratio`, samples ÷ reconstructions.

    Raises:
        DataError: no age group has enough pictures in every set.
    """
    sets = {"samples": samples, "real train": train, "real test": test}
    ages = {
        name: (asked_labels if name == "samples" else film_labels)(one.fields)[:, 0]
        for name, one in sets.items()
    }
    groups: dict[str, Any] = {}
    short = ""
    for index, group in enumerate(GROUPS):
        of_group = {k: v.take(np.flatnonzero(ages[k] == index)) for k, v in sets.items()}
        n = min(limit, *(len(one) for one in of_group.values()))
        if n < MIN_IMAGES:
            short += f" {', '.join(f'{len(one)} {k}' for k, one in of_group.items())} of {group}."
            continue
        chosen = {k: v.limited(n, seed + i) for i, (k, v) in enumerate(of_group.items())}
        groups[group] = _compare(pipe, chosen, n_subsamples, seed, quiet)
    if not groups:
        raise DataError(
            f"Too few pictures:{short} Expected at least {MIN_IMAGES} in each set. Draw or name more."
        )
    return {"groups": groups, "seed": seed, "n_subsamples": n_subsamples, "pixels": PIXELS}


def _compare(
    pipe: Any, sets: dict[str, ImageSet], n_subsamples: int, seed: int, quiet: bool
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    back = reconstructed(pipe, sets["real train"], quiet=quiet)
    every = {"samples": sets["samples"], "reconstructions": back, **sets}
    powers = {name: band_powers(one.images, quiet=quiet) for name, one in every.items()}
    against = [name for name in every if name != "real test"]
    ratios = {name: power_ratio(powers[name], powers["real test"], rng) for name in against}
    extractor = RadiomicsExtractor()
    extractor.fit(sets["real train"].images, seed=seed, quiet=quiet)
    features = {name: extractor.features(one.images, quiet=quiet) for name, one in every.items()}
    return {
        "n": len(back),
        "power": {
            f"{low}-{high}": {name: ratios[name][k] for name in against}
            for k, (low, high) in enumerate(BANDS)
        },
        "radiomics": radiomic_ratio(features, n_subsamples, rng),
    }


def detail_table(report: Mapping[str, Any]) -> str:
    """Text: a line a group and band, then radiomics."""
    names = ("samples", "reconstructions", "real train")
    powers = [
        [group, f"{band} cycles", *(shown(each[name]) for name in names)]
        for group, told in report["groups"].items()
        for band, each in told["power"].items()
    ]
    radiomics = [
        [
            group,
            f"n = {told['n']}",
            *(shown(told["radiomics"][name], 2) for name in names),
            shown(told["radiomics"]["ratio"], 2),
        ]
        for group, told in report["groups"].items()
    ]
    return "\n".join(
        [
            *aligned(["group", "power ÷ real test", *names], powers),
            *aligned(
                ["group", "Fréchet, radiomics", *names, "samples ÷ reconstructions"], radiomics
            ),
        ]
    )
