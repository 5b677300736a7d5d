"""Every export, read back by its own reader, is the dataset pixel for pixel."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from publishing import build_options, contents, run_publish

from lungsynth.errors import ConfigError, DataError, OutputError
from publish.data.manifest import read_manifest
from publish.export import FORMATS, export, iter_cases
from publish.export.cases import relabel
from publish.export.coco import run_lengths
from publish.export.dicom_seg import uid
from publish.export.folders import write_webdataset


@pytest.fixture(scope="module", params=["plain", "ignore and a gap"])
def source(request, dist, checkpoint, tmp_path_factory) -> Path:
    """A dataset; the other has 255 in its masks, classes 2 only, and odd labels."""
    if request.param == "plain":
        return dist
    out = tmp_path_factory.mktemp("ignore") / "dist"
    ran = run_publish(
        *build_options(checkpoint, out, "--ignore-band", 0.2, "--classes", "right lung")
    )
    assert ran.code == 0, ran.err
    assert any((case.mask == 255).any() for case in iter_cases(out, read_manifest(out)))
    return out


@pytest.fixture
def cases(source):
    return {case.name: case for case in iter_cases(source, read_manifest(source))}


def written(source, tmp_path, name) -> Path:
    out = tmp_path / "out"
    ran = run_publish("export", source, "--format", name, "--out", out)
    assert ran.code == 0, ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    return out


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        assert opened.mode == "L" and opened.format == "PNG"
        return np.asarray(opened)


def test_nnunet(source, cases, tmp_path):
    """Its documented layout, read by skimage as its own NaturalImage2DIO does."""
    from skimage import io as skio

    [root] = written(source, tmp_path, "nnunet").iterdir()
    assert root.name == "Dataset501_Lungsynth"
    told = json.loads((root / "dataset.json").read_text())
    train = sorted((root / "imagesTr").iterdir())
    assert told["numTraining"] == len(train) and told["file_ending"] == ".png"
    assert told["channel_names"] == {"0": "X-ray"}
    labels = told["labels"]
    assert sorted(labels.values()) == list(range(len(labels))) and labels["background"] == 0
    values = {v: k for k, v in read_manifest(source).classes.items()}
    back = {labels[name]: int(values.get(name, 255)) for name in labels}
    seen = 0
    for suffix in ("Tr", "Ts"):
        for path in sorted((root / f"images{suffix}").iterdir()):
            name = path.name.removesuffix("_0000.png")
            label = skio.imread(root / f"labels{suffix}" / f"{name}.png")
            assert label.ndim == 2 and set(np.unique(label)) <= set(labels.values())
            assert np.array_equal(skio.imread(path), cases[name].image)
            assert np.array_equal(relabel(label, back), cases[name].mask)
            assert cases[name].split == ("test" if suffix == "Ts" else "train")
            seen += 1
    assert seen == len(cases)


def test_monai(source, cases, tmp_path):
    out = written(source, tmp_path, "monai")
    told = json.loads((out / "datalist.json").read_text())
    lists = {
        key: [(out / e["image"], out / e["label"]) for e in told[key]]
        for key in ("training", "test")
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from monai.data import PILReader, load_decathlon_datalist
    except ImportError:
        read = picture
    else:

        def read(path: Path) -> np.ndarray:
            reader = PILReader(reverse_indexing=False)
            return np.asarray(reader.get_data(reader.read(str(path)))[0])

        for key, pairs in lists.items():
            entries = load_decathlon_datalist(out / "datalist.json", True, key)
            assert [(Path(e["image"]), Path(e["label"])) for e in entries] == pairs
    assert sum(map(len, lists.values())) == len(cases)
    for key, pairs in lists.items():
        for image, label in pairs:
            case = cases[image.stem]
            assert (case.split == "test") == (key == "test")
            assert np.array_equal(read(image), case.image)
            assert np.array_equal(read(label), case.mask)


def test_coco(source, cases, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mask_api = pytest.importorskip("pycocotools.mask")
        from pycocotools.coco import COCO

    out = written(source, tmp_path, "coco")
    seen = 0
    for path in sorted((out / "annotations").iterdir()):
        split = path.stem.removeprefix("instances_")
        coco = COCO(str(path))
        for entry in coco.loadImgs(coco.getImgIds()):
            case = cases[Path(entry["file_name"]).stem]
            assert case.split == split
            assert np.array_equal(picture(out / "images" / split / entry["file_name"]), case.image)
            back = np.zeros_like(case.mask)
            for one in coco.loadAnns(coco.getAnnIds(imgIds=entry["id"])):
                region = coco.annToMask(one)
                assert region.sum() == one["area"]
                rle = mask_api.frPyObjects(one["segmentation"], *region.shape)
                assert mask_api.toBbox(rle).tolist() == one["bbox"]
                back[region > 0] = one["category_id"]
            if "ignore" in entry:
                size = entry["ignore"]["size"]
                back[mask_api.decode(mask_api.frPyObjects(entry["ignore"], *size)) > 0] = 255
            assert np.array_equal(back, case.mask)
            seen += 1
    assert seen == len(cases)


@pytest.mark.parametrize(
    "region",
    [
        np.zeros((3, 4), bool),
        np.ones((3, 4), bool),
        np.eye(5, dtype=bool),
        np.eye(5, dtype=bool) == 0,
    ],
)
def test_run_lengths_are_those_of_pycocotools(region):
    mask_api = pytest.importorskip("pycocotools.mask")
    told = run_lengths(region)
    assert sum(told["counts"]) == region.size
    assert np.array_equal(mask_api.decode(mask_api.frPyObjects(told, *region.shape)), region)


def test_webdataset(source, cases, tmp_path):
    """Read by tarfile, and by the reader of `datasets`."""
    from datasets import load_dataset

    out = written(source, tmp_path, "webdataset")
    seen = 0
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {}
            for member in tar:
                assert member.mtime == 0 and member.uid == 0 and not member.uname
                handle = tar.extractfile(member)
                assert handle is not None
                files[member.name] = handle.read()
        for name in {name.partition(".")[0] for name in files}:
            case = cases[name]
            assert files[f"{name}.image.png"] == case.image_png
            mask = np.asarray(Image.open(io.BytesIO(files[f"{name}.mask.png"])))
            assert np.array_equal(mask, case.mask)
            assert (
                json.loads(files[f"{name}.json"])["split"] == path.name.split("-")[0] == case.split
            )
            seen += 1
    assert seen == len(cases)
    rows = load_dataset(
        "webdataset",
        data_files={"train": str(out / "train-*.tar")},
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    for row in rows:
        case = cases[row["__key__"]]
        assert np.array_equal(np.asarray(row["mask.png"]), case.mask)
        assert np.array_equal(np.asarray(row["image.png"]), case.image)
        assert row["json"]["prompt"] == case.row["prompt"]


def test_small_tars_hold_whole_rows_and_the_same_bytes(dist, tmp_path):
    manifest = read_manifest(dist)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_webdataset(dist, manifest, tmp_path / name, max_bytes=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    tars = sorted((tmp_path / "a").glob("train-*.tar"))
    assert len(tars) > 1 and tars[1].name == "train-000001.tar"
    for path in tars:
        with tarfile.open(path) as tar:
            assert len(tar.getnames()) % 3 == 0


def test_dicom_seg(source, cases, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hd = pytest.importorskip("highdicom")
        import pydicom

    out = written(source, tmp_path, "dicom-seg")
    values = {name: int(v) for v, name in read_manifest(source).classes.items()} | {"ignore": 255}
    seen = 0
    for folder in sorted(out.glob("*/*")):
        case = cases[folder.name]
        image = pydicom.dcmread(folder / "image.dcm")
        assert image.SyntheticData == "YES" == image[0x0008, 0x001C].value
        assert image.ImageType == ["DERIVED", "SECONDARY"] and image.BurnedInAnnotation == "NO"
        assert np.array_equal(image.pixel_array, case.image)
        back = np.zeros_like(case.mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seg = hd.seg.segread(folder / "seg.dcm")
            assert seg.SyntheticData == "YES" and seg.SegmentSequence[0].SegmentAlgorithmName
            for number in seg.segment_numbers:
                layer = seg.get_pixels_by_source_instance(
                    [image.SOPInstanceUID],
                    segment_numbers=[number],
                    combine_segments=False,
                    assert_missing_frames_are_empty=True,
                    ignore_spatial_locations=True,
                )[0, ..., 0]
                back[layer > 0] = values[seg.get_segment_description(number).segment_label]
        assert np.array_equal(back, case.mask)
        assert case.split == folder.parent.name
        seen += 1
    assert seen == len(cases)
    assert uid("a") == uid("a") != uid("b") and len(uid("a")) <= 64


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_gives_the_same_bytes_each_time(dist, tmp_path, name):
    for out in ("one", "two"):
        assert export(dist, name, tmp_path / out) == 12
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_folder_is_left_alone(dist, tmp_path, name):
    (tmp_path / "mine").write_text("x")
    ran = run_publish("export", dist, "--format", name, "--out", tmp_path)
    assert ran.code == 1 and "is not empty" in ran.err
    assert contents(tmp_path) == {"mine": b"x"}


def test_an_export_that_fails_leaves_nothing(dist, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, "coco", full)
    with pytest.raises(OutputError, match="No space left"):
        export(dist, "coco", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="there are nnunet, monai"):
        export(dist, "jpeg", tmp_path / "out")
    with pytest.raises(DataError, match=r"A mask holds \[7\]"):
        relabel(np.full((2, 2), 7, np.uint8), {0: 0})


def test_ids_that_lead_out_of_the_folder_are_refused(dist, tmp_path):
    import shutil

    from test_publish_check import edit_rows

    out = shutil.copytree(dist, tmp_path / "dist")
    edit_rows(out, lambda rows: rows[0].update(id="../../x"))
    ran = run_publish("export", out, "--format", "monai", "--out", tmp_path / "out")
    assert ran.code == 1 and "cannot be a file name" in ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dist"]


def test_a_dry_run_writes_nothing(dist, tmp_path):
    ran = run_publish("export", dist, "--format", "coco", "--out", tmp_path / "out", "--dry-run")
    assert ran.code == 0 and "12 rows of train, test as coco" in ran.out
    assert not (tmp_path / "out").exists()


def test_coco_panoptic(source, cases, tmp_path):
    """As panopticapi reads it: id = R + 256 G + 65536 B, segments_info tells the category of each."""
    out = written(source, tmp_path, "coco-panoptic")
    seen = 0
    for path in sorted((out / "annotations").glob("*.json")):
        told = json.loads(path.read_text())
        categories = {one["id"]: one for one in told["categories"]}
        [background] = [k for k, one in categories.items() if not one["isthing"]]
        entries = {one["id"]: one for one in told["images"]}
        for one in told["annotations"]:
            case = cases[Path(one["file_name"]).stem]
            assert entries[one["image_id"]]["file_name"] == one["file_name"]
            with Image.open(path.with_suffix("") / one["file_name"]) as opened:
                assert opened.mode == "RGB"
                r, g, b = np.asarray(opened).astype(int).transpose(2, 0, 1)
            ids = r + 256 * g + 65536 * b
            back = np.full(case.mask.shape, 255, np.uint8)  # void
            assert {*np.unique(ids)} - {0} == {s["id"] for s in one["segments_info"]}
            for segment in one["segments_info"]:
                region = ids == segment["id"]
                assert region.sum() == segment["area"] and segment["bbox"][2] > 0
                category = segment["category_id"]
                back[region] = 0 if category == background else category
            assert np.array_equal(back, case.mask)
            seen += 1
    assert seen == len(cases)


def test_xrayvision_gets_its_shape(source, cases, tmp_path):
    from datasets import load_dataset

    from publish.export.xrayvision import XRayVisionRows

    rows = load_dataset(str(source), split="train", cache_dir=str(tmp_path))
    films = XRayVisionRows(rows, json.loads((source / "id2label.json").read_text()))
    assert len(films) == len(rows) == len(films.csv) and "num_samples" in films.string()
    assert films.labels.shape == (len(rows), len(films.pathologies))
    assert "normal" not in films.pathologies and "image" not in films.csv.column_names
    for k in range(len(films)):
        one, case = films[k], cases[rows[k]["id"]]
        assert one["img"].shape == (1, *case.image.shape) and one["img"].dtype == np.float32
        assert np.array_equal(np.rint((one["img"][0] / 1024 + 1) / 2 * 255), case.image)
        told = dict(zip(films.pathologies, one["lab"], strict=True))
        assert all(value == float(name == rows[k]["finding"]) for name, value in told.items())
        for value, name in films.semantic_classes.items():
            mask = one["semantic_masks"][name][0]
            assert np.array_equal(mask == 1, case.mask == value)
            assert np.array_equal(np.isnan(mask), case.mask == 255)
    with pytest.raises(ConfigError, match="no column 'finding'"):
        XRayVisionRows(rows.remove_columns("finding"), {})


UNKNOWN_TO_DCIODVFY = "(0x0008,0x001c)"
"""Synthetic Data, which is younger than the dictionary of Debian's dicom3tools."""


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
def test_dicom_is_what_the_standard_asks_for(source, tmp_path):
    out = written(source, tmp_path, "dicom-seg")
    files = sorted(out.rglob("*.dcm"))
    assert len(files) >= 12
    for path in files:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=60)
        errors = [k for k in done.stderr.splitlines() if k.startswith("Error")]
        assert [k for k in errors if UNKNOWN_TO_DCIODVFY not in k] == [], path
        assert len(errors) <= 1 and ("SCImage" in done.stderr or "Segmentation" in done.stderr)
