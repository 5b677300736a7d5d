"""The figures that travel with a checkpoint."""

from __future__ import annotations

import json

import pytest

from lungsynth.about.figures import FIGURES_NAME, Figure, write_figures
from lungsynth.errors import CheckpointError
from lungsynth.model.measured import WORDS_NAME, Measured, read_measured


def figures(auc: float, above: float, *, energy: float = 1.0, n: int = 120) -> dict:
    """A word as `evaluate words` reports it; intervals reach 0.1 to both sides."""

    def around(value: float) -> dict:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    rivals = {"centre": around(above), "mean map": around(above + 0.1)}
    return {"n": n, "map": {"auc": around(auc), "energy": around(energy)}, "above": rivals}


def obeyed(name: str, value: float, about: str = "") -> Figure:
    """A figure of obedience whose interval reaches 0.1 to both sides."""
    ends = {"low": value - 0.1, "high": value + 0.1}
    return Figure(
        kind="obedience",
        name=name,
        value=value,
        n=100,
        command="-",
        chance=0.5,
        about=about,
        **ends,
    )


def test_what_was_measured_is_said_of_each_word(tmp_path):
    report = {
        "films": {"nlm": {"Left Lung": figures(0.971, 0.3), "heart": None}},
        "boxes": {"opacity": figures(0.7, 0.2, energy=2.34, n=40), "nodule": figures(0.6, 0.05)},
        "samples": {"words": {"left lung": figures(0.5, 0.0), "woman": figures(0.5, -0.2)}},
    }
    (tmp_path / WORDS_NAME).write_text(json.dumps(report))
    write_figures(tmp_path, [obeyed("side", 0.8), obeyed("sex (adults)", 0.52, "sex")])
    known = read_measured(tmp_path)
    assert known.sentence("left lung") == (
        "“left lung” is grounded: AUC 0.97 on 120 films with masks."
    )
    assert known.sentence("opacity") == (
        "“opacity” is grounded: AUC 0.70, 2.3 × chance on 40 films with boxes."
    )
    for word in ("woman", "nodule"):
        assert known.sentence(word) == f"“{word}” is not grounded: its map says little."
    assert known.sentence("heart") == "“heart”: not measured."
    assert known.offers("side") and not known.offers("sex") and known.offers("view")
    assert known.findings(("tuberculosis", "pneumonia")) == ("tuberculosis", "pneumonia")


def test_findings_are_offered_where_somebody_obeys_them(tmp_path):
    adults, children = (("finding (adults)", "finding"), ("finding (children)", "finding"))
    write_figures(
        tmp_path, [obeyed(adults[0], 0.5, adults[1]), obeyed(children[0], 0.8, "finding")]
    )
    assert read_measured(tmp_path).findings(("pneumonia",)) == ("pneumonia",)
    write_figures(tmp_path, [obeyed(name, 0.5, about) for name, about in (adults, children)])
    assert read_measured(tmp_path).findings(("pneumonia",)) == ()


def test_what_goes_the_other_way_or_has_no_interval_is_not_offered(tmp_path):
    write_figures(tmp_path, [obeyed("side", 0.2), obeyed("view (adults)", 0.3, "view")])
    known = read_measured(tmp_path)
    assert not known.offers("side") and not known.offers("view")
    one = Figure(kind="obedience", name="side", value=0.9, n=3, command="-", chance=0.5)
    write_figures(tmp_path, [one])
    assert not read_measured(tmp_path).offers("side")
    write_figures(tmp_path, [obeyed("finding", 0.3, "finding")])
    assert read_measured(tmp_path).findings(("pneumonia",)) == ()


def test_without_figures_nothing_is_claimed_and_no_side_is_offered(tmp_path):
    known = read_measured(tmp_path)
    assert known == Measured() and known.sentence("lung") == "“lung”: not measured."
    assert not known.offers("side") and known.offers("sex")
    assert known.findings(("a", "b")) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (WORDS_NAME, "{"),
        (WORDS_NAME, "[]"),
        (WORDS_NAME, '{"boxes": {"a": {"n": 1}}}'),
        (FIGURES_NAME, '{"obeys": []}'),
        (WORDS_NAME, '{"films": ["x"]}'),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(
        CheckpointError, match=r"not JSON|expected an object|not a report|understood"
    ):
        read_measured(tmp_path)
