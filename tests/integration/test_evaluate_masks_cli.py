"""`evaluate masks` from the command line, on sources of every kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import film, png

from lungsynth.masks.registry import REFINEMENTS, needs_affinity

Cli = Callable[..., Any]


def masks(run_cli: Cli, source: Path, checkpoint: Path, *more: object) -> Any:
    return run_cli("evaluate", "masks", "--data", source, "--model", checkpoint, "--quiet", *more)


def test_everything_is_written(
    run_cli: Cli, checkpoint: Path, parquet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = masks(
        run_cli,
        parquet,
        checkpoint,
        "--out",
        out,
        "--rivals",
        "mean-mask,ellipses,daam,self4",
        "--word",
        "chest",
        "--convention",
        "V7",
        "--limit",
        3,
        "--n-noise",
        2,
    )
    assert ran.code == 0, ran.err
    assert "rival: mean training mask" in ran.out
    assert "n = 3 films of 3 patients" in ran.out
    report = json.loads((out / "masks.json").read_text())
    assert report["convention"] == ["v7"] and report["n_noise"] == 2
    assert report["rival_facts"] == {"mean mask films": 11, "word": "chest"}
    assert set(report["skipped"]) == {*filter(needs_affinity, REFINEMENTS)}
    assert str(tmp_path) not in json.dumps(report)  # reports travel
    rows = list(csv.DictReader((out / "masks.csv").read_text().splitlines()))
    assert {r["film"] for r in rows} <= {f"film-{i}" for i in (3, 7, 11, 15)}
    shown = report["stages"]["mean training mask"]["regions"]["all"]["iou"]["value"]
    alone = [float(r["iou"]) for r in rows if r["stage"] == "mean training mask"]
    assert np.mean(alone) == pytest.approx(shown, abs=1e-5)
    with Image.open(out / "sheet.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 50
    again = masks(
        run_cli,
        parquet,
        checkpoint,
        "--rivals",
        "mean-mask,ellipses,daam,self4",
        "--word",
        "chest",
        "--convention",
        "V7",
        "--limit",
        3,
        "--n-noise",
        2,
    )
    assert again.out == ran.out


def test_rivals_that_learn_nothing_need_no_other_split(
    run_cli: Cli, checkpoint: Path, parquet: Path
) -> None:
    told = ("--split", "train", "--methods", "none", "--limit", 2, "--convention", "v7")
    assert masks(run_cli, parquet, checkpoint, *told, "--rivals", "ellipses").code == 0
    ran = masks(run_cli, parquet, checkpoint, *told, "--rivals", "mean-mask")
    assert ran.code == 1 and "name another" in ran.err


def write_folder(folder: Path, *, listed: bool) -> Path:
    """Three films and their masks: 1 = left lung, 2 = right lung, 255 = ignored."""
    (folder / "masks").mkdir(parents=True)
    rows = ["file_name,mask,text"]
    for i in range(3):
        image, mask = film(i)
        sides = np.where(
            mask > 0, np.where(np.indices(mask.shape)[1] < mask.shape[1] // 2, 2, 1), 0
        )
        sides[:4] = 255
        (folder / f"f{i}.png").write_bytes(png(image))
        (folder / "masks" / f"f{i}.png").write_bytes(png(sides.astype(np.uint8)))
        rows.append(f"f{i}.png,masks/f{i}.png,Frontal chest film.")
    if listed:
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
        (folder / "masks").rename(folder.with_name("elsewhere"))
        (folder / "masks").mkdir()
        for path in folder.with_name("elsewhere").iterdir():
            (folder / "masks" / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    "listed", [False, True], ids=["masks of the same names", "named in metadata"]
)
def test_image_folders(run_cli: Cli, checkpoint: Path, tmp_path: Path, listed: bool) -> None:
    folder = write_folder(tmp_path / "films", listed=listed)
    more = ("--text-column", "text") if listed else ()
    ran = masks(
        run_cli,
        folder,
        checkpoint,
        "--split",
        "",
        "--class-ids",
        "1=left lung,2=right lung",
        "--ignore",
        255,
        "--rivals",
        "ellipses",
        "--methods",
        "none",
        *more,
    )
    assert ran.code == 0, ran.err
    assert "left lung:" in ran.out and "right lung:" in ran.out
    assert "n = 3 films" in ran.out


def test_default_rivals_without_a_train_split_say_so(
    run_cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "films", listed=False)
    ran = masks(
        run_cli,
        folder,
        checkpoint,
        "--split",
        "",
        "--foreground",
        1,
        "--foreground",
        2,
        "--ignore",
        255,
        "--methods",
        "none",
    )
    assert ran.code == 0, ran.err
    assert (
        "left out: mean training mask – The rival 'mean-mask' learns from annotated films"
        in ran.out
    )
    assert "rival: Otsu on the inverted film" in ran.out
    named = masks(
        run_cli,
        folder,
        checkpoint,
        "--split",
        "",
        "--rivals",
        "mean-mask",
        "--ignore",
        255,
        "--foreground",
        1,
    )
    assert named.code == 1 and "--rival-split" in named.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--methods", "magic"), "'magic' is unknown"),
        (("--rivals", "magic"), "Rival 'magic' is unknown"),
        (("--class-ids", "1=heart"), "no class 'heart'; it has left lung, right lung"),
        (("--count", "heart"), "no class 'heart'"),
        (("--ignore", "255"), "both counted and ignored"),
        (("--rival-split", "test"), "is the split that is measured"),
        (("--foreground", "77", "--rivals", "none"), "No pixel of value 77"),
        (
            ("--convention", "nlm", "--rivals", "none"),
            "no mask of the convention 'nlm'; there is 'v7'",
        ),
        (("--split", "night", "--rivals", "none"), "no usable row (split=night"),
        (("--mask-column", "lungs"), "No mask column 'lungs'"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    run_cli: Cli, checkpoint: Path, parquet: Path, options: tuple[str, ...], words: str
) -> None:
    ran = masks(run_cli, parquet, checkpoint, *options)
    assert ran.code == 1
    assert words in ran.err and "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1
