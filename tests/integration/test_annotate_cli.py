"""`python -m lungsynth annotate`: the page, and the way back to masks."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import PATIENT, write_dicom
from labelme import to_labelme
from PIL import Image
from tiny import film

from lungsynth.about.sources import sources_of_data
from lungsynth.films.annotation import Annotation, Shape
from lungsynth.films.data import read_records

Cli = Callable[..., Any]
CLASSES = ("--class", "left lung=1", "--class", "right lung=2")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A picture of 112x96 (width x height) and a DICOM file of the same size."""
    folder = tmp_path / "films"
    folder.mkdir()
    Image.fromarray(film(0)[0]).save(folder / "a.png")
    write_dicom(folder / "IM1.dcm", film(3)[0].astype(np.uint16) * 16)
    return folder


def page_data(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found is not None
    return json.loads(found[1])


def annotation(path: Path, name: str, *shapes: Shape, height: int = 96, width: int = 112) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(to_labelme(Annotation(name, height, width, shapes))))
    return path


LEFT = Shape("left lung", ((60, 10), (100, 10), (100, 80), (60, 80)))
RIGHT = Shape("right lung", ((10, 10), (50, 10), (50, 80), (10, 80)))


# ---------------------------------------------------------------- the page


def test_the_page_holds_the_films_and_classes(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    ran = run_cli("annotate", films, "--out", out, "--class", "left </script> lung=3")
    assert ran.code == 0 and ran.out == f"{out / 'annotate.html'}\n", ran.err
    assert "annotate --import" in ran.err and "'left </script> lung=3'" in ran.err
    text = (out / "annotate.html").read_text(encoding="utf-8")
    assert "/*DATA*/" not in text and PATIENT not in text
    assert not re.search(r"https?://", text)  # it needs no network …
    assert "default-src 'none'" in text  # … and is not let near one
    data = page_data(out / "annotate.html")
    assert [(c["name"], c["id"]) for c in data["classes"]] == [("left </script> lung", 3)]
    assert [f["name"] for f in data["films"]] == ["IM1.dcm", "a.png"]
    assert [f["save_as"] for f in data["films"]] == ["IM1.json", "a.json"]
    shown = data["films"][1]
    with Image.open(io.BytesIO(base64.b64decode(shown["png"].partition(",")[2]))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), film(0)[0])
    assert (shown["height"], shown["width"], shown["shapes"]) == (96, 112, [])


