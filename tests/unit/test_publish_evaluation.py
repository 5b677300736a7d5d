"""Results of `lungsynth evaluate` in the cards of datasets and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_report import REPORTS

from lungsynth.errors import ConfigError
from publish.card.evaluation import further_sections, kind_of_report, masks_lines, taken
from publish.card.model_card import figures


def place(folder: Path, report: Any) -> Path:
    path = folder / "result.json"  # whatever its name
    path.write_text(json.dumps(report))
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("masks", "masks-films-parquet-test"),
        ("downstream", "downstream-elsewhere"),
        ("fidelity", "fidelity"),
        ("obedience", "obedience"),
    ],
)
def test_what_a_card_can_hold_is_known_by_its_contents(
    kind: str, name: str, tmp_path: Path
) -> None:
    report = {**REPORTS[f"{kind}.json"], "model_hash": "abc", "films": ["patient-7"]}
    assert kind_of_report(report) == kind
    found, kept = taken(place(tmp_path, report), report, "abc")
    assert found == name and "patient-7" not in json.dumps(kept)
    assert "## " in further_sections({f"evaluation/{found}.json": kept}) or kind == "masks"


def test_masks_of_other_weights_and_other_files_are_refused(tmp_path: Path) -> None:
    report = {**REPORTS["masks.json"], "model_hash": "abc"}
    with pytest.raises(
        ConfigError, match="measured on the weights 'abc', not on this dataset's 'def'"
    ):
        taken(place(tmp_path, report), report, "def")
    for other in ("memorisation", "reconstruction", "sides"):
        with pytest.raises(
            ConfigError, match="expected what `lungsynth evaluate` downstream, masks"
        ):
            taken(place(tmp_path, REPORTS[f"{other}.json"]), REPORTS[f"{other}.json"], "abc")


def test_sections_show_the_figures_and_no_markup() -> None:
    evil = {**REPORTS["downstream.json"], "notes": ["<script>"]}
    text = further_sections(
        {
            "evaluation/d.json": evil,
            "evaluation/f.json": REPORTS["fidelity.json"],
            "evaluation/o.json": REPORTS["obedience.json"],
        }
    )
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Trained on this set, tested on real films",
        "## Fidelity",
        "## Obedience",
    ]
    assert "| synthetic+real, n = 1 | minus real, n = 1 | +0.070 [+0.060, +0.090] |" in text
    assert "<script>" not in text
    assert further_sections({"evaluation/m.json": REPORTS["masks.json"]}) == ""
    lines = masks_lines("evaluation/m.json", REPORTS["masks.json"])
    assert "| rival: otsu | 0.810 | 0.800 – 0.830 | 0.893 |" in lines
    assert lines[-1].endswith("Left and right swapped: 1 of 9.")


def test_a_model_card_names_every_arm() -> None:
    told = {name: shown for name, _, shown in figures(REPORTS["downstream.json"])}
    assert told["arms.unet, synthetic (set), n = 0, on elsewhere.dice"] == "0.893 [0.883, 0.913]"
    key = "comparisons.unet, synthetic+real (set), n = 1 against unet, real, n = 1, on elsewhere"
    assert told[f"{key}.dice difference"] == "0.07 [0.06, 0.09]"
    caught = {name: shown for name, _, shown in figures(REPORTS["memorisation.json"])}
    assert caught["caught"].startswith("0.5 [")
