"""Figures in pages that people write: small copies of results, and blocks made from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from test_report import REPORTS, STAGE, told, write

from lungsynth.errors import DataError
from lungsynth.evaluation.reports import command_line
from lungsynth.report.blocks import fill
from lungsynth.report.files import (
    LONGEST,
    compact,
    found_below,
    keep,
    read_result,
    read_results,
    small,
)
from lungsynth.report.masks import masks_text, masks_together
from lungsynth.report.page import gather

DOCS = Path(__file__).parents[2] / "docs"
PAGE = """# Ours

Words *before*.

<!-- figures: masks-a masks-b -->
| 0.999 | by hand |
<!-- end figures -->
between
<!-- figures: targets memorisation -->
<!-- end figures -->

```
<!-- figures: nothing -->
```
after, no newline"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for place, name in (
        ("a", "masks"),
        ("b", "masks"),
        (".", "memorisation"),
        (".", "reconstruction"),
    ):
        write(tmp_path / "runs" / place, f"{name}.json", REPORTS[f"{name}.json"])
    keep(tmp_path / "runs", tmp_path / "docs" / "results")
    return tmp_path / "docs" / "results"


def test_the_committed_page_is_what_the_command_gives() -> None:
    """Whoever changes a figure, or a result, runs `report docs/results --into docs/RESULTS.md`."""
    page = DOCS / "RESULTS.md"
    text = page.read_text(encoding="utf-8")
    made, plots, shown = fill(text, read_results(DOCS / "results"), page)
    assert made == text, "run python -m lungsynth report docs/results --into docs/RESULTS.md"
    assert shown, "no block shows a result"
    for result in plots:
        assert (DOCS / "images" / f"{result.name}.png").is_file()
    changed = re.sub(r"0\.\d\d\d \[0\.", "0.999 [0.", text, count=1)
    assert changed != text and fill(changed, read_results(DOCS / "results"), page)[0] == text


def test_committed_results_are_small_and_name_no_film() -> None:
    for path in (DOCS / "results").glob("*.json"):
        assert path.stat().st_size < 64_000, path
        text = path.read_text(encoding="utf-8")
        assert text == compact(small(json.loads(text))) + "\n", f"{path}: write it with --keep"


def test_blocks_are_made_and_everything_else_is_kept(kept: Path, run_cli: Any) -> None:
    page = kept.parent / "PAGE.md"
    page.write_text(PAGE, encoding="utf-8")
    ran = run_cli("report", kept, "--into", page)
    assert ran.code == 0 and ran.out.strip() == f"{page}: rewritten", ran.err
    assert "no block shows reconstruction" in ran.err and "wall time" in ran.err
    text = page.read_text(encoding="utf-8")
    assert "by hand" not in text and "0.999" not in text
    hollow = re.compile(r"(<!-- figures: \w.*?-->).*?(<!-- end figures -->)", re.DOTALL)
    assert hollow.sub(r"\1\2", text) == hollow.sub(r"\1\2", PAGE)
    assert "| rival: otsu | 0.810 [0.800, 0.830] | 0.810 [0.800, 0.830] |" in text  # side by side
    assert "| copies of training films | 0 | 0 of 5 | reached |" in text
    assert "- [masks-a](results/masks-a.json): n = 9 films of 7 patients" in text
    assert "further options, if any, are not in the file" in text
    again = run_cli("report", kept, "--into", page)
    assert again.out.strip() == f"{page}: unchanged" and page.read_text(encoding="utf-8") == text


