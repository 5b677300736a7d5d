"""The random walk against its dense form, and what every walk keeps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungsynth.errors import ConfigError, MaskError, ShapeError
from lungsynth.masks.walk import (
    AffinityField,
    chebyshev_weights,
    half_disc,
    random_walk,
    transition,
)


def random_field(
    h: int, w: int, *, seed: int = 0, radius: int = 5, least: float = 0.0
) -> AffinityField:
    offsets = half_disc(radius)
    rng = np.random.default_rng(seed)
    values = rng.uniform(least, 1, (len(offsets), h, w)).astype(np.float32)
    return AffinityField(values, offsets, h, w)


def random_start(classes: int, h: int, w: int, *, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), (h, w))
    return p.transpose(2, 0, 1).astype(np.float32)


def dense_affinity(field: AffinityField) -> np.ndarray:
    """A, node by node."""
    h, w = field.height, field.width
    a = np.eye(h * w)
    for k, (dy, dx) in enumerate(field.offsets):
        for y in range(h):
            for x in range(w):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    i, j = y * w + x, (y + dy) * w + x + dx
                    a[i, j] = a[j, i] = field.values[k, y, x]
    return a


def dense_walk(field: AffinityField, start: np.ndarray, beta: float, n_steps: int) -> np.ndarray:
    """psa's form: columns divided by their sums, the power of the matrix, a row of values from the left."""
    a = dense_affinity(field) ** beta
    t = np.linalg.matrix_power(a / a.sum(0, keepdims=True), n_steps)
    return (start.reshape(len(start), -1).astype(float) @ t).reshape(start.shape)


def test_psas_radius_has_34_offsets() -> None:
    offsets = half_disc(5)
    assert len(offsets) == len(set(offsets)) == 34
    assert all(dy > 0 or (dy == 0 and dx > 0) for dy, dx in offsets)
    assert max(dy * dy + dx * dx for dy, dx in offsets) == 20 and (4, 2) in offsets
    assert (3, 4) not in offsets and (0, 5) not in offsets  # distance 5 is not nearer than 5
    assert set(half_disc(2)) == {(0, 1), (1, -1), (1, 0), (1, 1)}


def test_the_matrix_is_psas() -> None:
    field = random_field(6, 9)
    a = dense_affinity(field) ** 3
    assert np.allclose(transition(field, beta=3).toarray(), a / a.sum(1, keepdims=True), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    classes=st.integers(1, 4),
    seed=st.integers(0, 999),
    beta=st.floats(0.5, 16),
    n_steps=st.integers(0, 300),
    tolerance=st.sampled_from([0.0, 1e-6]),
    radius=st.integers(2, 5),
)
def test_the_walk_equals_its_dense_form(
    h: int,
    w: int,
    classes: int,
    seed: int,
    beta: float,
    n_steps: int,
    tolerance: float,
    radius: int,
) -> None:
    """Narrow grids too, where two offsets share a diagonal of the matrix."""
    field, start = (
        random_field(h, w, seed=seed, radius=radius),
        random_start(classes, h, w, seed=seed),
    )
    out = random_walk(field, start, beta=beta, n_steps=n_steps, tolerance=tolerance)
    assert out.dtype == np.float32 and out.shape == start.shape
    assert np.abs(out - dense_walk(field, start, beta, n_steps)).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    n_steps=st.integers(0, 400),
    beta=st.floats(0.1, 30),
    least=st.sampled_from([0.0, 0.99, 1.0]),
)
def test_sums_and_bounds_are_kept(seed: int, n_steps: int, beta: float, least: float) -> None:
    """Also where all affinities are alike, and the rounding of each step has the same sign."""
    field, start = random_field(7, 12, seed=seed, least=least), random_start(3, 7, 12, seed=seed)
    out = random_walk(field, start, beta=beta, n_steps=n_steps)
    assert np.abs(out.sum(0) - 1).max() < 1e-6
    flat, before = out.reshape(3, -1), start.reshape(3, -1)
    assert (flat.min(1) >= before.min(1)).all() and (flat.max(1) <= before.max(1)).all()


def test_classes_do_not_mix() -> None:
    field, start = random_field(8, 5), random_start(4, 8, 5)
    order = [2, 0, 3, 1]
    assert np.array_equal(random_walk(field, start)[order], random_walk(field, start[order]))


