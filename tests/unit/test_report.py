"""One page of every figure: nothing is lost, nothing is invented, nothing from a file is markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lungsynth.errors import DataError, OutputError
from lungsynth.evaluation.tables import markdown
from lungsynth.report.page import gather, to_html, write_page
from lungsynth.report.words import span, verdict


def told(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.02}


MEASURES = {
    "encoder": {
        "synthetic": {"median": 2.5, "min": 1.1, "q25": 2.2, "q75": 2.9},
        "real_test": {"median": 2.0, "min": 1.0},
        "below_percentile_of_test": {"0.1": {"share": told(0.02)}},
    }
}
STAGE = {
    "iou": told(0.81),
    "dice": told(0.893),
    "hd95_percent": told(4.5),
    "mean_distance_percent": told(1.25),
}
PRESET = {"steps": 40, "batch": 8, "pixels": 64}
ARM = {
    "model": "unet",
    "arm": "real",
    "n_real": 5,
    "synthetic": "",
    "filter": "none",
    "augmentation": "standard",
    "test": "elsewhere",
    "n_films": 67,
}
COUNT = {**told(0.5), "count": 4, "n": 8}
REPORTS: dict[str, Any] = {
    "masks.json": {
        "n": 9,
        "n_patients": 7,
        "convention": ["v7: with heart"],
        "swapped": 1,
        "source": "films.parquet",
        "split": "test",
        "seed": 3,
        "stages": {
            "cross": {"rival": False, "regions": {"all": STAGE}},
            "otsu": {"rival": True, "regions": {"all": STAGE}},
        },
    },
    "fidelity.json": {
        "groups": {
            "adults": {
                "n": 30,
                **{
                    k: {"synthetic": told(12.97), f: told(6.76)}
                    for k, f in (("frechet", "floor"), ("kernel", "floor"), ("ms_ssim", "real"))
                },
            }
        }
    },
    "obedience.json": {
        "seed": 0,
        "tasks": {
            "age_group": {
                "synthetic": {
                    "n": 20,
                    "balanced_accuracy": told(0.91),
                    "classes": ["adult", "child"],
                    "confusion": [[9, 1], [2, 8]],
                },
                "real": {"balanced_accuracy": told(0.95)},
                "balanced_accuracy_points": told(-4.0),
            }
        },
    },
    "sides.json": {
        "n_pairs": 8,
        "n_measured": 7,
        "n_differ": 6,
        "verdict": "chance",
        "seed": 3,
        "difference": {"swap": 1.5, "finding": 4.25, "other_seed": 30.0},
        "swap": {**told(0.571), "n": 7},
        "findings": {"tuberculosis": {**told(0.6), "n": 5}},
        "opacity": {"n": 14, "share": told(0.52)},
    },
    "neighbours.json": {
        "n": {"synthetic": 5, "train": 40, "test": 12},
        "seed": 0,
        "measures": MEASURES,
    },
    "memorisation.json": {
        "passed": True,
        "copies": [],
        "duplicates": [],
        "n": {"synthetic": 5, "train": 40},
        "threshold": 0.857,
        "caught": {**COUNT, "kinds": {"flipped": COUNT}},
        "false_alarms": COUNT,
        "seed": 0,
        "histogram": {"synthetic": [1, 2, 0], "planted": [0, 0, 3]},
        "measures": MEASURES,
        "sources": ["a.parquet", "b.parquet"],
        "synthetic": "drawn",
    },
    "downstream.json": {
        "arms": [
            {**ARM, **STAGE},
            {**ARM, "arm": "synthetic", "n_real": 0, "synthetic": "set", **STAGE},
        ],
        "comparisons": [
            {
                "test": "elsewhere",
                "kind": "difference",
                "dice": told(0.07),
                "seeds": 2,
                "of": {**ARM, "arm": "synthetic+real", "synthetic": "set", "n_real": 1},
                "with": {**ARM, "n_real": 1},
            },
            {
                "test": "elsewhere",
                "kind": "ratio",
                "dice": told(0.98),
                "seeds": 2,
                "of": {**ARM, "arm": "synthetic", "synthetic": "set", "n_real": 0},
                "with": {**ARM, "n_real": 67},
            },
        ],
        "preset": PRESET,
        "real": {"n": 67},
        "seeds": 2,
        "synthetic": [{"name": "set", "n": 12}],
        "tests": [{"name": "elsewhere", "n": 67}],
        "seconds": 3000.0,
        "conventions": ["v7"],
        "notes": [],
    },
    "reconstruction.json": {
        "n": 225,
        "psnr": 36.34,
        "pca_psnr": 34.79,
        "gain": 1.55,
        "gain_low": 1.45,
        "gain_high": 1.66,
        "worst": 29.71,
        "command": "python -m lungsynth evaluate reconstruction --data a.parquet",
    },
}
UNPLOTTED = {"reconstruction.json"}


def write(folder: Path, name: str, report: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(report))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, report in REPORTS.items():
        write(tmp_path / "runs" / name.removesuffix(".json"), name, report)
    return tmp_path / "runs"


def test_every_kind_has_its_section_figures_command_and_plot(folder: Path) -> None:
    sections, left_out = gather(folder)
    assert left_out == [] and {Path(s.place).name for s in sections} == set(REPORTS)
    by_name = {Path(s.place).name: s for s in sections}
    for name, words in {
        "masks.json": "| rival: otsu | 0.810 [0.800, 0.830] | 0.893 [0.883, 0.913] |",
        "fidelity.json": "| adults | 30 | Fréchet distance | 12.970 [12.960, 12.990] | 6.760 [6.75",
        "obedience.json": "| age group | 20 | 91.0 [90.0, 93.0] | 95.0 [94.0, 97.0] | −4.0",
        "sides.json": "| swap, tuberculosis | 5 | 60.0 [59.0, 62.0] |",
        "neighbours.json": "| encoder | 2.5 | 2 | 1.1 | 1 | 2.00 [1.00, 4.00] |",
        "memorisation.json": "Gate passed: 0 copies of training films among 5 pictures",
        "downstream.json": "| synthetic | 0 | 0.893 [0.883, 0.913] |",
        "reconstruction.json": "| 225 | 36.34 | 34.79 | 1.55 [1.45, 1.66] | 29.71 |",
    }.items():
        assert words in by_name[name].result.text, name
        command = f"python -m lungsynth evaluate {name.removesuffix('.json')}"
        assert by_name[name].result.command.startswith(command), name
    whole = {name for name, s in by_name.items() if s.result.command_is_whole}
    assert whole == {"reconstruction.json"}  # the others may have had options
    for name, words in {
        "masks.json": "n = 9 films of 7 patients, v7: with heart; seed 3,",
        "downstream.json": "set 12; tests: elsewhere 67 films; 2 seed(s); brackets: bootstrap over",
        "memorisation.json": "5 pictures; 40 training films; seed 0; brackets: exact binomial",
        "sides.json": "8 pairs of prompts, one seed each from 3 on, 7 with both lungs; brackets:",
    }.items():
        assert words in by_name[name].result.how, name
    assert "50 minutes" in by_name["downstream.json"].result.how
    assert set(by_name) - {name for name, s in by_name.items() if s.plot is not None} == UNPLOTTED
    assert all(s.plot.startswith(b"\x89PNG") for s in sections if s.plot is not None)


def test_the_page_needs_no_other_file_and_the_markdown_has_its_plots(
    folder: Path, run_cli: Any
) -> None:
    ran = run_cli("report", folder)
    assert re.search(rf"^{len(REPORTS)} result\(s\), wall time \d+\.\d s$", ran.err, re.MULTILINE)
    assert ran.code == 0 and ran.out.strip().endswith("report.html"), ran.err
    page = (folder / "report.html").read_text()
    n_plots = len(REPORTS) - len(UNPLOTTED)
    assert page.count("data:image/png;base64,") == n_plots
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<td>0.893 [0.883, 0.913]</td>" in page
    text = (folder / "report.md").read_text()
    pictures = re.findall(r"\]\((report/[^)]+)\)", text)
    assert len(pictures) == n_plots and all((folder / p).is_file() for p in pictures)
    again = run_cli("report", folder)
    assert again.out == ran.out and (folder / "report.html").read_text() == page


def test_what_a_file_says_is_not_markup(folder: Path) -> None:
    evil = {**REPORTS["masks.json"], "source": "<script>|x"}
    evil["stages"] = {"<b>a|b": REPORTS["masks.json"]["stages"]["cross"]}
    write(folder / "masks", "masks.json", evil)
    page = to_html(*gather(folder))
    assert "<script>" not in page and "<b>a" not in page
    assert "<td>&lt;b&gt;a|b</td>" in page  # and stays in one cell


def test_other_versions_are_named_and_left_out(folder: Path, run_cli: Any) -> None:
    write(
        folder / "old",
        "masks.json",
        {"stages": {"coarse": {"iou": 0.8}}, "source": "x", "split": "t"},
    )
    (folder / "old" / "fidelity.json").write_text("{")
    write(folder / "downstream" / "cells", "masks.json", {})  # nothing to be told
    ran = run_cli("report", folder, "--out", folder.parent / "page")
    assert (
        ran.code == 0
        and "old/masks.json: not a result of this version of `masks` (KeyError" in ran.err
    )
    assert "old/fidelity.json: broken JSON" in ran.err and "cells" not in ran.err
    assert "## Left out" in (folder.parent / "page" / "report.md").read_text()


def test_a_folder_without_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no figures here\. Expected one of downstream\.json"):
        gather(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        gather(tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written .* Choose another --out"):
        write_page(folder, tmp_path / "file")


def test_figures_stand_beside_their_targets(folder: Path) -> None:
    told = {
        t.figure: (t.target, t.here, t.met) for s in gather(folder)[0] for t in s.result.targets
    }
    first = "unet, synthetic, ÷ all 67 real, Dice on elsewhere"
    assert told[first] == (
        "≥ 0.99",
        "0.980 [0.970, 1.000]",
        "**missed**, interval holds the target",
    )
    gain = told["unet, synthetic+real, n = 1, minus real alone, Dice on elsewhere"]
    assert gain == ("≥ 0.05", "+0.070 [+0.060, +0.090]", "reached")
    assert told["copies of training films"] == ("0", "0 of 5", "reached")
    assert told["age group obeyed, 20 samples (balanced accuracy)"][2] == "reached"
    page = to_html(*gather(folder))
    assert f'<td class="long">{first}</td>' in page and "Targets" in page


def test_targets_of_several_results_of_one_title_name_their_result(tmp_path: Path) -> None:
    for name in ("obedience-a.json", "obedience-b.json"):
        (tmp_path / name).write_text(json.dumps(REPORTS["obedience.json"]))
    page = to_html(*gather(tmp_path))
    for name in ("obedience-a", "obedience-b"):
        assert f"age group obeyed, 20 samples (balanced accuracy) ({name})" in page


@pytest.mark.parametrize(
    ("low", "value", "high", "words"),
    [
        (0.95, 0.96, 0.97, "reached"),
        (0.94, 0.96, 0.97, "reached, interval holds the target"),
        (0.90, 0.94, 0.96, "**missed**, interval holds the target"),
        (0.90, 0.92, 0.94, "**missed**"),
    ],
)
def test_a_verdict_says_whether_its_interval_agrees(
    low: float, value: float, high: float, words: str
) -> None:
    interval = {"value": value, "low": low, "high": high}
    assert verdict(interval, least=0.95) == words
    below = {k: -x for k, x in interval.items()}
    assert verdict(below, most=-0.95) == words
    assert span(below, digits=1, sign=True).startswith("−")


def test_tables_keep_their_columns() -> None:
    assert markdown(["a", "b"], [["x|y", 1]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | 1 |",
    ]
