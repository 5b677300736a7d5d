"""The filter of rows against labels by eye."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lungsynth.errors import ConfigError, DataError
from publish.check import filter as rows_filter
from publish.check.filter import FIT, HELD_OUT, Row, filter_figures, half_of, read_labels
from publish.data.settings import FilterSettings

CLASSES = {1: "left lung", 2: "right lung"}


def a_row(trust: float) -> Row:
    image = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 3:17], mask[5:35, 23:37] = 2, 1
    one = {"parts": 1, "stability": 0.95, "trust": trust, "plausibility": 0.5}
    scores = {name: dict(one) for name in CLASSES.values()}
    return Row(image, mask, scores, dict.fromkeys(scores, 1))


def rows() -> tuple[dict[str, str], dict[str, Row]]:
    """Rows whose label hangs on trust: reject below 0.7, good above 0.8."""
    labels, found = {}, {}
    for k in range(80):
        bad = k % 4 == 0
        name = f"s0-{k:07d}"
        labels[name] = "reject" if bad else "good"
        found[name] = a_row(0.6 + 0.001 * k if bad else 0.82 + 0.001 * k)
    return labels, found


def test_limits_are_chosen_on_one_half_and_told_on_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    labels, found = rows()
    monkeypatch.setattr(rows_filter, "read_labels", lambda path: labels)
    monkeypatch.setattr(rows_filter, "labelled_rows", lambda dist, some: (found, CLASSES))
    loose = FilterSettings(min_trust=0.0)
    report = rows_filter.filter_report(tmp_path, tmp_path, loose)
    assert report[HELD_OUT]["recall"]["value"] == 0.0
    report = rows_filter.filter_report(tmp_path, tmp_path, loose, fit=True)
    assert 0.65 < report["limits"]["min_trust"] < 0.85
    held = report[HELD_OUT]
    assert held["precision"]["value"] == held["recall"]["value"] == 1.0
    assert held["released_rejects"]["value"] == 0.0 and held["released_rejects"]["high"] < 0.15
    assert held["n"] + report[FIT]["n"] == 80
    n_bad = sum(v == "reject" for k, v in labels.items() if half_of(k) == HELD_OUT)
    assert held["by_reason"]["unsure left lung"]["value"] == pytest.approx(
        n_bad / held["n"], abs=1e-3
    )


def test_a_class_may_be_in_as_many_parts_as_the_build_let_it(monkeypatch, tmp_path: Path) -> None:
    one = a_row(0.9)
    scores = {name: {**told, "parts": 2} for name, told in one.scores.items()}
    cell = {"image": one.image, "mask": one.mask, "scores": json.dumps(scores)}
    told = [
        (None, {"id": "a", "qc_flags": [], **cell}),
        (None, {"id": "b", "qc_flags": ["left lung in pieces"], **cell}),
    ]
    monkeypatch.setattr(
        rows_filter, "read_manifest", lambda _: SimpleNamespace(shards=(), named_classes=CLASSES)
    )
    monkeypatch.setattr(rows_filter, "iter_rows", lambda *_: told)
    monkeypatch.setattr(rows_filter, "decode", lambda picture, _: picture)
    found, classes = rows_filter.labelled_rows(tmp_path, {"a": "good", "b": "reject"})
    reasons = rows_filter.reasons_of(found, classes, FilterSettings())
    assert reasons == {"a": [], "b": ["left lung in pieces"]}


def test_doubtful_rows_count_apart() -> None:
    labels = {"a": "reject", "b": "doubtful", "c": "good"}
    figures = filter_figures(labels, {"a": ["odd x"], "b": ["odd x"], "c": []})
    assert figures["precision"]["value"] == 0.5 and figures["precision_doubtful"]["value"] == 1.0
    assert figures["recall"]["value"] == 1.0 and figures["reject_rate"]["value"] == 0.6667
    nothing = filter_figures({"c": "good"}, {"c": []})
    assert nothing["precision"]["value"] is None


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("id,verdict\na,good\n", DataError, "expected id, label"),
        ("id,label\na,fine\n", ConfigError, "expected good, doubtful, reject"),
        ("id,label\na,good\na,reject\n", ConfigError, "labelled twice"),
    ],
)
def test_labels_that_are_none_are_refused(
    tmp_path: Path, text: str, kind: type[Exception], message: str
) -> None:
    path: Any = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(kind, match=message):
        read_labels(path)


def test_labels_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """Excel begins a file with a byte order mark; a line that ends early is told by its row."""
    path = tmp_path / "labels.csv"
    path.write_text("id,label,reason\ns0-1,Good\n", encoding="utf-8-sig")
    assert read_labels(path) == {"s0-1": "good"}
    path.write_text("id,label,reason\ns0-1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="row s0-1 is labelled ''; expected good"):
        read_labels(path)
