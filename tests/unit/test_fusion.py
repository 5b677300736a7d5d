"""Walk and CRF together: the equations, what every method keeps, and golden values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import Phantom, mean_iou, phantom

from lungsynth.errors import ConfigError, LungSynthError, MaskError, ShapeError
from lungsynth.masks import fusion
from lungsynth.masks.coarse import shift_background
from lungsynth.masks.crf import CrfConfig, dense_crf
from lungsynth.masks.refine import RefineConfig, refine
from lungsynth.masks.registry import REFINEMENTS, needs_affinity
from lungsynth.masks.walk import AffinityField, half_disc, random_walk

METHODS = ("none", "crf", "affinity", "sequential", "cross", "cross-product", "cross-mutual")
GOLDEN = {  # mean IoU of the two ellipses
    "none": 0.8796,
    "crf": 0.9150,
    "affinity": 0.9559,
    "sequential": 0.9642,
    "cross": 0.9194,
    "cross-product": 0.9380,
    "cross-mutual": 0.9677,
}


@pytest.fixture(scope="module")
def shape() -> Phantom:
    return phantom()


def posterior(shape: Phantom, **options: Any) -> np.ndarray:
    return refine(shape.probability, shape.image, RefineConfig(**options), shape.field)


def test_the_table_holds_every_method() -> None:
    assert set(METHODS) <= set(REFINEMENTS)
    assert {*filter(needs_affinity, METHODS)} == set(METHODS) - {"none", "crf"}


@pytest.mark.parametrize("method", METHODS)
def test_golden(shape: Phantom, method: str) -> None:
    """0.004 leaves room for another compiler's rounding in the CRF's lattice; another kernel width, order
    of steps or γ moves the value by more."""
    ids = posterior(shape, method=method).argmax(0)
    assert mean_iou(ids, shape.truth) == pytest.approx(GOLDEN[method], abs=0.004)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(96, 128), (128, 64)])
def test_posteriors_sum_to_one_at_the_size_of_the_image(method: str, size: tuple[int, int]) -> None:
    one = phantom(*size)
    p = posterior(one, method=method)
    assert p.shape == (3, *size) and p.dtype == np.float32
    assert p.min() >= 0 and np.abs(p.sum(0) - 1).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_permuted_classes_give_permuted_masks(shape: Phantom, method: str) -> None:
    swapped = refine(
        shape.probability[[0, 2, 1]], shape.image, RefineConfig(method=method), shape.field
    )
    ids = posterior(shape, method=method).argmax(0)
    assert np.array_equal(np.array([0, 2, 1])[swapped.argmax(0)], ids)


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_probability_is_no_crash(shape: Phantom, method: str) -> None:
    flat = np.full_like(shape.probability, 1 / 3)
    p = refine(flat, shape.image, RefineConfig(method=method), shape.field)
    assert np.isfinite(p).all() and np.abs(p.sum(0) - 1).max() < 1e-5


def test_the_steps_are_those_of_the_equations(shape: Phantom) -> None:
    p, image, field = shape.probability, shape.image, shape.field
    small = p.reshape(3, 24, 4, 32, 4).mean((2, 4))
    walked = torch.nn.functional.interpolate(
        torch.from_numpy(random_walk(field, small))[None], (96, 128), mode="bilinear"
    )[0].numpy()
    assert np.abs(posterior(shape, method="affinity") - walked).max() < 1e-5
    first = dense_crf(walked, image)
    assert np.abs(posterior(shape, method="sequential") - first).max() < 1e-3
    assert np.array_equal(
        posterior(shape, method="cross-mutual", n_rounds=1), posterior(shape, method="sequential")
    )
    again = dense_crf(fusion.affinity(first, field), image)
    assert np.abs(posterior(shape, method="cross-mutual", n_rounds=2) - again).max() < 1e-3
    product = np.sqrt(dense_crf(p, image) * np.maximum(walked, 1e-8))
    product /= product.sum(0)
    assert np.abs(posterior(shape, method="cross-product") - product).max() < 1e-3


def test_the_weight_goes_from_the_walk_to_the_crf(shape: Phantom) -> None:
    for weight, end in ((0.0, "affinity"), (1.0, "crf")):
        p = posterior(shape, method="cross-product", fusion_weight=weight)
        assert np.abs(p - posterior(shape, method=end)).max() < 1e-5


def test_the_walk_judges_the_candidates(shape: Phantom) -> None:
    p, image = shape.probability, shape.image
    gammas = (0.3, 0.4, 0.5, 0.6)
    walked = posterior(shape, method="affinity")
    candidates = [dense_crf(shift_background(p, g), image) for g in gammas]
    for ours, expected in zip(fusion.propose(p, image, gammas), candidates, strict=True):
        assert np.array_equal(ours, expected)  # one model for all, set anew each time

    def dice(a: np.ndarray, b: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum())
                    for k in (1, 2)
                ]
            )
        )

    scores = [dice(c.argmax(0), walked.argmax(0)) for c in candidates]
    assert scores == pytest.approx([fusion.agreement(c, walked) for c in candidates])
    assert len(set(scores)) == 4
    best = candidates[int(np.argmax(scores))]
    assert np.array_equal(posterior(shape, method="cross", gammas=gammas), best)
    # another judge: a walk of no step is the unrefined mask, seen through the grid
    still = posterior(shape, method="cross", gammas=gammas, n_steps=0)
    ids = shape.probability.argmax(0)
    assert np.array_equal(
        still, candidates[int(np.argmax([dice(c.argmax(0), ids) for c in candidates]))]
    )


def test_equal_candidates_are_settled_by_the_middle(shape: Phantom) -> None:
    sure = np.where(np.arange(3)[:, None, None] == shape.truth, 0.998, 0.001).astype(np.float32)
    off = CrfConfig(w_appearance=0, w_smoothness=0)
    config = RefineConfig(method="cross", crf=off, gammas=(0.3, 0.55, 0.8), n_steps=0)
    out = refine(sure, shape.image, config, shape.field)
    assert np.allclose(out, shift_background(sure, 0.55), atol=1e-5)


def test_agreement() -> None:
    def hot(ids: list[int]) -> np.ndarray:
        return (np.arange(3)[:, None, None] == np.array([ids])).astype(np.float32)

    assert fusion.agreement(hot([0, 1, 2]), hot([0, 1, 2])) == 1
    assert fusion.agreement(hot([0, 0, 0]), hot([0, 0, 0])) == 1
    assert fusion.agreement(hot([0, 1, 1]), hot([0, 0, 1])) == pytest.approx((2 / 3 + 1) / 2)
    assert fusion.agreement(hot([1, 1, 1]), hot([2, 2, 2])) == 0


@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    h=st.integers(1, 20),
    w=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_resampling_is_torchs(height: int, width: int, h: int, w: int, seed: int) -> None:
    maps = np.random.default_rng(seed).random((2, h, w)).astype(np.float32)
    ours = fusion.bilinear(maps, height, width)
    torchs = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    assert np.abs(ours - torchs).max() < 1e-5
    area = fusion.area_mean(maps, height, width)
    assert np.allclose(area.mean((1, 2)), maps.mean((1, 2)), atol=1e-5)  # no mass is lost
    if h % height == 0 and w % width == 0:
        blocks = maps.reshape(2, height, h // height, width, w // width).mean((2, 4))
        assert np.abs(area - blocks).max() < 1e-5


def test_grids_that_do_not_divide_the_image() -> None:
    field = AffinityField(np.ones((34, 9, 12), np.float32), half_disc(5), 9, 12)
    p = phantom().probability[:, :95, :127]
    assert fusion.affinity(p, field).shape == (3, 95, 127)


@pytest.mark.parametrize("size", [(32, 24), (24, 24), (200, 260), (1, 128)])
def test_a_field_of_another_image_is_refused(shape: Phantom, size: tuple[int, int]) -> None:
    field = AffinityField(np.ones((34, *size), np.float32), half_disc(5), *size)
    with pytest.raises(ShapeError, match=f"field is {size[0]}x{size[1]}, the image 96x128"):
        refine(shape.probability, shape.image, RefineConfig(method="sequential"), field)


@pytest.mark.parametrize("method", METHODS)
def test_bad_input_is_refused_alike_by_every_method(shape: Phantom, method: str) -> None:
    config, p = RefineConfig(method=method), shape.probability
    broken = p.copy()
    broken[1, 4, 4] = np.nan
    cases: list[tuple[np.ndarray, np.ndarray, type[LungSynthError]]] = [
        (broken, shape.image, MaskError),
        (p, shape.image.T, ShapeError),
        (p[0], shape.image, ShapeError),
        (p[:, :1, :1], shape.image[:1, :1], ShapeError),
    ]
    for probability, image, kind in cases:
        with pytest.raises(kind, match=r"NaN|expected"):
            refine(probability, image, config, shape.field)


@pytest.mark.parametrize("method", sorted(filter(needs_affinity, METHODS)))
def test_without_a_field_the_message_says_what_to_do(shape: Phantom, method: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{method!r} needs an affinity.*train affinity.*choose crf"
    ):
        refine(shape.probability, shape.image, RefineConfig(method=method))


def test_no_gamma_is_refused(shape: Phantom) -> None:
    with pytest.raises(ConfigError, match="No γ"):
        fusion.propose(shape.probability, shape.image, ())
