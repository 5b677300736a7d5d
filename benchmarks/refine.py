"""`python -m benchmarks refine`: the walk, the CRF and two processes, each against what it replaces."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from lungsynth.masks.crf import CrfConfig, dense_crf
from lungsynth.masks.fusion import area_mean
from lungsynth.masks.refine import RefineConfig, refine, refine_many
from lungsynth.masks.registry import REFINEMENTS, needs_affinity
from lungsynth.masks.walk import AffinityField, half_disc, random_walk


def film(size: int, stride: int, seed: int) -> tuple[Any, Any, AffinityField]:
    """Probability (3, size, size), image (size, size) and field of two noisy dark ellipses."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    sides = np.stack([((x - c) / 0.16) ** 2 + ((y - 0.5) / 0.34) ** 2 < 1 for c in (0.7, 0.3)])
    clean = gaussian_filter(170 - 90.0 * sides.any(0), 2)
    image = np.clip(clean + rng.normal(0, 8, clean.shape), 0, 255).astype(np.uint8)
    maps = [gaussian_filter(0.8 * m + 0.1, 0.03 * size) for m in (~sides.any(0), *sides)]
    n = size // stride
    grey, offsets = area_mean(image[None].astype(np.float32), n, n)[0], half_disc(5)
    values = np.stack(
        [np.exp(-np.abs(grey - np.roll(grey, (-a, -b), (0, 1))) / 20) for a, b in offsets]
    )
    return (
        (np.stack(maps) / np.sum(maps, 0)).astype(np.float32),
        image,
        AffinityField(values.astype(np.float32), offsets, n, n),
    )


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def dense_matrix(field: AffinityField, beta: float, dtype: Any) -> Any:
    """psa's form: the (h·w)² matrix of affinities, each column divided by its sum."""
    import torch

    h, w = field.height, field.width
    index = torch.arange(h * w).reshape(h, w)
    a = torch.eye(h * w, dtype=dtype)
    for k, (dy, dx) in enumerate(field.offsets):
        ys, xs = slice(0, h - dy), slice(max(0, -dx), min(w, w - dx))
        here, there = index[ys, xs].flatten(), index[dy:, max(0, dx) : w + min(0, dx)].flatten()
        a[here, there] = a[there, here] = (
            torch.from_numpy(field.values[k]).to(dtype)[ys, xs].flatten()
        )
    a = a.pow(beta)
    return a / a.sum(0, keepdim=True)


def dense_walk(field: AffinityField, start: Any) -> Any:
    """256 steps as psa takes them: the matrix squared eight times, in float32."""
    import torch

    t = dense_matrix(field, 8.0, torch.float32)
    for _ in range(8):
        t = t @ t
    return torch.from_numpy(start.reshape(len(start), -1)) @ t


def exact_walk(field: AffinityField, start: Any) -> Any:
    """256 products with the dense matrix in float64."""
    import torch

    t = dense_matrix(field, 8.0, torch.float64)
    row = torch.from_numpy(start.reshape(len(start), -1)).double()
    for _ in range(256):
        row = row @ t
    return row.reshape(start.shape).numpy()


def bare_crf(probability: Any, image: Any, config: CrfConfig) -> Any:
    """The fewest calls of pydensecrf that give the same posterior."""
    from pydensecrf import densecrf
    from pydensecrf.utils import create_pairwise_bilateral, unary_from_softmax

    n, height, width = probability.shape
    side = max(height, width)
    model = densecrf.DenseCRF2D(width, height, n)
    model.setUnaryEnergy(unary_from_softmax(probability))
    near, far = config.theta_gamma * side, config.theta_alpha * side
    model.addPairwiseGaussian(sxy=(near, near), compat=config.w_smoothness)
    model.addPairwiseEnergy(
        create_pairwise_bilateral((far, far), (config.theta_beta,), image[..., None], chdim=2),
        compat=config.w_appearance,
    )
    return np.array(model.inference(config.n_iters)).reshape(n, height, width)


@click.command("refine")
@click.option("--size", default=256, show_default=True, help="Pixels a side of the image.")
@click.option("--stride", default=4, show_default=True, help="Pixels a node of the affinity field.")
@click.option("-n", "--n", default=20, show_default=True, help="Repeats; the median counts.")
@click.option(
    "--masks", default=400, show_default=True, help="Masks refined by 1 and 2 processes; 0 = skip."
)
@click.option(
    "--method", default="sequential", show_default=True, help="Refinement of those masks."
)
@click.option(
    "--dense/--no-dense", default=True, show_default=True, help="Time psa's dense walk too."
)
def refine_command(size: int, stride: int, n: int, masks: int, method: str, dense: bool) -> None:
    """Walk ÷ dense walk, CRF ÷ bare pydensecrf, seconds of each method, masks/s of 1 and 2 processes."""
    probability, image, field = film(size, stride, 0)
    nodes = f"{field.height}x{field.width}"
    start = area_mean(probability, field.height, field.width)

    random_walk(field, start)
    walk = statistics.median(seconds(lambda: random_walk(field, start)) for _ in range(n))
    print(f"walk, {nodes} nodes, 256 steps, 3 classes: {walk * 1000:.1f} ms")
    if dense:
        whole = seconds(lambda: dense_walk(field, start))
        difference = np.abs(exact_walk(field, start) - random_walk(field, start)).max()
        print(
            f"  dense form, 8 squarings in float32: {whole:.2f} s, {whole / walk:.0f} "
            f"times as long; off 256 dense products in float64 by {difference:.1e}"
        )

    config = CrfConfig()
    pairs = [
        (
            seconds(lambda: dense_crf(probability, image, config)),
            seconds(lambda: bare_crf(probability, image, config)),
        )
        for _ in range(n + 1)
    ][1:]
    ratios = [ours / bare for ours, bare in pairs]
    print(
        f"CRF, {size} px: {1000 * statistics.median(ours for ours, _ in pairs):.1f} ms, "
        f"{statistics.median(ratios):.3f} of bare pydensecrf "
        f"({min(ratios):.3f}-{max(ratios):.3f}, {n} pairs)"
    )

    for name in sorted(REFINEMENTS):
        one = RefineConfig(method=name)
        times = [
            seconds(lambda c=one: refine(probability, image, c, field))
            for _ in range(max(3, n // 4))
        ]
        print(f"  {name:14} {statistics.median(times) * 1000:8.1f} ms")
    if masks:
        time_processes(masks, method, size, stride)


def time_processes(masks: int, method: str, size: int, stride: int) -> None:
    """Masks/s of one process and of two, and how much faster two are."""
    films = [film(size, stride, seed) for seed in range(8)]
    given = [films[k % 8] for k in range(masks)]
    fields = [f if needs_affinity(method) else None for _, _, f in given]
    chosen = RefineConfig(method=method)
    probabilities, images = [p for p, _, _ in given], [i for _, i, _ in given]
    rates = []
    for workers in (1, 2):
        spent = seconds(
            lambda w=workers: [
                p.shape for p in refine_many(probabilities, images, chosen, fields, workers=w)
            ]
        )
        rates.append(masks / spent)
        print(
            f"{method}, {masks} masks, {workers} process{'es' * (workers > 1)}: "
            f"{rates[-1]:.1f} masks/s, start-up included"
        )
    print(f"  two / one: {rates[1] / rates[0]:.2f}")