def test_a_closed_wall_is_not_crossed_and_a_lone_node_stays() -> None:
    offsets = half_disc(5)
    values = np.ones((len(offsets), 8, 20), np.float32)
    side = np.arange(20) >= 10
    for k, (dy, dx) in enumerate(offsets):
        for y in range(8):
            for x in range(20):
                if 0 <= x + dx < 20 and side[x] != side[x + dx]:
                    values[k, y, x] = 0
                if (y, x) == (3, 4) or (y + dy, x + dx) == (3, 4):
                    values[k, y, x] = 0
    start = np.zeros((1, 8, 20), np.float32)
    start[0, :, :3] = start[0, 3, 4] = 1
    out = random_walk(AffinityField(values, offsets, 8, 20), start)[0]
    assert out[:, 10:].max() == 0 and out[3, 4] == pytest.approx(1, abs=1e-5)
    walked = np.delete(out[:, :10].ravel(), 3 * 10 + 4)
    assert 0.2 < walked.min() and np.ptp(walked) < 0.01  # the rest of that side has mixed


def test_few_products_stand_for_many_steps() -> None:
    weights = chebyshev_weights(256, 1e-6)
    assert weights is not None and 60 < len(weights) < 90 and sum(weights) == pytest.approx(1)
    x = np.linspace(-1, 1, 1001)
    chebyshev = np.polynomial.chebyshev.Chebyshev(np.array(weights))
    assert np.abs(chebyshev(x) - x**256).max() < 3e-6
    assert chebyshev_weights(256, 0) is None and chebyshev_weights(4, 1e-6) is None


@pytest.mark.slow
def test_fifty_times_as_fast_as_squaring() -> None:
    """psa's eight squarings of the 4096 x 4096 matrix, in torch as psa has it."""
    field, start = random_field(64, 64), random_start(3, 64, 64)
    t = torch.from_numpy(transition(field).toarray())  # by rows; psa's columns are its transpose
    begun = time.perf_counter()
    power = t.float()
    for _ in range(8):
        power = power @ power
    dense_s = time.perf_counter() - begun
    random_walk(field, start)
    begun = time.perf_counter()
    ours = random_walk(field, start)
    assert dense_s / (time.perf_counter() - begun) >= 50
    column = torch.from_numpy(start.reshape(3, -1).T).double()
    for _ in range(256):
        column = t @ column
    assert np.abs(ours - column.T.reshape(start.shape).numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"values": np.full((34, 4, 4), -0.1, np.float32)}, MaskError, r"-0\.1.*\[0, 1\]"),
        ({"values": np.full((34, 4, 4), 1.1, np.float32)}, MaskError, r"1\.1.*\[0, 1\]"),
        ({"values": np.full((34, 4, 4), np.nan, np.float32)}, MaskError, "nan"),
        ({"values": np.ones((33, 4, 4), np.float32)}, ShapeError, r"\(33, 4, 4\).*\(34, 4, 4\)"),
        ({"height": 5}, ShapeError, r"\(34, 5, 4\)"),
        ({"values": np.ones((34, 0, 4), np.float32), "height": 0}, ShapeError, "at least 1"),
        (
            {"offsets": ((0, 1), (0, -1)), "values": np.ones((2, 4, 4), np.float32)},
            ShapeError,
            "opposite",
        ),
        ({"offsets": ((0, 0),), "values": np.ones((1, 4, 4), np.float32)}, ShapeError, r"\(0, 0\)"),
    ],
)
def test_broken_fields_are_refused(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    whole = {
        "values": np.ones((34, 4, 4), np.float32),
        "offsets": half_disc(5),
        "height": 4,
        "width": 4,
    }
    AffinityField(**whole)
    with pytest.raises(kind, match=message):
        AffinityField(**(whole | changes))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"beta": 0.0}, ConfigError, r"beta=0\.0: expected a number above 0"),
        ({"beta": float("nan")}, ConfigError, "beta=nan"),
        ({"n_steps": -1}, ConfigError, "n_steps=-1: expected 0 or more"),
        ({"tolerance": -1.0}, ConfigError, "tolerance=-1"),
        ({"start": np.zeros((2, 4, 5), np.float32)}, ShapeError, r"\(2, 4, 5\).*\(classes, 4, 4\)"),
        ({"start": np.zeros((4, 4), np.float32)}, ShapeError, r"\(4, 4\)"),
        ({"start": np.full((2, 4, 4), np.inf, np.float32)}, MaskError, "NaN or infinity"),
    ],
)
def test_broken_walks_are_refused(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    whole = {"field": random_field(4, 4), "start": random_start(2, 4, 4)}
    with pytest.raises(kind, match=message):
        random_walk(**(whole | changes))


def test_a_disc_of_radius_one_has_no_neighbours() -> None:
    with pytest.raises(ConfigError, match="radius=1"):
        half_disc(1)


def test_a_grid_of_one_node() -> None:
    field = AffinityField(np.ones((34, 1, 1), np.float32), half_disc(5), 1, 1)
    start = np.array([[[0.3]], [[0.7]]], np.float32)
    assert np.allclose(random_walk(field, start), start)