def test_masks_of_several_sets_stand_side_by_side() -> None:
    def stage(iou: float, gap: float | None, *, rival: bool = False) -> dict[str, Any]:
        minus = {} if gap is None else {"iou minus crf": told(gap)}
        return {"rival": rival, "regions": {"all": {**STAGE, "iou": told(iou), **minus}}}

    one = {
        **REPORTS["masks.json"],
        "main": "crf",
        "first_refinement": "crf",
        "auroc": {"raw": told(0.97)},
        "trust": {
            "score": "trust",
            "crf": {
                "n": 9,
                "best_share": 0.3,
                "spearman": told(0.43),
                "best_minus_all": told(0.02),
            },
        },
        "stages": {
            "sequential": stage(0.7, -0.2),
            "crf": stage(0.9, None),
            "raw: otsu": stage(0.6, -0.3),
            "otsu": stage(0.5, -0.4, rival=True),
        },
    }
    other = {
        **one,
        "refine": {"student_weight": 0},
        "convention": ["nlm: x"],
        "trust": {},
        "auroc": {},
    }
    other["stages"] = {k: v for k, v in one["stages"].items() if k != "otsu"}
    lines = masks_together({"a": one, "b": other}).splitlines()
    assert lines[0] == (
        "| IoU; minus that of crf | films, V7, n = 9 | films, NLM, tokens alone, n = 9 |"
    )
    names = [line.split(" | ")[0].strip("| ") for line in lines[2:]]
    assert names == [
        "tokens alone: otsu",
        "**crf**",
        "sequential",
        "rival: otsu",
        "area under ROC of the tokens' map",
        "left and right swapped",
        "trust: Spearman with IoU",
        "trust: IoU of the best 30 % minus all",
    ]
    assert "| **0.900 [0.890, 0.920]**, Dice 0.893, HD95 4.5 % |" in lines[3]
    assert "| 0.700 [0.690, 0.720]; −0.200 [−0.210, −0.180] |" in lines[4]
    assert lines[5] == "| rival: otsu | 0.500 [0.490, 0.520]; −0.400 [−0.410, −0.380] |  |"
    assert lines[-2] == "| trust: Spearman with IoU | 0.43 [0.42, 0.45] |  |"
    assert "| **crf** | 0.900 [0.890, 0.920] | 0.893" in masks_text(one)
    assert "Trust: Spearman with IoU 0.43 [0.42, 0.45]" in masks_text(one)


