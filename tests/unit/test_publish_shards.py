"""Rows, Parquet files and the manifest, without a model."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lungsynth.errors import ConfigError, MaskError, OutputError
from lungsynth.files import file_sha256
from publish.data.manifest import Manifest, canonical_sha256, read_finished
from publish.data.prompts import RowPrompt
from publish.data.schema import RowSpec, column_name, features, id2label, row
from publish.data.shards import locked, shard_metadata, shard_name, write_atomic, write_shard

CLASSES = {2: "right lung", 1: "left lung"}
SPEC = RowSpec(
    classes=CLASSES,
    all_classes={1: "left lung", 2: "right lung"},
    n_parts={"left lung": 1, "right lung": 1},
    scheduler="DDIMScheduler",
    model="tiny",
)
SCORES = {
    "left lung": {"area": 0.25, "parts": 1, "stability": 0.95, "trust": 0.9},
    "right lung": {"area": 0.25, "parts": 1, "stability": 0.9, "trust": 0.8},
}


def result(seed: int = 5) -> SimpleNamespace:
    """What a drawing looks like to publish."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((20, 30), np.uint8)
    mask[:10, :15], mask[15:, :] = 1, 2
    soft = rng.dirichlet((1, 1, 1), (20, 30)).astype(np.float32).transpose(2, 0, 1)
    return SimpleNamespace(
        image=rng.integers(0, 256, (20, 30), dtype=np.uint8),
        mask=mask,
        seed=seed,
        probability=soft,
        prompt=SimpleNamespace(text="A film"),
        maps={"film": soft[0], "class left lung": soft[1]},
        record={
            "options": {"steps": 4, "guidance": 2.5, "precision": "fp32"},
            "nn_train_distance": 2.5,
            "scores": SCORES,
            "model_hash": "abc",
            "code_version": "0",
            "refine": {"method": "crf"},
        },
    )


def make_row(one: SimpleNamespace, row_id: str = "s0-0000000", spec: RowSpec = SPEC):
    return row(one, RowPrompt("A film", view="AP"), spec, row_id=row_id)


def decoded(cell) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])))


def write(out, rows, name="data/train-00000-of-00001.parquet", **kwargs):
    return write_shard(rows, features(CLASSES), out, name, metadata={"rank": 0}, **kwargs)


def test_a_row_holds_areas_and_provenance():
    made = make_row(result())
    assert list(made) == list(features(CLASSES))
    assert made["area_left_lung"] == 0.25 and made["area_right_lung"] == 0.25
    assert made["sex"] is None and made["view"] == "AP" and made["synthetic"] is True
    assert json.loads(made["scores"]) == SCORES and made["trust"] == 0.85
    assert json.loads(made["refine"]) == {"method": "crf"}
    assert made["box_left_lung"] == [0, 0, 15, 10] and made["box_right_lung"] == [0, 15, 30, 5]
    assert made["qc_flags"] == ["swapped lung"]  # the left lung lies left of the right one
    assert made["split"] == "train" and len(made["prompt_group"]) == 16


def test_probability_is_kept_within_half_a_step_by_class():
    one = result()
    made = make_row(one)
    for channel, name in ((1, "left"), (2, "right")):
        soft = decoded(made[f"probability_{name}_lung"]).astype(float) / 255
        assert np.abs(soft - one.probability[channel]).max() <= 0.5 / 255 + 1e-6
    lean = make_row(one, spec=replace(SPEC, keep_probability=False))
    assert list(lean) == list(features(CLASSES, keep_probability=False))


def test_attention_keeps_words_but_not_class_maps(tmp_path):
    made = make_row(result(), spec=replace(SPEC, keep_attention=True))
    assert [one["word"] for one in made["attention"]] == ["film"]
    kept = features(CLASSES, keep_attention=True)
    name = write_shard([made], kept, tmp_path, "data/a.parquet", metadata={}).name
    assert pq.read_table(tmp_path / name)["attention"].to_pylist() == [made["attention"]]


