"""Writing results: whole or not at all."""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungsynth.errors import OutputError
from lungsynth.files import check_writable, write_parquet, write_whole
from lungsynth.output import result_files, write_result
from lungsynth.pipeline import Result
from lungsynth.prompts import PromptReport

EXPECTED = {
    "image.png",
    "coarse.png",
    "mask.png",
    "overlay.png",
    "record.json",
    "map_left-lung.png",
    "map_left-lung_overlay.png",
}


def result(**changes: Any) -> Result:
    rng = np.random.default_rng(0)
    mask = np.zeros((24, 40), np.uint8)
    mask[5:15, 5:20] = 2
    heat = rng.random((24, 40)).astype(np.float32)
    values: dict[str, Any] = {
        "prompt": PromptReport("left lung", ("left", "lung"), (), 4, ""),
        "seed": 3,
        "image": rng.integers(0, 256, (24, 40), dtype=np.uint8),
        "maps": {"left lung": heat},
        "probability": np.stack([1 - heat, heat]),
        "coarse": mask,
        "mask": mask,
        "record": {"prompt": "left lung – größer", "seed": 3},
    }
    return Result(**(values | changes))


def fail_after(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """The disk is full after `n` files."""
    write, count = Path.write_bytes, [0]

    def full(self: Path, data: bytes) -> int:
        count[0] += 1
        if count[0] > n:
            write(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)


def test_every_file_is_there(tmp_path: Path) -> None:
    write_result(result(), tmp_path / "000")
    assert {p.name for p in (tmp_path / "000").iterdir()} == EXPECTED
    assert [p.name for p in tmp_path.iterdir()] == ["000"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "000" / "mask.png")), result().mask)
    record = json.loads((tmp_path / "000" / "record.json").read_text(encoding="utf-8"))
    assert record == result().record


def test_same_result_same_bytes() -> None:
    assert result_files(result()) == result_files(result())


def test_words_that_differ_only_in_signs_do_not_overwrite_each_other() -> None:
    heats = {
        w: np.full((24, 40), v, np.float32)
        for w, v in (("left lung", 0.1), ("left-lung", 0.5), ("🫁", 0.2), ("肺", 0.9))
    }
    files = result_files(result(maps=heats))
    maps = [name for name in files if name.startswith("map_") and not name.endswith("_overlay.png")]
    assert len(maps) == 4 and len({files[name] for name in maps}) == 4


def test_an_earlier_result_is_replaced_whole(tmp_path: Path) -> None:
    write_result(result(), tmp_path / "000")
    write_result(result(maps={}), tmp_path / "000")
    names = {p.name for p in (tmp_path / "000").iterdir()}
    assert names == {n for n in EXPECTED if not n.startswith("map_")}


@pytest.mark.parametrize("n", [0, 1, 4])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    fail_after(monkeypatch, n)
    with pytest.raises(OutputError, match=r"No space left on device.*Free space"):
        write_result(result(), tmp_path / "000")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(result(), tmp_path / "000")
    fail_after(monkeypatch, 2)
    with pytest.raises(OutputError):
        write_result(result(maps={}), tmp_path / "000")
    assert {p.name for p in (tmp_path / "000").iterdir()} == EXPECTED


def test_what_an_interrupted_run_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".000.partial").mkdir()
    (tmp_path / ".000.partial" / "stale.png").write_bytes(b"x")
    write_result(result(), tmp_path / "000")
    assert {p.name for p in (tmp_path / "000").iterdir()} == EXPECTED
    assert [p.name for p in tmp_path.iterdir()] == ["000"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match=r"file.*Choose another --out"):
            check_writable(out)
        with pytest.raises(OutputError):
            write_result(result(), out / "000")
    (tmp_path / "000").write_text("keep me")
    with pytest.raises(OutputError, match="000"):
        write_result(result(), tmp_path / "000")
    assert (tmp_path / "000").read_text() == "keep me"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000", "file"]


def test_many_may_try_one_place_at_once(tmp_path: Path) -> None:
    def often(_: int) -> None:
        for _ in range(100):
            check_writable(tmp_path / "out")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(often, range(4)))


def test_a_writable_place_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.json", "{}")
    write_whole(tmp_path / "new" / "a.json", b"[1]")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.json"]
    assert (tmp_path / "new" / "a.json").read_text() == "[1]"
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "a.json", tmp_path / "new"):  # a file, a folder in the way
        with pytest.raises(OutputError, match=r"cannot be written .* another --out"):
            write_whole(place, "{}")
        with pytest.raises(OutputError, match=r"cannot be written .* another --out"):
            write_parquet([{"a": 1}], place)
    assert not list(tmp_path.glob("*.tmp"))
