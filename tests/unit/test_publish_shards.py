"""Rows, Parquet files and the manifest, without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from lungsynth.errors import ConfigError, MaskError, OutputError
from publish.manifest import Manifest, canonical_sha256, read_finished
from publish.prompts import RowPrompt
from publish.schema import area_column, features, id2label, row
from publish.shards import file_sha256, shard_name, write_atomic, write_shard

CLASSES = {2: "right lung", 1: "left lung"}


def result(seed: int = 5) -> SimpleNamespace:
    """What a drawing looks like to publish."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 30), np.uint8)
    mask[:10, :15], mask[15:, :] = 1, 2
    return SimpleNamespace(
        image=rng.integers(0, 256, (20, 30), dtype=np.uint8), mask=mask, seed=seed,
        prompt=SimpleNamespace(text="A film"),
        record={"options": {"steps": 4, "guidance": 2.5}, "scores": {"left lung": {"area": 0.25}},
                "model_hash": "abc", "code_version": "0"},
    )  # fmt: skip


def make_row(one: SimpleNamespace, row_id: str = "s0-0000000"):
    asked = RowPrompt("A film", view="AP")
    return row(one, asked, CLASSES, row_id=row_id, scheduler="DDIMScheduler", model="tiny")


def write(out, rows, name="data/train-00000-of-00001.parquet", **kwargs):
    return write_shard(rows, features(CLASSES), out, name, metadata={"rank": 0}, **kwargs)


def test_a_row_holds_areas_and_provenance():
    made = make_row(result())
    assert list(made) == list(features(CLASSES))
    assert made["area_left_lung"] == 0.25 and made["area_right_lung"] == 0.25
    assert made["sex"] is None and made["view"] == "AP" and made["synthetic"] is True
    assert json.loads(made["scores"]) == {"left lung": {"area": 0.25}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: setattr(r, "mask", r.mask[:-1]), "expected uint8 of the same height and width"),
        (lambda r: setattr(r, "mask", r.mask.astype(int)), "is int64"),
        (lambda r: r.mask.__setitem__((0, 0), 7), r"holds \[7\]; expected 0 and \[1, 2\]"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(change, message):
    one = result()
    change(one)
    with pytest.raises(MaskError, match=message):
        make_row(one)


def test_class_names_become_columns_and_labels():
    assert area_column("Left lung (upper)") == "area_left_lung_upper"
    assert id2label(CLASSES) == {"0": "background", "1": "left lung", "2": "right lung"}
    with pytest.raises(ConfigError, match="same column twice"):
        features({1: "left lung", 2: "Left-Lung"})


def test_the_same_rows_give_the_same_file(tmp_path):
    rows = [make_row(result(i), f"s0-{i:07d}") for i in range(5)]
    first = write(tmp_path / "a", rows)
    assert first == write(tmp_path / "b", iter(rows))
    path = tmp_path / "a" / first.name
    assert first.sha256 == file_sha256(path) and first.n_bytes == path.stat().st_size
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_pictures_are_kept_byte_for_byte_in_small_row_groups(tmp_path):
    rows = [make_row(result(i), f"s0-{i:07d}") for i in range(5)]
    limit = sum(len(rows[0][k]["bytes"]) for k in ("image", "mask")) * 2 + 40
    name = write(tmp_path, rows, max_row_group_bytes=limit).name
    file = pq.ParquetFile(tmp_path / name)
    assert file.num_row_groups == 3
    assert file.read()["image"].to_pylist() == [r["image"] for r in rows]
    assert json.loads(file.metadata.metadata[b"lungsynth"]) == {"rank": 0}
    assert b'"_type": "Image"' in file.schema_arrow.metadata[b"huggingface"]
    assert file.metadata.row_group(0).column(1).has_offset_index
    file.close()


def test_a_row_that_fails_leaves_no_file(tmp_path):
    def rows():
        yield make_row(result())
        raise MaskError("broken")

    with pytest.raises(MaskError, match="broken"):
        write(tmp_path, rows())
    assert list((tmp_path / "data").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_atomic(tmp_path / "id2label.json", b"old")
    monkeypatch.setattr("publish.shards.os.fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*finished shards are kept"):
        write(tmp_path, [make_row(result())])
    with pytest.raises(OutputError, match="No space left"):
        write_atomic(tmp_path / "id2label.json", b"new")
    assert list((tmp_path / "data").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "id2label.json"]
    assert (tmp_path / "id2label.json").read_bytes() == b"old"


CONFIG = {"model": "tiny", "model_hash": "abc", "code_version": "0", "n": 1}


@pytest.fixture
def finished(tmp_path):
    """A folder with one finished shard."""
    shard = write(tmp_path, [make_row(result())])
    manifest = Manifest(CONFIG, id2label(CLASSES), {}, (shard,), 1)
    manifest.write(tmp_path)
    return tmp_path, manifest


def test_a_finished_shard_is_found_by_its_hash(finished):
    out, manifest = finished
    [shard] = manifest.shards
    assert manifest.is_complete and manifest.n_rows == 1
    assert read_finished(out, CONFIG, [shard.name]) == {shard.name: shard}
    path = out / shard.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert read_finished(out, CONFIG, [shard.name]) == {}
    path.unlink()
    assert read_finished(out, CONFIG, [shard.name]) == {}


def test_another_configuration_is_refused_naming_what_differs(finished):
    out, manifest = finished
    with pytest.raises(ConfigError, match=r"\(n is 1, not 2\).*Choose another --out"):
        read_finished(out, CONFIG | {"n": 2}, [manifest.shards[0].name])


def test_a_foreign_shard_is_refused(finished):
    out, manifest = finished
    (out / "data" / "train-00000-of-00009.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"of-00009\.parquet is no part of this dataset"):
        read_finished(out, CONFIG, [manifest.shards[0].name])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": 3}', '{"shards": []}'])
def test_a_broken_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="not a manifest of `publish build`"):
        read_finished(tmp_path, CONFIG, [])


def test_an_unfinished_manifest_says_so(finished):
    _, manifest = finished
    assert replace(manifest, n_shards=2).to_json()["is_complete"] is False


def test_hashes_do_not_depend_on_the_order_of_keys():
    assert canonical_sha256({"a": 1, "b": 2}) == canonical_sha256({"b": 2, "a": 1})
    assert shard_name(3, 12) == "data/train-00003-of-00012.parquet"


def test_publish_imports_neither_the_page_nor_the_hub():
    code = (
        "import publish.cli, publish.prompts, publish.shards, publish.manifest, sys;"
        "print([m for m in ('space', 'gradio', 'huggingface_hub', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
