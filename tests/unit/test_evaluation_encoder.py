"""The encoder on disk, its training loss and its scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_films import image_set, random_encoder

from lungsynth.errors import CheckpointError, DataError
from lungsynth.evaluation.words.encoder_training import (
    ENCODER_PRESETS,
    augment,
    draw_weights,
    head_losses,
    train_encoder,
)
from lungsynth.evaluation.words.judgement import accuracy, balanced_accuracy
from lungsynth.model.encoder import (
    CONFIG_NAME,
    HEADS,
    WEIGHTS_NAME,
    embed,
    load_encoder,
    save_encoder,
)
from lungsynth.training.common import torch_generator


def test_a_saved_encoder_gives_the_same_features(tmp_path: Path) -> None:
    encoder, images = random_encoder(), image_set(5).images
    save_encoder(encoder, tmp_path)
    again = embed(load_encoder(tmp_path), images)
    np.testing.assert_array_equal(again.features, embed(encoder, images).features)


def test_batch_size_changes_nothing() -> None:
    images = image_set(5).images
    one, all_five = (embed(random_encoder(), images, batch_size=b) for b in (1, 8))
    np.testing.assert_allclose(one.features, all_five.features, atol=1e-4)
    assert one.features.std(0).max() > 0.01  # and they tell pictures apart


def test_no_encoder_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no encoder here.*train encoder"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", ["not json", "[1]", '{"format": "other"}'])
def test_a_foreign_config_is_refused(tmp_path: Path, content: str) -> None:
    save_encoder(random_encoder(), tmp_path)
    (tmp_path / CONFIG_NAME).write_text(content)
    with pytest.raises(CheckpointError, match=CONFIG_NAME):
        load_encoder(tmp_path)


def test_corrupt_weights_are_refused(tmp_path: Path) -> None:
    save_encoder(random_encoder(), tmp_path)
    (tmp_path / WEIGHTS_NAME).write_bytes(b"\x80\x04 pickle, not safetensors")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_encoder(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_encoder(random_encoder(), tmp_path)
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps({**config, "stem": 5}))
    with pytest.raises(CheckpointError, match=r"does not fit config\.json"):
        load_encoder(tmp_path)


def test_unknown_labels_do_not_change_the_loss() -> None:
    logits = {name: torch.tensor([[2.0, -1.0], [0.5, 0.0]]) for name in HEADS}
    labels = torch.tensor([[0, 0, 0, 0], [1, -1, -1, -1]])
    weights = torch.tensor([[1.0] * 4, [1.0, 0.0, 0.0, 0.0]])
    losses = head_losses(logits, labels, weights, 0.0)
    alone = torch.nn.functional.cross_entropy(logits["view"][:1], labels[:1, 0])
    assert float(losses["view"]) == pytest.approx(float(alone))
    assert float(losses["age_group"]) > float(losses["view"])


def test_augmentation_keeps_range_and_depends_on_the_generator() -> None:
    x = torch.rand(3, 1, 32, 32, generator=torch_generator(0, 0)) * 2 - 1
    first, again, other = (augment(x, torch_generator(0, s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == x.shape
    assert -1 <= float(first.min()) and float(first.max()) <= 1


def test_augmentation_never_mirrors() -> None:
    x = torch.full((64, 1, 32, 32), -0.8)
    x[..., 4:28, 18:28] = 0.8  # a bright thing on the right
    y = augment(x, torch_generator(0, 0))
    right, left = y[..., 16:].mean((1, 2, 3)), y[..., :16].mean((1, 2, 3))
    assert float((right > left).float().mean()) > 0.95


def test_children_and_adults_are_drawn_in_the_given_shares() -> None:
    children = np.array([True] * 9 + [False])
    weights = draw_weights(children, 0.4)
    assert weights[children].sum() == pytest.approx(0.4)
    assert weights.sum() == pytest.approx(1.0)


def test_ill_adults_are_not_swamped() -> None:
    children = np.array([True] * 4 + [False] * 20)
    ill = np.array([True] * 4 + [True] * 2 + [False] * 18)
    weights = draw_weights(children, 0.4, ill)
    assert weights[~children & ill].sum() == pytest.approx(0.25 * 0.6)
    assert weights[children].sum() == pytest.approx(0.4)
    most = np.array([True] * 4 + [True] * 15 + [False] * 5)  # of themselves more than a quarter
    assert (draw_weights(children, 0.4, most) == draw_weights(children, 0.4)).all()
    assert (draw_weights(children, 0.4, children) == draw_weights(children, 0.4)).all()


def test_an_interrupted_run_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    films, options = image_set(16), ENCODER_PRESETS["tiny"]
    assert train_encoder(films, None, tmp_path / "whole", options, quiet=True)
    from dataclasses import replace

    stopped = replace(options, max_minutes=1e-9)
    assert not train_encoder(films, None, tmp_path / "broken", stopped, quiet=True)
    assert train_encoder(films, None, tmp_path / "broken", options, quiet=True)
    whole, broken = (load_encoder(tmp_path / k / "encoder") for k in ("whole", "broken"))
    for (name, a), b in zip(whole.state_dict().items(), broken.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


def test_films_that_answer_nothing_are_refused(tmp_path: Path) -> None:
    films = image_set(8, fields=[{"age": "50"}] * 8)
    with pytest.raises(DataError, match="needs the columns"):
        train_encoder(films, None, tmp_path, ENCODER_PRESETS["tiny"], quiet=True)
    with pytest.raises(DataError, match="need at least 8"):
        train_encoder(image_set(3), None, tmp_path, ENCODER_PRESETS["tiny"], quiet=True)


def test_accuracies_by_hand() -> None:
    counts = np.array([[8.0, 2.0], [1.0, 1.0]])
    assert accuracy(counts) == pytest.approx(9 / 12)
    assert balanced_accuracy(counts) == pytest.approx((0.8 + 0.5) / 2)
    assert balanced_accuracy(np.array([[3.0, 1.0], [0.0, 0.0]])) == pytest.approx(0.75)