def test_a_plot_is_drawn_beside_the_page(kept: Path, run_cli: Any) -> None:
    page = kept.parent / "PAGE.md"
    page.write_text("<!-- figures: plot memorisation -->\n<!-- end figures -->\n")
    assert run_cli("report", kept, "--into", page).code == 0
    assert "![Memorisation](images/memorisation.png)" in page.read_text()
    assert (kept.parent / "images" / "memorisation.png").read_bytes().startswith(b"\x89PNG")
    page.write_text("<!-- figures: plot reconstruction -->\n<!-- end figures -->\n")
    ran = run_cli("report", kept, "--into", page)
    assert ran.code == 1 and "reconstruction has no plot" in ran.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# No block\n",
            r"no block to fill. Add two lines .*<!-- figures: masks-a -->.*end figures",
        ),
        (
            "<!-- figures: masks-a -->\nnever closed\n",
            r":1: the block has no `<!-- end figures -->`",
        ),
        ("a\n<!-- end figures -->\n", r":2: .* without its beginning"),
        (
            "<!-- figures: masks-a -->\n<!-- figures: masks-b -->\n<!-- end figures -->\n",
            r":2: .* line 1",
        ),
        (
            "<!-- figures: masks-c -->\n<!-- end figures -->\n",
            r"masks-c names no result; there are masks-a, ",
        ),
        ("<!-- figures: targets -->\n<!-- end figures -->\n", r"the block names no result"),
    ],
)
def test_pages_that_cannot_be_filled_say_what_to_add(
    kept: Path, text: str, message: str, run_cli: Any
) -> None:
    page = kept.parent / "PAGE.md"
    page.write_text(text)
    ran = run_cli("report", kept, "--into", page)
    assert ran.code == 1 and re.search(message, ran.err) and str(page) in ran.err
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "notes.json",
            "{}",
            r"notes\.json: unknown result. Expected a name that begins with downstream",
        ),
        ("masks-c.json", "{", r"masks-c\.json: broken JSON"),
        ("masks-c.json", "[]", r"masks-c\.json: not a result of this version of `masks`"),
        (
            "fidelity.json",
            '{"groups": {"all": {"n": 3, "frechet": {}}}}',
            r"fidelity\.json: not a result",
        ),
    ],
)
def test_a_kept_file_that_is_no_result_is_named(
    kept: Path, name: str, content: str, message: str
) -> None:
    (kept / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(kept)


def test_nothing_to_fill_from_is_told(tmp_path: Path, run_cli: Any) -> None:
    with pytest.raises(DataError, match=r"no such folder\. Make it with .* --keep"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no result here\. Put some"):
        read_results(tmp_path)
    with pytest.raises(DataError, match=r"no result here\. Expected downstream\.json"):
        keep(tmp_path, tmp_path / "kept")
    ran = run_cli("report", tmp_path, "--into", tmp_path / "a.md", "--keep", tmp_path)
    assert ran.code == 2 and "one of --out, --keep, --into and --checkpoint" in ran.err


def test_small_copies_tell_the_same_and_name_nobody(tmp_path: Path) -> None:
    full = {
        **REPORTS["memorisation.json"],
        "copies": [f"{k}.png" for k in range(3)],
        "duplicates": [{"pictures": ["a.png", "b.png"], "score": 0.9}] * (LONGEST + 1),
        "pictures": [{"picture": "a.png", "film": "patient-7", "ssim": {"distance": 0.1}}],
        "false_alarms": {**REPORTS["memorisation.json"]["false_alarms"], "films": ["patient-8"]},
        "rival_facts": {"shot films": ["patient-9"]},
        "rate": 1 / 3,
        "passed": False,
    }
    write(tmp_path / "runs", "memorisation.json", full)
    assert [p.name for p in keep(tmp_path / "runs", tmp_path / "kept")] == ["memorisation.json"]
    text = (tmp_path / "kept" / "memorisation.json").read_text()
    kept = json.loads(text)
    assert "patient" not in text and kept["rate"] == 0.333333
    assert kept["duplicates"] == LONGEST + 1 and kept["pictures"] == 1
    assert kept["false_alarms"]["films"] == 1 and kept["copies"] == full["copies"]
    ours = read_result(tmp_path / "kept" / "memorisation.json", "memorisation", "memorisation")
    assert ours.kind.text(kept) == ours.kind.text(full)
    assert "3 copies of training films among 5 pictures, 61 duplicate pairs" in ours.kind.text(kept)


def test_names_come_from_folders_and_must_differ(tmp_path: Path) -> None:
    masks = REPORTS["masks.json"]
    for place in ("shenzhen NLM", "masks/cells", ".hidden", "one/masks"):
        write(tmp_path / place, "masks.json", masks)
    write(tmp_path, "masks-kermany.json", masks)
    write(tmp_path, "options.json", {"kind": "masks"})
    names = [name for _, name, _ in found_below(tmp_path)]
    assert sorted(names) == ["masks-kermany", "masks-one", "masks-shenzhen-nlm"]
    write(tmp_path / "kermany", "masks.json", masks)
    with pytest.raises(DataError, match=r"would be kept as masks-kermany\.json, and so would"):
        keep(tmp_path, tmp_path / "kept")


def test_what_a_publisher_keeps_of_a_result_is_told_too(tmp_path: Path) -> None:
    """`evaluation/memorisation.json` of a dataset may be of `evaluate neighbours`."""
    write(tmp_path / "evaluation", "memorisation.json", REPORTS["neighbours.json"])
    sections, left_out = gather(tmp_path)
    assert not left_out and sections[0].result.title == "Nearest training films"


def test_results_hold_their_command_without_places_on_this_machine(
    tmp_path: Path, run_cli: Any
) -> None:
    from evaluation_films import write_films

    films = write_films(tmp_path / "films.parquet")
    drawn = write_films(tmp_path / "a set.parquet", 20)
    ran = run_cli(
        "evaluate",
        "neighbours",
        "--data",
        films,
        "--synthetic",
        drawn,
        "--out",
        tmp_path / "out",
        "--limit",
        16,
        "--quiet",
    )
    assert ran.code == 0, ran.err
    report = json.loads((tmp_path / "out" / "neighbours.json").read_text())
    assert report["command"] == (
        "python -m lungsynth evaluate neighbours --data films.parquet --synthetic 'a set.parquet' "
        "--limit 16"
    )
    section = gather(tmp_path / "out")[0][0].result
    assert section.command == report["command"] and section.command_is_whole


def test_a_command_calls_the_folder_one_is_in_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = click.Option(["--synthetic"], type=click.Path(path_type=Path))
    told = click.Command("obedience", params=[given], callback=lambda synthetic: command_line())
    with told.make_context(
        "obedience", ["--synthetic", "."], parent=click.Context(told)
    ) as context:
        assert told.invoke(context).endswith(f"obedience --synthetic {tmp_path.name}")