def test_classes_left_out_become_background():
    made = make_row(result(), spec=replace(SPEC, classes={2: "right lung"}))
    assert set(np.unique(decoded(made["mask"]))) == {0, 2}
    assert "area_left_lung" not in made and list(json.loads(made["scores"])) == ["right lung"]
    soft = decoded(made["probability_right_lung"]).astype(float) / 255
    assert np.abs(soft - result().probability[2]).max() <= 0.5 / 255 + 1e-6


def test_pixels_to_ignore_stay_255_and_belong_to_no_class():
    one = result()
    one.mask[9:11] = 255
    made = make_row(one)
    assert (decoded(made["mask"]) == 255).sum() == 60
    assert made["area_left_lung"] == pytest.approx(9 * 15 / 600)


def test_every_picture_says_that_it_is_synthetic():
    made = make_row(result(), spec=replace(SPEC, keep_attention=True))
    pictures = [v for v in made.values() if isinstance(v, dict)]
    pictures += [one["map"] for one in made["attention"]]
    assert len(pictures) == 5
    assert all(b"trainedAlgorithmicMedia" in one["bytes"] for one in pictures)


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
    assert column_name("area", "Left lung (upper)") == "area_left_lung_upper"
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
    pictures = [v for v in rows[0].values() if isinstance(v, dict)]
    limit = sum(len(one["bytes"]) for one in pictures) * 2 + 60
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
    monkeypatch.setattr("publish.data.shards.os.fsync", full)
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
    assert manifest.n_rows == 1 and not manifest.is_complete  # its other files are missing
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
    with pytest.raises(ConfigError, match="cannot be understood as a manifest of `publish build`"):
        read_finished(tmp_path, CONFIG, [])


def test_an_unfinished_manifest_says_so(finished):
    _, manifest = finished
    assert replace(manifest, n_shards=2).to_json()["is_complete"] is False


def test_hashes_do_not_depend_on_the_order_of_keys():
    assert canonical_sha256({"a": 1, "b": 2}) == canonical_sha256({"b": 2, "a": 1})
    assert shard_name(3, 12) == "data/train-00003-of-00012.parquet"


def test_publish_imports_neither_the_page_nor_the_hub():
    code = (
        "import publish.cli, publish.data.settings, publish.build.plan, publish.data.prompts, sys;"
        "import publish.data.shards;"
        "print([m for m in ('space', 'gradio', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_processes_never_hold_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    left = tmp_path / "data" / ".train-00000-of-00001.parquet.partial"
    left.write_bytes(b"half")
    code = "import time; from pathlib import Path; from publish.data.shards import locked\n"
    code += f"with locked(Path({str(tmp_path)!r})):\n print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is writing it"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):
        assert list((tmp_path / "data").iterdir()) == []  # what was half-written is gone
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]  # the lock leaves no file
    with pytest.raises(OutputError, match="cannot be"), locked(tmp_path / "missing"):
        pass


def test_a_footer_can_be_told_at_the_end(tmp_path):
    told = {"rejected": []}

    def rows():
        yield make_row(result())
        told["rejected"].append({"id": "s0-0000001", "reasons": ["flat picture"]})

    shard = write_shard(rows(), features(CLASSES), tmp_path, "data/a.parquet", metadata=told)
    assert (shard.n_rows, shard.n_drawn) == (1, 2)
    assert shard_metadata(tmp_path / shard.name) == told
    pq.write_table(pq.read_table(tmp_path / shard.name), tmp_path / "other.parquet")
    (tmp_path / "text").write_text("no")
    for name in ("text", "missing"):
        with pytest.raises(OutputError, match="not a shard"):
            shard_metadata(tmp_path / name)


def test_what_a_viewer_filters_by_has_a_page_index(tmp_path):
    """Readers that filter (the Hub's viewer, duckdb) skip pages by the least and most of each."""
    rows = [make_row(result(i), f"s0-{i:07d}") for i in range(3)]
    group = pq.read_metadata(tmp_path / write(tmp_path, rows).name).row_group(0)
    columns = {group.column(k).path_in_schema: group.column(k) for k in range(group.num_columns)}
    for name in ("id", "trust", "view", "age_group", "sex", "finding", "seed", "area_left_lung"):
        found = columns[name]
        assert found.has_offset_index and found.has_column_index and found.is_stats_set, name
    assert columns["image.bytes"].compression == "UNCOMPRESSED"