def test_classes_are_the_checkpoints_unless_named(
    run_cli: Cli, films: Path, checkpoint: Path, sd_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "drawn"
    assert run_cli("annotate", films, "--out", out, "--model", checkpoint).code == 0
    named = page_data(out / "annotate.html")["classes"]
    assert [(c["name"], c["id"]) for c in named] == [("left lung", 1), ("right lung", 2)]
    ran = run_cli("annotate", films, "--out", out, "--model", sd_folder)
    assert ran.code == 1 and "no classes to offer; name them with --class" in ran.err


def test_a_large_film_is_shown_smaller_with_points_of_its_own(run_cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(np.tile(film(0)[0], (20, 20))).save(tmp_path / "big.png")
    assert run_cli("annotate", tmp_path / "big.png", "--out", tmp_path / "o", *CLASSES).code == 0
    shown = page_data(tmp_path / "o" / "annotate.html")["films"][0]
    assert (shown["height"], shown["width"]) == (1920, 2240)
    with Image.open(io.BytesIO(base64.b64decode(shown["png"].partition(",")[2]))) as picture:
        assert picture.size == (1600, 1371)


def test_the_page_goes_on_with_what_is_saved(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    annotation(out / "a.json", "a.png", LEFT)
    assert run_cli("annotate", films, "--out", out, *CLASSES).code == 0
    shapes = {f["name"]: f["shapes"] for f in page_data(out / "annotate.html")["films"]}
    assert shapes["IM1.dcm"] == [] and shapes["a.png"][0]["label"] == "left lung"
    assert shapes["a.png"][0]["points"] == [list(p) for p in LEFT.points]
    annotation(out / "a.json", "a.png", LEFT, width=500)
    ran = run_cli("annotate", films, "--out", out, *CLASSES)
    assert ran.code == 1 and "of 500x96 pixels" in ran.err


def test_two_films_of_one_name_need_two_pages(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(films / "a.png", tmp_path / "more")
    ran = run_cli("annotate", films, tmp_path / "more", "--out", tmp_path / "o", *CLASSES)
    assert ran.code == 1 and "Two films are named a.png" in ran.err


# ---------------------------------------------------------------- the import


def wanted_mask() -> np.ndarray:
    mask = np.zeros((96, 112), np.uint8)
    mask[10:80, 60:100], mask[10:80, 10:50] = 1, 2
    return mask


@pytest.mark.parametrize("out", ["masks.parquet", "masks"])
def test_annotations_become_a_source(run_cli: Cli, films: Path, tmp_path: Path, out: str) -> None:
    hole = Shape("background", ((70, 20), (80, 20), (80, 30), (70, 30)))
    files = [
        annotation(tmp_path / "drawn" / "a.json", "a.png", LEFT, RIGHT),
        annotation(tmp_path / "drawn" / "IM1.json", "IM1.dcm", LEFT, hole),
    ]
    for _ in range(2):  # a second import replaces the first
        ran = run_cli(
            "annotate", "--import", *files, "--images", films, "--out", tmp_path / out, *CLASSES
        )
        assert ran.code == 0 and ran.out == f"{tmp_path / out}\n", ran.err
    assert "a: left lung 26.0%, right lung 26.0% of the film" in ran.err
    assert "--class 'right lung' --id 2 --foreground 2 --ignore 255 --k 2" in ran.err
    parquet = out.endswith(".parquet")
    assert ("--split ''" in ran.err) is not parquet
    records = list(
        read_records(
            str(tmp_path / out),
            mask_column="mask",
            text_column=None,
            split="train" if parquet else None,
        )
    )
    read = {r.fields["id"]: r for r in records}
    assert sorted(read) == ["IM1", "a"]
    np.testing.assert_array_equal(read["a"].image, film(0)[0])
    np.testing.assert_array_equal(read["a"].mask, wanted_mask())
    mask = read["IM1"].mask
    assert mask is not None and (mask[20:30, 70:80] == 0).all() and (mask == 1).sum() == 2700
    overlays = tmp_path / ("masks-overlays" if parquet else "masks/overlays")
    assert sorted(p.name for p in overlays.iterdir()) == ["IM1.png", "a.png"]
    with Image.open(overlays / "a.png") as picture:
        assert picture.mode == "RGB" and np.ptp(np.asarray(picture)[40, 30].astype(int)) > 20


def test_learn_token_learns_from_the_import(
    run_cli: Cli, films: Path, checkpoint: Path, tmp_path: Path, quick_tokens: None
) -> None:
    """The command that is printed is run as it stands, on a copy of a checkpoint."""
    import shlex

    shutil.copytree(checkpoint, tmp_path / "copy")
    drawn = annotation(tmp_path / "drawn" / "a.json", "a.png", LEFT, RIGHT)
    for out in ("m.parquet", "folder"):
        ran = run_cli(
            "annotate", "--import", drawn, "--images", films, "--out", tmp_path / out, *CLASSES
        )
        line = next(one for one in ran.err.splitlines() if "learn-token" in one)
        words = shlex.split(line.replace("CHECKPOINT", str(tmp_path / "copy")))[3:]
        ran = run_cli(*words, "--quiet")
        assert ran.code == 0, ran.err
        assert "left-lung" in ran.out


def test_coco_is_read_beside_its_films(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    points = [v for point in RIGHT.points for v in point]
    value = {
        "images": [{"id": 1, "file_name": "a.png", "height": 96, "width": 112}],
        "categories": [{"id": 9, "name": "right lung"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 9, "segmentation": [points]}],
    }
    (films / "coco.json").write_text(json.dumps(value))
    ran = run_cli("annotate", "--import", films / "coco.json", "--out", tmp_path / "m", *CLASSES)
    assert ran.code == 0, ran.err
    with Image.open(tmp_path / "m" / "masks" / "a.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), wanted_mask() * (wanted_mask() == 2))


def test_everything_wrong_is_told_at_once_and_nothing_is_written(
    run_cli: Cli, films: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn"
    far = Shape("left lung", ((0, 0), (500, 0), (500, 5)))
    wrong = {
        "label.json": ("a.png", [Shape("heart", LEFT.points)], {}, "no class has this label"),
        "size.json": ("IM1.dcm", [LEFT], {"width": 224}, "drawn on a film of 224x96"),
        "gone.json": ("gone.png", [LEFT], {}, "its film gone.png is not in"),
        "twice.json": ("a.png", [LEFT], {}, "a.png is annotated twice"),
    }
    for name, (image, shapes, size, _) in wrong.items():
        annotation(drawn / name, image, *shapes, **size)
    out = tmp_path / "m.parquet"
    ran = run_cli(
        "annotate",
        "--import",
        *(drawn / n for n in wrong),
        "--images",
        films,
        "--out",
        out,
        *CLASSES,
    )
    assert ran.code == 1 and "Nothing was imported" in ran.err
    for name, (_, _, _, words) in wrong.items():
        assert any(name in line and words in line for line in ran.err.splitlines()), (name, ran.err)
    assert not out.exists() and not (tmp_path / "m-overlays").exists()
    for shapes, words in (([far], "lies outside"), ([], "has no outline")):
        annotation(drawn / "one.json", "a.png", *shapes)
        ran = run_cli("annotate", "--import", drawn / "one.json", "--images", films, *CLASSES)
        assert ran.code == 1 and words in ran.err


def test_other_files_in_the_output_folder_are_kept(
    run_cli: Cli, films: Path, tmp_path: Path
) -> None:
    (tmp_path / "m" / "images").mkdir(parents=True)
    (tmp_path / "m" / "images" / "mine.png").write_bytes(b"dear")
    drawn = annotation(tmp_path / "drawn" / "a.json", "a.png", LEFT)
    ran = run_cli(
        "annotate", "--import", drawn, "--images", films, "--out", tmp_path / "m", *CLASSES
    )
    assert ran.code == 1 and "holds other files (mine.png)" in ran.err
    assert (tmp_path / "m" / "images" / "mine.png").read_bytes() == b"dear"
    # films that lie where the import writes are not read from there, so never replaced
    (tmp_path / "n" / "images").mkdir(parents=True)
    shutil.copy(films / "a.png", tmp_path / "n" / "images")
    ran = run_cli(
        "annotate", "--import", drawn, "--images", tmp_path / "n", "--out", tmp_path / "n", *CLASSES
    )
    assert ran.code == 1 and "a.png is not in" in ran.err
    assert (tmp_path / "n" / "images" / "a.png").read_bytes() == (films / "a.png").read_bytes()


def test_what_the_films_and_outlines_are_is_kept_for_the_sources(
    run_cli: Cli, films: Path, tmp_path: Path
) -> None:
    drawn = annotation(tmp_path / "drawn" / "a.json", "a.png", LEFT, RIGHT)
    out = tmp_path / "masks.parquet"
    told = ("--source-set", "ours", "--image-licence", "no restrictions", "--mask-licence", "CC0")
    given = ("--import", drawn, "--images", films, "--out", out, *CLASSES, *told)
    ran = run_cli("annotate", *given)
    assert ran.code == 0, ran.err
    (masks,) = sources_of_data(str(out), used_for="masks")
    assert (masks.name, masks.licence, masks.n) == ("ours", "cc0-1.0", 1)
    (images,) = sources_of_data(str(out))
    assert (images.name, images.terms) == ("ours", "no restrictions")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("a.png", "--source-set", "ours"), "--source-set is a column of a Parquet file"),
        (("--import", "a.json", "--mask-licence", "CC0"), "--mask-licence is a column"),
        (("a.json",), "add --import to read it"),
        (("a.png", "--images", "films"), "--images goes with --import"),
        (("a.png", "--out", "x.parquet"), "a Parquet file is made by --import"),
        (("a.png", "--class", "lung"), "expected NAME=ID"),
        (("--import", "gone.json"), "cannot be read"),
    ],
)
def test_options_that_do_not_go_together(
    run_cli: Cli, args: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_cli("annotate", *args)
    assert ran.code == 1 and words in ran.err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- in a browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_film_is_outlined_in_a_browser(run_cli: Cli, films: Path, tmp_path: Path) -> None:
    """Draw, close both ways, undo, move a corner, save; the import then has the same polygons."""
    playwright = pytest.importorskip("playwright.sync_api")
    out = tmp_path / "drawn"
    run_cli("annotate", films / "a.png", "--out", out, *CLASSES)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        problems: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        page.goto((out / "annotate.html").as_uri())

        def place(x: float, y: float) -> list[float]:
            return page.evaluate("([x, y]) => toScreen([x, y])", [x, y])

        def click(*point: float, **options: Any) -> None:
            x, y = place(*point)
            page.locator("#stage").click(position={"x": x, "y": y}, **options)

        page.keyboard.press("2")
        for point in RIGHT.points:
            click(*point)
        page.keyboard.press("Enter")
        page.keyboard.press("1")
        for point in LEFT.points:
            click(*point)
        page.keyboard.press("Control+z")
        click(*LEFT.points[-1])
        click(*LEFT.points[0])  # on the first corner: closes
        start, end = place(*LEFT.points[2]), place(90, 70)
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=4)
        page.mouse.up()
        page.keyboard.press("ArrowRight")
        assert "2 outlines, not saved" in page.locator("#state").inner_text()
        with page.expect_download() as saving:
            page.keyboard.press("s")
        saving.value.save_as(out / saving.value.suggested_filename)
        assert "2 outlines, saved." in page.locator("#state").inner_text()
        page.reload()
        assert page.locator("#shapes li").count() == 2  # kept by the browser
        browser.close()
    assert problems == [] and set(asked) <= {"file", "data", "blob"}
    value = json.loads((out / "a.json").read_text())
    assert [shape["label"] for shape in value["shapes"]] == ["right lung", "left lung"]
    moved = [*LEFT.points[:2], (91, 70), LEFT.points[3]]
    for shape, points in zip(value["shapes"], (RIGHT.points, moved), strict=True):
        np.testing.assert_allclose(shape["points"], points, atol=0.3)
    ran = run_cli(
        "annotate",
        "--import",
        out / "a.json",
        "--images",
        films,
        "--out",
        tmp_path / "m.parquet",
        *CLASSES,
    )
    assert ran.code == 0, ran.err
