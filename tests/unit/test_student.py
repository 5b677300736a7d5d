"""The student: targets, loss, training and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import film

from lungsynth.errors import CheckpointError, ConfigError, DataError, ShapeError
from lungsynth.films.data import Record
from lungsynth.masks.affinity import AffinityConfig
from lungsynth.masks.classes import ClassSpec
from lungsynth.masks.student import (
    Student,
    build_student,
    load_student,
    save_student,
    student_logits,
)
from lungsynth.masks.tokens import ClassToken
from lungsynth.training.mask_films import regions_of_all
from lungsynth.training.student import (
    SURE,
    MaskFilms,
    StudentOptions,
    student_loss,
    to_targets,
    train_student,
)

SMALL = AffinityConfig(stem=8, widths=(8, 12))


def test_targets_hold_shares_and_what_is_not_counted() -> None:
    region = np.zeros((8, 8), np.uint8)
    region[:4, :4] = 1
    region[0, 4:] = 1
    region[7, 7] = 255
    got = to_targets([region, np.zeros((0,), np.uint8)])
    assert got.shape == (2, 4, 4)
    half = SURE // 2
    assert got[0].tolist() == [
        [SURE, SURE, half, half],
        [SURE, SURE, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 255],
    ]
    assert (got[1] == 255).all()


def test_the_loss_reads_only_what_is_counted() -> None:
    logits = torch.zeros(1, 2, 4, 4)
    target = torch.full((1, 2, 4, 4), 255 / SURE)
    target[0, 0] = 1
    before = student_loss(logits, target)
    logits[0, 1] = 50  # an output this film does not annotate
    assert torch.equal(student_loss(logits, target), before)
    logits[0, 0] = 8
    assert student_loss(logits, target) < before


def test_training_learns_both_outputs_from_films_that_annotate_one_each(tmp_path: Path) -> None:
    images = np.full((8, 32, 32), 180, np.uint8)
    images[:, 8:24, 4:12] = 40
    images[:, 8:24, 20:28] = 40
    targets = np.full((8, 2, 16, 16), 255, np.uint8)
    targets[:4, 0] = 0
    targets[:4, 0, 4:12, 2:6] = SURE
    targets[4:, 1] = 0
    targets[4:, 1, 4:12, 10:14] = SURE
    options = StudentOptions(
        steps=150,
        batch_size=4,
        lr=5e-3,
        warmup_steps=5,
        widths=(8, 16),
        precision="fp32",
        ema_decay=0.9,
    )
    model = train_student(MaskFilms(images, targets, ["x/a", "x/b"]), tmp_path, options, quiet=True)
    assert model is not None
    p = student_logits(model, images[:1]).sigmoid().numpy()[0]
    assert p.shape == (2, 32, 32)
    assert p[0, 12:20, 6:10].mean() > 0.7 > 0.3 > p[0, 12:20, 22:26].mean()
    assert p[1, 12:20, 22:26].mean() > 0.7 > 0.3 > p[1, 12:20, 6:10].mean()


def test_the_same_call_gives_the_same_weights_and_a_stopped_one_resumes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32), dtype=np.uint8)
    targets = (rng.random((4, 1, 16, 16)) < 0.5).astype(np.uint8) * SURE
    options = StudentOptions(
        steps=6, batch_size=2, warmup_steps=1, widths=(8, 12), precision="fp32"
    )
    whole = train_student(MaskFilms(images, targets, ["a"]), tmp_path / "a", options, quiet=True)
    assert whole is not None
    stopped = replace(options, max_minutes=1e-9)
    parts = [
        train_student(MaskFilms(images, targets, ["a"]), tmp_path / "b", stopped, quiet=True)
        for _ in range(6)
    ]
    assert parts[:5] == [None] * 5 and parts[5] is not None
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, parts[5].state_dict()[name])


def test_a_student_begins_with_an_earlier_one_of_the_same_outputs(tmp_path: Path) -> None:
    films = MaskFilms(
        np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8),
        np.full((4, 1, 16, 16), SURE, np.uint8),
        ["a"],
    )
    options = StudentOptions(
        steps=1,
        batch_size=2,
        lr=1e-9,
        ema_decay=0,
        widths=(8, 12),
        precision="fp32",
        weight_decay=0,
    )
    config = AffinityConfig(widths=(8, 12), n_features=1)
    torch.manual_seed(3)
    save_student(Student(["a"], config), tmp_path / "earlier")
    earlier = load_student(tmp_path / "earlier")
    for start, out in ((tmp_path / "earlier", "a"), (None, "b")):
        got = train_student(films, tmp_path / out, options, start=start, quiet=True)
        assert got is not None
        same = [torch.allclose(v, got.state_dict()[k]) for k, v in earlier.state_dict().items()]
        assert all(same) == (start is not None)
    with pytest.raises(
        ConfigError, match="init_from: None then"
    ):  # the folder's run began otherwise
        train_student(films, tmp_path / "b", options, start=tmp_path / "earlier", quiet=True)
    with pytest.raises(ConfigError, match=r"has the outputs \['v/b'\]; this run's are \['a'\]"):
        save_student(Student(["v/b"], config), tmp_path / "other")
        train_student(films, tmp_path / "c", options, start=tmp_path / "other", quiet=True)


def test_files_round_trip_and_broken_ones_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Student(["v/a", "v/b"], SMALL).eval()
    save_student(model, tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 52), dtype=np.uint8)
    a, b = student_logits(model, image), student_logits(load_student(tmp_path), image)
    assert a.shape == (1, 2, 40, 52)
    torch.testing.assert_close(a, b, atol=0.05, rtol=0.05)  # float16 on disk
    (tmp_path / "student.json").write_text('{"outputs": ["v/a"]}')
    with pytest.raises(CheckpointError, match="train student"):
        load_student(tmp_path)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    images, targets = np.zeros((2, 32, 32), np.uint8), np.zeros((2, 1, 16, 16), np.uint8)
    options = StudentOptions(widths=(8, 12))
    with pytest.raises(DataError, match="shows a class"):
        train_student(MaskFilms(images, targets, ["a"]), tmp_path, options, quiet=True)
    with pytest.raises(ShapeError, match="expected"):
        train_student(MaskFilms(images, targets, ["a", "b"]), tmp_path, options, quiet=True)
    targets[:] = SURE
    with pytest.raises(ConfigError, match="weights"):
        train_student(MaskFilms(images, targets, ["a"], np.zeros(2)), tmp_path, options, quiet=True)
    with pytest.raises(ConfigError, match="distinct"):
        build_student(["a", "a"])


def test_masks_of_another_convention_are_refused() -> None:
    token = ClassToken("left lung", {}, {}, torch.zeros(()), {"side": "left", "foreground": "255"})
    spec = ClassSpec(id=1, name="left lung", token=token)
    image, mask = film(0)
    other = Record(image, "", np.where(mask == 255, 1, 0).astype(np.uint8), {"id": "a"})
    said = r"none of 1 masks holds 'left lung'.*value 255, left side.*\[0, 1\].*CONVENTION=SOURCE"
    with pytest.raises(DataError, match=said):
        regions_of_all([other], [spec], pixels=64, source="films.parquet")
    own = replace(other, mask=mask)
    assert len(regions_of_all([other, own], [spec], pixels=64, source="films.parquet")) == 2
