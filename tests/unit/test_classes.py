"""The classes of a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.masks.classes import CLASSES_NAME, load_classes, parse_classes


def test_a_checkpoints_classes(checkpoint: Path) -> None:
    classes = load_classes(checkpoint)
    assert [(c.id, c.name) for c in classes] == [(1, "left lung"), (2, "right lung")]
    assert all(c.token is not None and c.token.name == c.name for c in classes)


def test_a_checkpoint_without_classes(sd_folder: Path) -> None:
    assert load_classes(sd_folder) == []


def test_a_class_may_be_read_from_a_word(tmp_path: Path) -> None:
    spec = {"classes": [{"id": 3, "name": "heart", "word": "cor", "n_parts": 4}]}
    (one,) = parse_classes(spec, tmp_path)
    assert (one.id, one.name, one.word, one.token, one.n_parts) == (3, "heart", "cor", None, 4)


@pytest.mark.parametrize("text", ["{", "", "classes: 1"])
def test_what_is_not_json(tmp_path: Path, text: str) -> None:
    (tmp_path / CLASSES_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=r"classes\.json: not JSON"):
        load_classes(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"classes": None},
        {"classes": 3},
        {"classes": [3]},
        {"classes": [{"id": 1}]},
        {"classes": [{"name": "a", "word": "a"}]},
        {"classes": [{"id": "one", "name": "a", "word": "a"}]},
        {"classes": [{"id": 1, "name": "a", "word": "a", "area": [0, 10**400]}]},
        [],
        "text",
        {"classes": ["ab"]},
    ],
)
def test_what_is_not_a_list_of_classes(tmp_path: Path, spec: Any) -> None:
    (tmp_path / CLASSES_NAME).write_text(json.dumps(spec))
    with pytest.raises(ConfigError, match=r"classes\.json.*expected"):
        load_classes(tmp_path)


@pytest.mark.parametrize("ids", [[1, 1], [0], [255], [-1], [300], []])
def test_ids_are_distinct_and_in_range(tmp_path: Path, ids: list[int]) -> None:
    spec = {"classes": [{"id": i, "name": str(i), "word": "w"} for i in ids]}
    with pytest.raises(ConfigError, match="distinct numbers from 1 to 254"):
        parse_classes(spec, tmp_path)


def test_names_are_distinct(tmp_path: Path) -> None:
    spec = {"classes": [{"id": i, "name": "lung", "word": "w"} for i in (1, 2)]}
    with pytest.raises(ConfigError, match=r"\['lung', 'lung'\]; expected distinct ones"):
        parse_classes(spec, tmp_path)


def test_a_class_needs_a_token_or_a_word(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'a' has neither a token nor a word"):
        parse_classes({"classes": [{"id": 1, "name": "a"}]}, tmp_path)


@pytest.mark.parametrize("where", ["../outside.safetensors", "absolute", "link.safetensors"])
def test_a_token_outside_the_folder_is_refused(
    checkpoint: Path, tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside.safetensors"
    shutil.copy(checkpoint / "tokens" / "left-lung.safetensors", outside)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "link.safetensors").symlink_to(outside)
    path = str(outside) if where == "absolute" else where
    with pytest.raises(ConfigError, match="must lie inside"):
        parse_classes({"classes": [{"id": 1, "name": "a", "token": path}]}, folder)


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        parse_classes({"classes": [{"id": 1, "name": "a", "token": "gone.safetensors"}]}, tmp_path)
