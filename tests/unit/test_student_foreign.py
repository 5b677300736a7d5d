"""A network of another make as the student: one file, one registration, nothing else changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.masks.student import (
    NETWORKS,
    StudentNetwork,
    build_student,
    load_student,
    student_maps,
    student_network,
)
from lungsynth.training.student import SURE, MaskFilms, StudentOptions, train_student


class Segformer(StudentNetwork):
    """transformers' SegFormer: three channels in, an object with `.logits` out, stride 32."""

    network, stride = "segformer-tiny", 32

    def __init__(self, outputs: Sequence[str], **shape: Any) -> None:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        super().__init__()
        self.outputs, self.shape = tuple(outputs), shape
        config = SegformerConfig(
            num_labels=len(outputs),
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=shape.get("decoder", 16),
            classifier_dropout_prob=0.0,
            drop_path_rate=0.0,
        )
        self.body = SegformerForSemanticSegmentation(config)

    def spec(self) -> dict[str, Any]:
        return self.shape

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x.expand(-1, 3, -1, -1).contiguous()).logits
        return logits


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "segformer-tiny", NETWORKS["affinitynet"])  # removed afterwards

    @student_network("segformer-tiny")
    def build(outputs: Sequence[str], spec: Mapping[str, Any]) -> StudentNetwork:
        return Segformer(outputs, **spec)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (4, 64, 64), dtype=np.uint8)
    targets = np.zeros((4, 2, 32, 32), np.uint8)
    for k in range(4):  # a bright square, left or right
        x = 8 if k % 2 else 40
        images[k, 16:48, x : x + 16] += 150
        targets[k, k % 2, 8:24, x // 2 : x // 2 + 8] = SURE
    options = StudentOptions(network="segformer-tiny", steps=3, batch_size=2, precision="fp32")
    train_student(MaskFilms(images, targets, ["v/left", "v/right"]), tmp_path, options, quiet=True)
    return tmp_path / "student"


def test_it_is_trained_saved_and_loaded(trained: Path) -> None:
    about = json.loads((trained / "student.json").read_text())
    assert about["network"] == "segformer-tiny" and about["outputs"] == ["v/left", "v/right"]
    model = load_student(trained)
    assert isinstance(model, Segformer) and model.outputs == ("v/left", "v/right")
    image = np.random.default_rng(1).integers(0, 256, (50, 70), dtype=np.uint8)  # no multiple of 32
    maps = student_maps(model, image)
    assert maps.logits.shape == (2, 50, 70)
    p = maps.probability(["v/right", "v/left"])
    assert p is not None and p.shape == (3, 50, 70)
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
    assert maps.probability(["v/heart"]) is None


def test_a_synthesizer_reads_masks_with_it(trained: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The checkpoint's own student is swapped for the foreign one; its maps enter the mask."""
    import shutil

    from lungsynth.pipeline import Synthesizer

    copy = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, copy)
    shutil.rmtree(copy / "student", ignore_errors=True)
    shutil.copytree(trained, copy / "student")
    assert isinstance(Synthesizer(str(copy)).student, Segformer)


def test_an_unknown_network_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'unetpp' is unknown; there are affinitynet"):
        build_student(["v/left"], network="unetpp")
    monkeypatch.delitem(NETWORKS, "segformer-tiny")
    with pytest.raises(CheckpointError, match="'segformer-tiny' is unknown"):
        load_student(trained)


def test_students_of_earlier_checkpoints_name_no_network(tmp_path: Path) -> None:
    from lungsynth.masks.student import Student, save_student

    save_student(build_student(["v/a"]), tmp_path)
    about = json.loads((tmp_path / "student.json").read_text())
    del about["network"]
    (tmp_path / "student.json").write_text(json.dumps(about))
    loaded = load_student(tmp_path)
    assert isinstance(loaded, Student)
    with torch.inference_mode():
        assert loaded(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 8, 8)
