"""`python -m lungsynth segment`, from films to folders."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import PATIENT, write_dicom
from PIL import Image
from tiny import film

Cli = Callable[..., Any]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Four films in a folder, two of one name, one of them DICOM."""
    folder = tmp_path / "films"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(film(0)[0]).save(folder / "a.png")
    Image.fromarray(film(1, height=140, width=60)[0]).save(folder / "b.jpg")
    Image.fromarray(film(2)[0].astype(np.uint16) * 200).save(folder / "more" / "a.png")
    write_dicom(folder / "IM1.dcm", film(3)[0], BurnedInAnnotation="YES")
    return folder


@pytest.fixture
def segment(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> Cli:
    def call(*args: object) -> Any:
        return run_cli(
            "segment",
            *args,
            "--model",
            checkpoint,
            "--out",
            tmp_path / "out",
            "--device",
            "cpu",
            "--batch-size",
            3,
        )

    return call


def stamps(out: Path) -> dict[str, int]:
    found = sorted(out.rglob("record.json"))
    return {p.parent.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in found}


def index(out: Path) -> dict[str, dict[str, Any]]:
    """Lines of the index by path; the CSV says the same."""
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    with (out / "index.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["path"] for row in table] == [line["path"] for line in lines]
    assert [row["status"] for row in table] == [line["status"] for line in lines]
    return {line["path"]: line for line in lines}


def test_films_become_folders(segment: Cli, films: Path, tmp_path: Path) -> None:
    ran = segment(films)
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    made = sorted(p.name for p in out.iterdir())
    assert made == ["IM1.dcm", "a.png", "b.jpg", "index.csv", "index.jsonl", "more"]
    made = ["IM1.dcm", "a.png", "b.jpg", "more/a.png"]
    assert sorted(ran.out.split()) == [str(out / name) for name in made]
    for name, row in index(out).items():  # what a table of films is sorted by
        record = json.loads((out / name / "record.json").read_text())
        assert (
            row["trust"] == record["trust"] and row["film_score"] == record["film_check"]["score"]
        )
    assert f"4 done, 0 skipped, 0 failed; masks in {out}" in ran.err
    assert "IM1.dcm: BurnedInAnnotation is YES" in ran.err
    for name in made:
        size = (60, 140) if name == "b.jpg" else (112, 96)
        assert sorted(p.name for p in (out / name).iterdir()) == [
            "mask.png",
            "overlay.png",
            "record.json",
        ]
        with Image.open(out / name / "mask.png") as mask:
            assert mask.size == size and mask.mode == "L"
            assert set(np.unique(np.asarray(mask))) <= {0, 1, 2}
            assert "XML:com.adobe.xmp" not in mask.info  # a real film is not marked synthetic
        record = json.loads((out / name / "record.json").read_text())
        assert record["synthetic"] is False and "Not for diagnosis" in record["notice"]
        assert "Synthetic" not in record["notice"]
        assert (record["width"], record["height"]) == size
        assert record["path"] == name and record["ending"] == Path(name).suffix
        assert 0 <= record["film_check"]["score"] <= 1
        assert record["seed"] == 0 and record["timesteps"] == [50, 300] and record["model_hash"]
        assert record["refine"]["method"] and set(record["scores"]) == {"left lung", "right lung"}
    assert "odd shape" not in ran.err


def test_nothing_of_the_patient_or_the_machine_is_written(
    segment: Cli, films: Path, tmp_path: Path
) -> None:
    ran = segment(films)
    content = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*.json"))
    content += (ran.out + ran.err).encode()
    for secret in (PATIENT, "Doe", "4711", "19500203"):
        assert secret.encode() not in content
    records = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*.json"))
    assert str(tmp_path).encode() not in records


def test_done_films_are_skipped_and_the_same_bytes_come_again(
    segment: Cli, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    segment(films)
    first, content = stamps(out), (out / "b.jpg" / "mask.png").read_bytes()
    ran = segment(films)
    assert ran.code == 0 and "0 done, 4 skipped, 0 failed" in ran.err and ran.out == ""
    assert stamps(out) == first

    (out / "b.jpg" / "overlay.png").unlink()  # not whole
    shutil.rmtree(out / "a.png")
    ran = segment(films)
    assert "2 done, 2 skipped" in ran.err and set(ran.out.split()) == {
        str(out / "a.png"),
        str(out / "b.jpg"),
    }
    assert (out / "b.jpg" / "mask.png").read_bytes() == content

    ran = segment(films, "--seed", 1)  # other settings: all again
    assert "4 done, 0 skipped" in ran.err
    ran = segment(films, "--seed", 1, "--probability")
    assert "4 done, 0 skipped" in ran.err
    assert (out / "b.jpg" / "probability_1_left-lung.png").is_file()
    ran = segment(films, "--seed", 1, "--overwrite")
    assert "4 done, 0 skipped" in ran.err


def test_the_films_own_output_is_not_segmented(run_cli: Cli, films: Path, checkpoint: Path) -> None:
    options = ("--model", checkpoint, "--out", films / "out", "--device", "cpu")
    assert "4 done" in run_cli("segment", films, *options).err
    assert "0 done, 4 skipped" in run_cli("segment", films, *options).err


def test_bad_films_do_not_stop_the_others(segment: Cli, films: Path, tmp_path: Path) -> None:
    (films / "film.webp").write_bytes(b"RIFF")
    (films / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.fromarray(film(0)[0][:20, :20]).save(films / "tiny.png")
    write_dicom(films / "cine.dcm", film(3)[0], NumberOfFrames=9)
    ran = segment(films, films / "gone.png")
    assert ran.code == 1
    assert "4 done, 0 skipped, 4 failed" in ran.err
    failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    for name, words in (
        ("broken.png", "not a picture"),
        ("tiny.png", "20x20"),
        ("cine.dcm", "9 frames"),
        ("gone.png", "no such file"),
    ):
        assert any(name in line and words in line for line in failed), name
    assert "Traceback" not in ran.err
    assert "1 left out (1 .webp (not read))" in ran.err
    rows = index(tmp_path / "out")
    assert len(rows) == 9 and str(tmp_path) not in (tmp_path / "out" / "index.jsonl").read_text()
    assert rows["film.webp"]["status"] == "left out" and ".webp" in rows["film.webp"]["reason"]
    assert rows["cine.dcm"]["status"] == "failed" and "9 frames" in rows["cine.dcm"]["reason"]
    assert rows["more/a.png"]["status"] == "done" and rows["more/a.png"]["folder"] == "more/a.png"
    assert len(stamps(tmp_path / "out")) == 4


def test_the_mask_of_another_film_is_kept(segment: Cli, films: Path, tmp_path: Path) -> None:
    segment(films / "a.png")
    before = (tmp_path / "out" / "a.png" / "record.json").read_bytes()
    ran = segment(films / "more" / "a.png")
    assert ran.code == 1 and "holds the mask of another film" in ran.err
    assert (tmp_path / "out" / "a.png" / "record.json").read_bytes() == before
    assert segment(films / "more" / "a.png", "--overwrite").code == 0
    assert (tmp_path / "out" / "a.png" / "record.json").read_bytes() != before


def test_a_folder_of_the_users_is_never_replaced(segment: Cli, films: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    (tmp_path / "out" / "a.png" / "thesis.txt").write_text("years of work")
    ran = segment(films / "a.png", "--overwrite")
    assert ran.code == 1 and "is not a folder of `segment`" in ran.err
    assert (tmp_path / "out" / "a.png" / "thesis.txt").read_text() == "years of work"


def test_a_checkpoint_that_gives_nan_fails_film_by_film(
    segment: Cli, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One film's maps are broken; the others of its batch are written."""
    from lungsynth import segment as module

    refine = module.run

    def broken(probability: Any, image: Any, *rest: Any) -> Any:
        if not image[:, 0].any():  # b.jpg: padded
            probability = probability * np.nan
        return refine(probability, image, *rest)

    monkeypatch.setattr(module, "run", broken)
    ran = segment(films)
    assert ran.code == 1 and "3 done, 0 skipped, 1 failed" in ran.err, ran.err
    assert "b.jpg" in ran.err and "NaN" in ran.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(
    run_cli: Cli, films: Path, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    ran = run_cli("segment", films, "--model", checkpoint, "--out", tmp_path / "out")
    assert ran.code == 1 and "cannot be written" in ran.err


def test_wrong_options_are_told_before_anything_is_read(
    segment: Cli, films: Path, tmp_path: Path
) -> None:
    assert "Refinement 'magic' is unknown" in segment(films, "--refine", "magic").err
    assert "has no such classes" in segment(films, "--classes", "moon").err
    ran = segment(tmp_path / "empty*")
    assert ran.code == 1 and "no film in it" in ran.err


def test_quiet_prints_folders_alone(segment: Cli, films: Path, tmp_path: Path) -> None:
    ran = segment(
        films / "a.png", "--quiet", "--refine", "none", "--noise", 2, "--prompt", "both lungs"
    )
    assert ran.code == 0 and ran.err == "" and ran.out == f"{tmp_path / 'out' / 'a.png'}\n"
    record = json.loads((tmp_path / "out" / "a.png" / "record.json").read_text())
    assert record["refine"]["method"] == "none" and record["n_noise"] == 2
    assert record["prompt"] == "both lungs"


def test_every_odd_film_is_in_the_index(segment: Cli, tmp_path: Path) -> None:
    from odd_films import LEFT_OUT, READ, write_odd_films

    expected = write_odd_films(tmp_path / "odd", film(0)[0])
    ran = segment(tmp_path / "odd", "--refine", "none")
    assert ran.code == 1 and "Traceback" not in ran.err
    rows = index(tmp_path / "out")
    assert len(expected) >= 60 and rows.keys() == {name for name, _, _ in expected}
    for name, fate, words in expected:
        row = rows[name]
        told = "; ".join([row["reason"], *row["warnings"]])
        assert row["status"] == {READ: "done", LEFT_OUT: "left out"}.get(fate, "failed"), row
        assert words in told and str(tmp_path) not in told, row
        assert (tmp_path / "out" / name / "mask.png").is_file() == (fate == READ), name
