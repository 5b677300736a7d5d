"""AffinityNet: affinities, loss, labels and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungsynth.errors import CheckpointError, ConfigError, ShapeError
from lungsynth.masks.affinity import (
    AffinityConfig,
    AffinityNet,
    affinity_fields,
    affinity_loss,
    certain_labels,
    load_affinity,
    majority,
    pair_affinities,
    save_affinity,
)
from lungsynth.masks.walk import half_disc, random_walk
from lungsynth.training.affinity import AffinityOptions, make_labels, train_affinity, walked_labels

SMALL = AffinityConfig(stem=8, widths=(8, 12), n_features=4)


def test_affinities_equal_a_loop_over_pairs() -> None:
    features = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    offsets = half_disc(3)
    got = pair_affinities(features, offsets)
    for k, (dy, dx) in enumerate(offsets):
        for y in range(6):
            for x in range(7):
                if 0 <= y + dy < 6 and 0 <= x + dx < 7:
                    gap = (features[1, :, y, x] - features[1, :, y + dy, x + dx]).abs().mean()
                    assert torch.isclose(got[1, k, y, x], torch.exp(-gap), atol=1e-6)
                else:
                    assert got[1, k, y, x] == 0


def test_the_loss_equals_a_loop_over_pairs_and_skips_uncertain_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    affinities = torch.rand(1, 34, 8, 8, generator=generator) * 0.9 + 0.05
    labels = torch.randint(0, 4, (1, 8, 8), generator=generator).to(torch.uint8)
    labels[labels == 3] = 255
    offsets = half_disc(5)
    sums = {"bg": [], "fg": [], "neg": []}  # type: dict[str, list[float]]
    for k, (dy, dx) in enumerate(offsets):
        for y in range(8):
            for x in range(8):
                if not (0 <= y + dy < 8 and 0 <= x + dx < 8):
                    continue
                a, b = int(labels[0, y, x]), int(labels[0, y + dy, x + dx])
                if 255 in (a, b):
                    continue
                value = float(affinities[0, k, y, x])
                if a != b:
                    sums["neg"].append(-np.log(1 + 1e-5 - value))
                else:
                    sums["bg" if a == 0 else "fg"].append(-np.log(value + 1e-5))
    expected = np.mean(sums["bg"]) / 4 + np.mean(sums["fg"]) / 4 + np.mean(sums["neg"]) / 2
    assert float(affinity_loss(affinities, labels, offsets)) == pytest.approx(expected, rel=1e-5)


def test_certain_places_are_those_both_maps_agree_on() -> None:
    cautious = np.array([[0, 1, 0, 1, 2]], np.uint8)
    eager = np.array([[0, 1, 1, 2, 2]], np.uint8)
    assert certain_labels(cautious, eager).tolist() == [[0, 1, 255, 255, 2]]
    with pytest.raises(ShapeError, match="one size"):
        certain_labels(cautious, eager[:, :3])


def test_a_block_keeps_the_class_most_of_it_has() -> None:
    labels = np.full((8, 8), 255, np.uint8)
    labels[:4, :4] = 1
    labels[0, 0] = 0
    labels[4:, 4:6] = 2
    assert majority(labels).tolist() == [[1, 255], [255, 255]]
    with pytest.raises(ShapeError, match="multiples of 4"):
        majority(labels[:7])


def test_labels_come_from_the_probability_alone() -> None:
    image = np.full((32, 32), 90, np.uint8)
    image[8:24, 4:12] = 200
    probability = np.full((3, 32, 32), 0.02, np.float32)
    probability[0] = 0.96
    probability[:, 8:24, 4:12] = np.array([0.02, 0.96, 0.02])[:, None, None]
    labels = make_labels(probability, image)
    assert labels.shape == (8, 8)
    assert labels[3, 2] == 1 and labels[0, 7] == 0
    assert set(np.unique(labels)) <= {0, 1, 255}


def test_a_further_round_labels_what_a_network_walked() -> None:
    torch.manual_seed(0)
    model = AffinityNet(SMALL).eval()
    image = np.full((1, 32, 32), 90, np.uint8)
    image[0, 8:24, 4:12] = 200
    coarse = np.full((1, 2, 8, 8), 0.04, np.float32)
    coarse[0, 0] = 0.96
    coarse[0, :, 2:6, 1:3] = np.array([0.04, 0.96])[:, None, None]
    empty = np.zeros((1, 8, 8), np.uint8)
    with torch.no_grad():  # features of no length: every place belongs with every other
        model.head.weight.zero_()
    assert (walked_labels(model, image, coarse, empty) == 0).all()
    with torch.no_grad():  # features far apart: nothing walks
        model.head.weight.normal_(std=100.0)
    assert walked_labels(model, image, coarse, empty)[0, 3, 2] == 1


def test_a_class_the_walk_thins_out_keeps_the_places_it_had() -> None:
    model = AffinityNet(SMALL).eval()
    image = np.full((1, 32, 32), 90, np.uint8)
    coarse = np.full((1, 2, 8, 8), 0.5, np.float32)  # sure of nothing
    before = np.zeros((1, 8, 8), np.uint8)
    before[0, 2:6, 2:6] = 1
    labels = walked_labels(model, image, coarse, before)
    np.testing.assert_array_equal(labels == 1, before == 1)
    assert (labels[before == 0] == 255).all()


def test_fields_of_any_size_walk() -> None:
    torch.manual_seed(0)
    model = AffinityNet(SMALL).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 37, 50), dtype=np.uint8)
    field = affinity_fields(model, images)[1]
    assert (field.height, field.width) == (10, 13)
    start = np.random.default_rng(1).dirichlet(np.ones(3), (10, 13)).astype(np.float32)
    walked = random_walk(field, np.moveaxis(start, -1, 0), n_steps=16)
    np.testing.assert_allclose(walked.sum(0), 1, atol=1e-5)


def test_exposure_does_not_matter() -> None:
    torch.manual_seed(0)
    model = AffinityNet(SMALL).eval()
    image = np.random.default_rng(0).integers(0, 120, (1, 32, 32), dtype=np.uint8)
    a, b = affinity_fields(model, image)[0], affinity_fields(model, image * 2)[0]
    np.testing.assert_allclose(a.values, b.values, atol=2e-3)


def test_training_separates_what_the_labels_separate_and_resumes(tmp_path: Path) -> None:
    images = np.full((4, 32, 32), 60, np.uint8)
    images[:, :, 16:] = 190
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[:, :, 4:] = 1
    options = AffinityOptions(
        steps=60,
        batch_size=2,
        warmup_steps=5,
        widths=(8, 12),
        n_features=4,
        precision="fp32",
        ema_decay=0.9,
        save_minutes=0.0,
    )
    model = train_affinity(images, labels, tmp_path, options, quiet=True)
    assert model is not None
    field = affinity_fields(model, images[:1])[0]
    right = field.offsets.index((0, 1))
    inside, across = field.values[right, 4, 1], field.values[right, 4, 3]
    assert inside > 0.8 > across + 0.2
    again = train_affinity(images, labels, tmp_path, options, quiet=True)
    assert again is not None
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert (tmp_path / "affinity" / "affinity.safetensors").exists()


def test_files_round_trip_and_broken_ones_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AffinityNet(SMALL).eval()
    save_affinity(model, tmp_path, {"films": "3"})
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    a = affinity_fields(model, image)[0].values
    b = affinity_fields(load_affinity(tmp_path), image)[0].values
    np.testing.assert_allclose(a, b, atol=5e-3)
    (tmp_path / "affinity.json").write_text("{}")
    with pytest.raises(CheckpointError, match="train affinity"):
        load_affinity(tmp_path)


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    from lungsynth.errors import DataError

    images, labels = np.zeros((2, 32, 32), np.uint8), np.zeros((2, 8, 8), np.uint8)
    with pytest.raises(DataError, match="certain foreground"):
        train_affinity(images, labels, tmp_path, AffinityOptions(widths=(8, 12)), quiet=True)
    with pytest.raises(ShapeError, match="quarter"):
        train_affinity(images, labels[:, :4], tmp_path, AffinityOptions(), quiet=True)
    with pytest.raises(ConfigError, match="norm_groups"):
        AffinityNet(AffinityConfig(widths=(7, 9)))
    with pytest.raises(ShapeError, match="multiples of 8"):
        AffinityNet(SMALL)(torch.zeros(1, 1, 36, 36))
