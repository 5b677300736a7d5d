"""The fully connected CRF."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from lungsynth.errors import ConfigError, MaskError, MissingDependencyError, ShapeError
from lungsynth.masks.crf import CrfConfig, DenseCrf, dense_crf, unary_probability


def blurred_step(height: int, width: int, edge: float, *, softness: float = 6.0) -> np.ndarray:
    """(2, H, W): probability of a right half whose border is soft and lies at `edge`."""
    x = np.arange(width) + 0.5
    right = np.repeat((1 / (1 + np.exp(-(x - edge) / softness)))[None], height, 0)
    return np.stack([1 - right, right]).astype(np.float32)


def step_image(height: int, width: int, edge: int) -> np.ndarray:
    image = np.full((height, width), 60, np.uint8)
    image[:, edge:] = 200
    return image


@pytest.mark.parametrize(
    "config", [CrfConfig(w_appearance=0, w_smoothness=0), CrfConfig(n_iters=0)]
)
def test_without_weights_the_unary_comes_back(config: CrfConfig) -> None:
    p = blurred_step(20, 33, 14)
    out = dense_crf(p, step_image(20, 33, 20), config)
    assert out.dtype == np.float32 and np.allclose(out, p, atol=1e-5)


WIDE = CrfConfig(theta_alpha=0.08, theta_beta=10, w_appearance=4, w_smoothness=3)
"""Reaches and weighs enough to move a border by several pixels; the default is gentler."""


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40)])
def test_a_soft_border_snaps_to_the_edge_of_the_image(height: int, width: int) -> None:
    edge = width // 2
    p = blurred_step(height, width, edge - 3, softness=0.1 * max(height, width))
    image = step_image(height, width, edge)
    wrong = (p.argmax(0) == 1) != (image > 100)
    right = (dense_crf(p, image, WIDE).argmax(0) == 1) != (image > 100)
    assert wrong.mean() > 0.04 and right.mean() < 0.005
    flat = (dense_crf(p, np.full_like(image, 90), WIDE).argmax(0) == 1) != (image > 100)
    assert flat.mean() > 0.03  # it is the image that moves the border


def test_height_and_width_are_not_confused() -> None:
    p = blurred_step(40, 64, 25)
    image = np.random.default_rng(0).integers(0, 256, (40, 64), dtype=np.uint8)
    turned = dense_crf(p.transpose(0, 2, 1).copy(), image.T.copy())
    there, back = dense_crf(p, image), turned.transpose(0, 2, 1)
    assert np.abs(there - back).mean() < 0.02  # the filter's lattice is only nearly symmetric
    assert (there.argmax(0) == back.argmax(0)).mean() > 0.97


def test_posterior_sums_to_one_and_keeps_its_shape() -> None:
    p = (
        np.random.default_rng(0)
        .dirichlet([1, 1, 1], (24, 40))
        .transpose(2, 0, 1)
        .astype(np.float32)
    )
    out = dense_crf(p, step_image(24, 40, 20))
    assert out.shape == (3, 24, 40) and np.allclose(out.sum(0), 1, atol=1e-4)


def test_the_smoothness_kernel_removes_specks() -> None:
    p = np.full((2, 40, 40), 0.5, np.float32)
    p[0], p[1] = 0.8, 0.2
    p[:, 20, 20] = 0.3, 0.7
    image = np.full((40, 40), 100, np.uint8)
    assert dense_crf(p, image, CrfConfig(n_iters=0)).argmax(0).sum() == 1
    smooth = CrfConfig(w_appearance=0, w_smoothness=3, theta_gamma=0.05)
    assert dense_crf(p, image, smooth).argmax(0).sum() == 0


def test_certain_probabilities_do_not_break_it() -> None:
    p = np.zeros((2, 16, 16), np.float32)
    p[0, :, :8] = p[1, :, 8:] = 1
    out = dense_crf(p, step_image(16, 16, 8))
    assert np.isfinite(out).all() and np.array_equal(out.argmax(0), p.argmax(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_maps_are_refused(bad: float) -> None:
    p = blurred_step(8, 8, 4)
    p[0, 0, 0] = bad
    with pytest.raises(MaskError, match="NaN or infinity"):
        dense_crf(p, step_image(8, 8, 4))


@pytest.mark.parametrize("shape", [(8, 9), (9, 8)])
def test_the_message_names_both_sizes(shape: tuple[int, int]) -> None:
    with pytest.raises(ShapeError, match=r"\(2, 8, 8\).*" + re.escape(str(shape))):
        dense_crf(blurred_step(8, 8, 4), np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError):
        dense_crf(blurred_step(8, 8, 4)[0], np.zeros((8, 8), np.uint8))


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(MissingDependencyError, match="pip install pydensecrf2"):
        dense_crf(blurred_step(8, 8, 4), step_image(8, 8, 4))


@pytest.mark.parametrize("off", [{"n_iters": 0}, {"w_appearance": 0, "w_smoothness": 0}])
def test_a_hard_unary_is_the_label_at_its_confidence(off: dict[str, float]) -> None:
    p = np.random.default_rng(0).dirichlet([1, 1, 1], (6, 9)).transpose(2, 0, 1).astype(np.float32)
    out = dense_crf(p, step_image(6, 9, 4), CrfConfig(unary="hard", gt_prob=0.6, **off))
    assert np.allclose(np.sort(out, 0), np.array([0.2, 0.2, 0.6])[:, None, None])
    assert np.array_equal(out.argmax(0), p.argmax(0))


@pytest.mark.parametrize("unary", ["soft", "hard"])
def test_the_posterior_is_pydensecrfs(unary: str) -> None:
    """The package called by hand, with its own unary helpers."""
    from pydensecrf import densecrf, utils

    image, p = step_image(30, 44, 20), blurred_step(30, 44, 17)
    config = CrfConfig(unary=unary)
    model = densecrf.DenseCRF2D(44, 30, 2)
    if unary == "hard":
        energy = utils.unary_from_labels(p.argmax(0), 2, config.gt_prob, zero_unsure=False)
    else:
        energy = utils.unary_from_softmax(p, clip=1e-6)
    model.setUnaryEnergy(np.ascontiguousarray(energy))
    sigma = config.theta_gamma * 44
    model.addPairwiseGaussian(sxy=(sigma, sigma), compat=config.w_smoothness)
    sigma = config.theta_alpha * 44
    rgb = np.repeat(image[..., None], 3, 2)  # grey thrice: √3 as wide for the same kernel
    model.addPairwiseBilateral(
        sxy=(sigma, sigma), srgb=config.theta_beta * 3**0.5, rgbim=rgb, compat=config.w_appearance
    )
    expected = np.array(model.inference(config.n_iters)).reshape(2, 30, 44)
    # the lattice of five features is not that of three, so nearly equal only
    assert np.abs(dense_crf(p, image, config) - expected).mean() < 0.02
    assert (dense_crf(p, image, config).argmax(0) == expected.argmax(0)).mean() > 0.99


def test_one_model_serves_many_unaries() -> None:
    image = step_image(24, 40, 20)
    infer = DenseCrf(image, 2)
    for edge in (17, 22, 17):
        p = blurred_step(24, 40, edge)
        assert np.array_equal(infer(p), dense_crf(p, image))
    with pytest.raises(ShapeError, match=r"\(3, 24, 40\)"):
        infer(np.full((3, 24, 40), 1 / 3, np.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta_alpha": 0}, "theta_alpha=0: expected a width above 0"),
        ({"theta_beta": -3.0}, "theta_beta"),
        ({"theta_gamma": float("nan")}, "theta_gamma"),
        ({"w_appearance": -1}, "w_appearance=-1"),
        ({"w_smoothness": float("inf")}, "w_smoothness"),
        ({"n_iters": -1}, "n_iters=-1"),
        ({"n_iters": 1001}, r"n_iters=1001: expected 0 \(off\) to 1000"),
        ({"n_iters": 10**400}, "n_iters=1000"),
        ({"unary": "firm"}, "'firm' is unknown; there are soft, hard"),
        ({"gt_prob": 1.0}, "gt_prob=1.0"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dense_crf(blurred_step(8, 8, 4), step_image(8, 8, 4), CrfConfig(**changes))


def test_a_label_must_be_the_most_probable_class() -> None:
    with pytest.raises(ConfigError, match=r"gt_prob=0\.5 with 2 classes.*above 1/2"):
        unary_probability(blurred_step(8, 8, 4), CrfConfig(unary="hard", gt_prob=0.5))


def test_the_smallest_images() -> None:
    for shape in ((1, 1), (1, 7), (2, 2)):
        p = np.full((2, *shape), 0.5, np.float32)
        assert np.allclose(dense_crf(p, np.zeros(shape, np.uint8)), 0.5, atol=1e-5)
    with pytest.raises(ShapeError):
        DenseCrf(np.zeros((4, 4, 3), np.uint8), 2)
