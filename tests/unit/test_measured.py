"""The figures that travel with a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungsynth.errors import CheckpointError
from lungsynth.model.measured import MEASURED_NAME, Measured, read_measured


def written(folder: Path, value: object) -> Measured:
    (folder / MEASURED_NAME).write_text(json.dumps(value))
    return read_measured(folder)


def test_what_was_measured_is_said_of_each_word(tmp_path):
    known = written(
        tmp_path,
        {
            "words": {
                "Left Lung": {"grounded": True, "auc": 0.971, "n": 120, "on": "real test films"},
                "opacity": {"grounded": True, "ratio": 2.34},
                "woman": {"grounded": False, "auc": 0.5},
            },
            "obeys": {"side": True, "sex": False, "findings": ["pneumonia"]},
        },
    )
    assert known.sentence("left lung") == (
        "“left lung” is grounded: AUC 0.97 on 120 real test films."
    )
    assert known.sentence("opacity") == "“opacity” is grounded: 2.3 × chance."
    assert known.sentence("woman") == "“woman” is not grounded: its map says little."
    assert known.sentence("with") == "“with”: not measured."
    assert known.offers("side") and not known.offers("sex") and known.offers("view")
    assert known.findings(("tuberculosis", "pneumonia")) == ("pneumonia",)


def test_without_figures_nothing_is_claimed_and_no_side_is_offered(tmp_path):
    known = read_measured(tmp_path)
    assert known == Measured() and known.sentence("lung") == "“lung”: not measured."
    assert not known.offers("side") and known.offers("sex")
    assert known.findings(("a", "b")) == ("a", "b")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"words": {"a": 1}}', '{"words": {"a": {"auc": "x"}}}']
)
def test_a_file_that_is_none_is_refused(tmp_path, text):
    (tmp_path / MEASURED_NAME).write_text(text)
    with pytest.raises(CheckpointError, match="not a file of measured words"):
        read_measured(tmp_path)
