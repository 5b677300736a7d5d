"""Distance of a picture to the nearest training film."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from evaluation_films import image_set

from lungsynth.errors import CheckpointError, ShapeError
from lungsynth.model.checkpoint import NEAREST_FOLDER, weights_hash
from lungsynth.model.encoder import (
    DEFAULT_FOLDER,
    NEAREST_NAME,
    NearestTrain,
    checksum,
    embed,
    load_encoder,
    load_nearest,
    save_nearest,
)
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer


def test_a_training_film_is_at_no_distance_and_others_are_not(tmp_path: Path) -> None:
    films = image_set(6).images
    encoder = load_encoder(DEFAULT_FOLDER)
    features = embed(encoder, films[:4]).features
    save_nearest(tmp_path, features, encoder=checksum(DEFAULT_FOLDER), sources="4 films")
    kept = load_nearest(tmp_path)
    assert kept is not None and len(kept) == 4
    near = kept.distances(films)
    assert near.shape == (6,) and near.dtype == np.float32
    assert (near[:4] < 0.05).all()  # float16 on disk
    direct = np.linalg.norm(embed(encoder, films[4:]).features[:, None] - features[None], axis=2)
    np.testing.assert_allclose(near[4:], direct.min(1), rtol=1e-2)
    assert (near[4:] > 0.1).all()


def test_a_checkpoint_without_features_has_none(tmp_path: Path) -> None:
    assert load_nearest(tmp_path) is None


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_nearest(tmp_path, np.zeros((2, 128)), encoder="another", sources="2 films")
    with pytest.raises(CheckpointError, match=r"encoder 'another'.*train nearest"):
        load_nearest(tmp_path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / NEAREST_FOLDER).mkdir()
    (tmp_path / NEAREST_FOLDER / NEAREST_NAME).write_bytes(b"\x08not safetensors")
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_nearest(tmp_path)


def test_no_films_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected \\(films, width\\)"):
        NearestTrain(load_encoder(DEFAULT_FOLDER), np.zeros((0, 128), np.float32))


def test_a_record_states_the_distance_and_the_weights_keep_their_name(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, folder)
    plain = Synthesizer(str(folder))
    (without,) = plain.generate(["both lungs"], [3], options=SampleOptions(steps=2))
    assert without.record["nn_train_distance"] is None
    before = weights_hash(str(folder))
    features = embed(load_encoder(DEFAULT_FOLDER), without.image[None]).features
    save_nearest(folder, features, encoder=checksum(DEFAULT_FOLDER), sources="the picture itself")
    assert weights_hash(str(folder)) == before
    (drawn,) = Synthesizer(str(folder)).generate(
        ["both lungs"], [3], options=SampleOptions(steps=2)
    )
    assert drawn.record["nn_train_distance"] < 0.05
    (other,) = Synthesizer(str(folder)).generate(
        ["both lungs"], [4], options=SampleOptions(steps=2)
    )
    assert other.record["nn_train_distance"] > drawn.record["nn_train_distance"]
