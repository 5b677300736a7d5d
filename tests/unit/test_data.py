"""Reading image-text-mask sources."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import film, png, write_parquet

from lungsynth.errors import DataError
from lungsynth.films.data import decode_grey, open_source, parquet_files, read_records

IDS = np.zeros((96, 112), np.uint8)
IDS[20:60, 10:40], IDS[20:60, 60:100] = 1, 2


def palette_png(ids: np.ndarray) -> bytes:
    """Class ids as a palette picture whose colours say nothing of the ids."""
    picture = Image.fromarray(ids).convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * (253 * 3))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def parquet_of(path: Path, rows: list[dict[str, Any]]) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def image_folder(folder: Path, kind: str, *, mask: bytes | None = None) -> str:
    """An image folder with three films; its metadata as JSON lines or CSV."""
    folder.mkdir()
    rows = []
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(film(i)[0]))
        row = {"file_name": f"{i}.png", "text": f"film {i}", "view": "PA"}
        if mask is not None:
            (folder / f"mask{i}.png").write_bytes(mask)
            row["mask_file_name"] = f"mask{i}.png"
        rows.append(row)
    if kind == "jsonl":
        (folder / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        with (folder / "metadata.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return str(folder)


def test_parquet_gives_image_text_mask_and_fields(parquet: Path) -> None:
    records = list(read_records(str(parquet), mask_column="mask"))
    assert len(records) == 16
    image, mask = film(1)
    assert np.array_equal(records[1].image, image)
    assert records[1].mask is not None and np.array_equal(records[1].mask, mask)
    assert records[1].text == "Frontal AP chest X-ray. Viral pneumonia."
    assert records[1].fields["findings"] == "viral pneumonia"
    assert records[2].fields["age"] == "60"


def test_split_and_limit_choose_rows(parquet: Path) -> None:
    assert [r.fields["id"] for r in read_records(str(parquet), split="val")] == ["film-4"]
    assert len(list(read_records(str(parquet), split="test"))) == 4
    assert len(list(read_records(str(parquet), limit=3))) == 3


def test_a_folder_of_parquet_files_is_one_source(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", 3)
    (tmp_path / "deep").mkdir()
    write_parquet(tmp_path / "deep" / "b.parquet", 2)
    assert len(list(read_records(str(tmp_path)))) == 5
    several = [str(tmp_path / "a.parquet"), str(tmp_path / "deep" / "b.parquet")]
    assert len(list(read_records(several))) == 5


def test_a_published_folder_is_read_without_its_preview(tmp_path: Path) -> None:
    for folder, n in (("data", 3), ("preview", 2)):
        (tmp_path / folder).mkdir()
        write_parquet(tmp_path / folder / "train-00000-of-00001.parquet", n)
    assert len(list(read_records(str(tmp_path)))) == 3
    assert [path.parent.name for path in parquet_files(tmp_path)] == ["data"]
    write_parquet(tmp_path / "more.parquet", 1)  # of one's own: it counts
    assert [path.name for path in parquet_files(tmp_path)][1:] == ["more.parquet"]
    assert [path.parent.name for path in parquet_files(tmp_path / "preview")] == ["preview"]
    assert parquet_files(tmp_path / "gone") == []


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_image_folder_with_metadata(tmp_path: Path, kind: str) -> None:
    records = list(read_records(image_folder(tmp_path / "films", kind)))
    assert [r.text for r in records] == ["film 0", "film 1", "film 2"]
    assert np.array_equal(records[2].image, film(2)[0])
    assert records[0].fields == {"view": "PA"}


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_palette_masks_of_an_image_folder_keep_their_ids(tmp_path: Path, kind: str) -> None:
    source = image_folder(tmp_path / "films", kind, mask=palette_png(IDS))
    for record in read_records(source, mask_column="mask"):
        assert record.mask is not None and np.array_equal(record.mask, IDS)


def test_other_column_names(tmp_path: Path) -> None:
    rows = [{"scan": {"bytes": png(film(0)[0]), "path": None}, "report": "a film", "seg": None}]
    source = parquet_of(tmp_path / "x.parquet", rows)
    (record,) = read_records(source, image_column="scan", text_column="report")
    assert record.text == "a film" and record.image.shape == (96, 112)
    (record,) = read_records(source, image_column="scan", text_column=None)
    assert record.text == ""


def test_rows_without_a_mask_are_skipped(tmp_path: Path) -> None:
    cell = {"bytes": png(film(0)[0]), "path": None}
    mask = {"bytes": png(film(0)[1]), "path": None}
    source = parquet_of(
        tmp_path / "x.parquet",
        [{"image": cell, "text": "a", "mask": mask}, {"image": cell, "text": "b", "mask": None}],
    )
    assert [r.text for r in read_records(source, mask_column="mask")] == ["a"]


def test_sixteen_bit_films_keep_their_contrast() -> None:
    wide = np.linspace(1000, 3000, 64, dtype=np.uint16).reshape(8, 8)
    grey = decode_grey(png(wide), where="row 0")
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, np.round((wide - 1000.0) / 2000 * 255).astype(np.uint8))


def test_transparency_is_black_and_colour_is_luminance() -> None:
    rgba = np.full((4, 6, 4), 200, np.uint8)
    rgba[..., 3] = 255
    rgba[:, :3, 3] = 0
    grey = decode_grey(png(rgba), where="row 0")
    assert grey.shape == (4, 6)
    assert (grey[:, :3] == 0).all() and (grey[:, 3:] == 200).all()
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert decode_grey(png(red), where="row 0").tolist() == [[76, 76], [76, 76]]


@pytest.mark.parametrize(
    "mask",
    [palette_png(IDS), png(IDS), png(IDS.astype(np.uint16)), png(IDS == 1)],
    ids=["palette", "grey", "16-bit", "bilevel"],
)
def test_masks_keep_their_ids(tmp_path: Path, mask: bytes) -> None:
    picture = np.asarray(Image.open(io.BytesIO(mask)))
    row = {
        "image": {"bytes": png(film(0)[0]), "path": None},
        "text": "",
        "mask": {"bytes": mask, "path": None},
    }
    (record,) = read_records(parquet_of(tmp_path / "x.parquet", [row]), mask_column="mask")
    assert record.mask is not None and record.mask.dtype == np.uint8
    assert np.array_equal(record.mask, picture.astype(np.uint8))


@pytest.mark.parametrize("option", ["image", "text", "mask"])
def test_a_missing_column_lists_those_there_are(parquet: Path, option: str) -> None:
    with pytest.raises(DataError) as caught:
        next(read_records(str(parquet), **{f"{option}_column": "nope"}))
    message = str(caught.value)
    assert "'nope'" in message and "findings" in message and f"--{option}-column" in message


def test_a_corrupt_image_names_its_row_of_the_source(tmp_path: Path) -> None:
    good, bad = png(film(0)[0]), png(film(0)[0])[:400]
    rows = [
        {
            "id": f"r{i}",
            "image": {"bytes": good, "path": None},
            "text": "",
            "split": "val" if i < 3 else "train",
        }
        for i in range(6)
    ]
    rows[4]["image"] = {"bytes": bad, "path": None}
    source = parquet_of(tmp_path / "x.parquet", rows)
    with pytest.raises(DataError, match=r"row 4 \(r4\).*cannot be decoded"):
        list(read_records(source, split="train"))


@pytest.mark.parametrize(
    "junk", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, None, 7]
)
def test_junk_is_a_data_error(junk: Any) -> None:
    with pytest.raises(DataError, match="row 3"):
        decode_grey(junk, where="row 3")


def test_a_decompression_bomb_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="row 3"):
        decode_grey(bomb, where="row 3")


def test_numbers_beside_missing_ones_are_whole(tmp_path: Path) -> None:
    """A table with a missing age holds the others as 60.0, of which captions would know no age."""
    image = {"bytes": png(film(0)[0]), "path": None}
    rows = [{"image": image, "age": age} for age in (60.0, None, float("nan"), 0.5)]
    read = read_records(parquet_of(tmp_path / "a.parquet", rows), text_column=None)
    assert [one.fields["age"] for one in read] == ["60", "", "", "0.5"]


def test_an_image_folder_with_splits_is_read_whole(tmp_path: Path) -> None:
    for i, name in enumerate(("train/a.png", "train/b.png", "test/c.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(film(i)[0]))
    everything = list(read_records(str(tmp_path), text_column=None))
    assert [one.fields["split"] for one in everything] == ["test", "train", "train"]
    (kept,) = read_records(str(tmp_path), text_column=None, split="test")
    np.testing.assert_array_equal(kept.image, film(2)[0])


def test_an_empty_split_is_an_error(parquet: Path) -> None:
    with pytest.raises(DataError, match=r"no usable row.*holdout"):
        list(read_records(str(parquet), split="holdout"))


def test_a_split_without_a_split_column_says_what_to_do(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "films", "jsonl")
    with pytest.raises(DataError, match=r"no `split` column.*--split ''"):
        list(read_records(source, split="train"))


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "image": {"bytes": png(film(0)[0]), "path": None},
        "text": "",
        "mask": {"bytes": png(film(0)[1][:50]), "path": None},
    }
    source = parquet_of(tmp_path / "x.parquet", [row])
    with pytest.raises(DataError, match=r"row 0 \(a\).*\(50, 112\).*\(96, 112\)"):
        list(read_records(source, mask_column="mask"))


@pytest.mark.parametrize(
    "source",
    [[], "nowhere.parquet", "no/such/folder", ["a.parquet", "b.csv"], "no-such-dataset-anywhere"],
)
def test_a_source_that_is_not_there(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        open_source(source)


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"these are not the bytes of a table")
    with pytest.raises(DataError, match=r"x\.parquet"):
        open_source(str(tmp_path / "x.parquet"))
