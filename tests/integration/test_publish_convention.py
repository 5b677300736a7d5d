"""By whose rule a mask is drawn goes with it: rows, card, Croissant, exports, versions, replay."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from publishing import build_options, run_publish

from publish.data.manifest import read_manifest
from publish.release.diff import diff


@pytest.fixture(scope="module")
def conventions(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two conventions: nlm and, under `--convention v7`, v7."""
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("conventions") / "pipeline")
    told = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(json.dumps({**told, "convention": "nlm"}))
    swapped = [
        {**one, "token": other["token"]}
        for one, other in zip(told["classes"], reversed(told["classes"]), strict=True)
    ]
    other = {"classes": swapped, "convention": "v7"}
    (folder / "classes-v7.json").write_text(json.dumps(other))
    return folder


def build(conventions: Path, out: Path, *extra: object) -> Path:
    ran = run_publish(*build_options(conventions, out, "--n", 4, *extra))
    assert ran.code == 0, ran.err
    return out


@pytest.fixture(scope="module")
def nlm(conventions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(conventions, tmp_path_factory.mktemp("nlm") / "dist")


@pytest.fixture(scope="module")
def v7(conventions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(conventions, tmp_path_factory.mktemp("v7") / "dist", "--convention", "v7")


def column(dist: Path, name: str) -> list[object]:
    return [
        value
        for shard in read_manifest(dist).shards
        for value in pq.read_table(dist / shard.name, columns=[name])[name].to_pylist()
    ]


def test_rows_manifest_card_and_croissant_name_it(nlm, v7):
    for dist, name, words in ((nlm, "nlm", "without heart"), (v7, "v7", "behind the heart")):
        assert column(dist, "mask_convention") == [name] * 4
        assert read_manifest(dist).config["convention"] == name
        card = (dist / "README.md").read_text()
        assert f"convention **{name}**" in card and words in card
        assert "| `mask_convention` |" in card and "| `nn_train_distance` |" in card
        sets = json.loads((dist / "croissant.json").read_text())["recordSet"]
        [mask] = [f for f in sets[1]["field"] if f["name"] == "mask"]
        assert mask["description"].endswith(f"by the convention {name}.")
        fields = {f["name"] for f in sets[1]["field"]}
        assert {"mask_convention", "nn_train_distance", "precision"} <= fields
        ran = run_publish("check", dist, "--no-load")
        assert ran.code == 0, ran.out


def test_another_convention_asks_for_a_major_version(nlm, v7):
    found = diff(nlm, v7)
    assert found.bump == "major" and len(found.rows_changed) == 4


def test_a_row_is_drawn_again_by_its_own_convention(v7, conventions):
    rows = [word for one in column(v7, "id") for word in ("--row", one)]
    ran = run_publish("replay", v7, *rows, "--model", conventions, "--json")
    assert ran.code == 0, ran.err
    assert all(one["identical"] for one in json.loads(ran.out))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("nnunet", "Dataset501_Lungsynth/dataset.json"),
        ("monai", "datalist.json"),
        ("coco", "annotations/instances_train.json"),
        ("webdataset", "dataset.json"),
    ],
)
def test_an_export_names_it(v7, tmp_path, name, file):
    out = tmp_path / "out"
    assert run_publish("export", v7, "--format", name, "--out", out).code == 0
    assert "Masks follow the convention v7: the lung behind" in (out / file).read_text()
    if name == "webdataset":
        with tarfile.open(out / "train-000000.tar") as tar:
            texts = [m for m in tar.getnames() if m.endswith(".json")]
            held = tar.extractfile(texts[0])
            assert held is not None and json.load(held)["mask_convention"] == "v7"


def test_a_dicom_export_names_it(v7, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    out = tmp_path / "out"
    assert run_publish("export", v7, "--format", "dicom-seg", "--out", out).code == 0
    told = [pydicom.dcmread(path).ContentDescription for path in out.rglob("seg.dcm")]
    assert told and set(told) == {"Synthetic mask, convention v7"}
