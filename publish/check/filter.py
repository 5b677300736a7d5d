"""The filter of rows against labels by eye: precision, recall, and what a release would still hold.

Labels are a CSV with columns id, label (good, doubtful or reject) and reason. Rows are dealt into two
halves by a hash of their id: limits are set on one, and told on the other.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from lungsynth.errors import ConfigError, DataError
from publish.data.manifest import read_manifest
from publish.data.parsing import from_mapping
from publish.data.rows import decode, iter_rows
from publish.data.screening import reasons_against
from publish.data.settings import FilterSettings, read_settings

LABELS = ("good", "doubtful", "reject")
FIT, HELD_OUT = "fit", "held out"
TRUSTS = tuple(round(0.5 + 0.025 * k, 3) for k in range(18))
PLAUSIBILITIES = (0.0, 0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True, slots=True)
class Row:
    """What the filter is given of a row, kept so that limits can be tried."""

    image: Any
    mask: Any
    scores: Mapping[str, Mapping[str, Any]]
    n_parts: Mapping[str, int]  # class -> parts it may have, as the build judged it


def read_labels(path: Path) -> dict[str, str]:
    """Labels by eye: row -> one of `LABELS`.

    Raises:
        DataError: the file cannot be read, or lacks a column.
        ConfigError: an unknown label, or a row labelled twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if not {"id", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path}: columns {reader.fieldnames}; expected id, label, reason.")
            told = [((one["id"] or "").strip(), (one["label"] or "").strip()) for one in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    found: dict[str, str] = {}
    for row_id, label in told:
        label = label.lower()
        if label not in LABELS:
            raise ConfigError(
                f"{path}: row {row_id} is labelled {label!r}; expected {', '.join(LABELS)}."
            )
        if row_id in found:
            raise ConfigError(f"{path}: row {row_id} is labelled twice.")
        found[row_id] = label
    return found


def half_of(row_id: str) -> str:
    """The half a row belongs to, whatever other rows there are."""
    return FIT if hashlib.sha256(row_id.encode()).digest()[0] < 128 else HELD_OUT


def labelled_rows(dist: Path, ids: Collection[str]) -> tuple[dict[str, Row], dict[int, str]]:
    """The rows that are labelled, and the classes of their masks.

    Raises:
        DataError: a labelled row is not in the dataset: it was built with the filter, or is another.
    """
    manifest = read_manifest(dist)
    found = {}
    columns = ["id", "image", "mask", "scores", "qc_flags"]
    for _, one in iter_rows(dist, manifest.shards, columns):
        if one["id"] in ids:
            image = decode(one["image"], f"{one['id']}, image")
            mask = decode(one["mask"], f"{one['id']}, mask")
            scores = json.loads(one["scores"])
            n_parts = {
                name: score["parts"] - (f"{name} in pieces" in one["qc_flags"])
                for name, score in scores.items()
            }
            found[one["id"]] = Row(image, mask, scores, n_parts)
    missing = sorted(set(ids) - set(found))
    if missing:
        raise DataError(
            f"{dist}: {len(missing)} labelled row(s) are not there, such as {missing[0]}. Build with "
            "--no-filter, with the settings the labels were made for."
        )
    return found, manifest.named_classes


def reasons_of(
    rows: Mapping[str, Row], classes: Mapping[int, str], limits: FilterSettings
) -> dict[str, list[str]]:
    """Row -> why the filter rejects it."""
    return {
        name: reasons_against(row.image, row.mask, row.scores, classes, limits, row.n_parts)
        for name, row in rows.items()
    }


def _share(hits: int, n: int) -> dict[str, Any]:
    """A share with its exact 95 % interval (Clopper and Pearson)."""
    if not n:
        return {"value": None, "low": None, "high": None, "n": 0}
    interval = binomtest(hits, n).proportion_ci()
    return {
        "value": round(hits / n, 4),
        "low": round(float(interval.low), 4),
        "high": round(float(interval.high), 4),
        "n": n,
    }


def filter_figures(
    labels: Mapping[str, str], reasons: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Precision, recall, and what is left, of some labelled rows.

    Returns:
        "precision": of the rejected rows, those labelled reject, and "precision_doubtful" those labelled
        reject or doubtful; "recall": of the rows labelled reject, those rejected; "released_rejects":
        of the rows that pass, those labelled reject; "reject_rate" and it "by_reason".
    """
    out_ids = {one for one in labels if reasons[one]}
    bad = {one for one, label in labels.items() if label == "reject"}
    unsound = {one for one, label in labels.items() if label != "good"}
    passed = labels.keys() - out_ids
    counted = Counter(reason for one in labels for reason in reasons[one])
    return {
        "n": len(labels),
        "labels": dict(Counter(labels.values())),
        "precision": _share(len(out_ids & bad), len(out_ids)),
        "precision_doubtful": _share(len(out_ids & unsound), len(out_ids)),
        "recall": _share(len(out_ids & bad), len(bad)),
        "released_rejects": _share(len(passed & bad), len(passed)),
        "reject_rate": _share(len(out_ids), len(labels)),
        "by_reason": {k: _share(n, len(labels)) for k, n in counted.most_common()},
    }


def choose_limits(
    labels: Mapping[str, str],
    rows: Mapping[str, Row],
    classes: Mapping[int, str],
    limits: FilterSettings,
) -> FilterSettings:
    """Limits of trust and plausibility with the best F1 of "reject" on the fitting half.

    Raises:
        DataError: no row of that half is labelled reject, or none good.
    """
    half = [one for one in labels if half_of(one) == FIT]
    bad = {one for one in half if labels[one] == "reject"}
    if not bad or len(bad) == len(half):
        raise DataError(
            f"{len(half)} rows to set limits on, {len(bad)} of them labelled reject; both kinds are "
            "needed."
        )
    some = {one: rows[one] for one in half}
    best, best_score = limits, -1.0
    for trust in TRUSTS:
        for plausibility in PLAUSIBILITIES:
            tried = replace(limits, min_trust=trust, min_plausibility=plausibility)
            rejected = {k for k, why in reasons_of(some, classes, tried).items() if why}
            score = 2 * len(rejected & bad) / (len(rejected) + len(bad))
            if score > best_score:
                best, best_score = tried, score
    return best


def limits_of(dist: Path, config: Path | None) -> FilterSettings:
    """The filter of a build's settings, or of the dataset where none are given."""
    if config is not None:
        return read_settings(config, {"n": 1}).filter
    told = read_manifest(dist).config["filter"]
    return from_mapping(FilterSettings, told, "manifest.json, filter")


def filter_report(
    dist: Path, labels_path: Path, limits: FilterSettings, *, fit: bool = False
) -> dict[str, Any]:
    """Figures of both halves; with `fit`, at limits chosen on the fitting half.

    Raises:
        DataError, ConfigError: see `read_labels`, `labelled_rows` and `choose_limits`.
    """
    labels = read_labels(labels_path)
    rows, classes = labelled_rows(dist, labels)
    if fit:
        limits = choose_limits(labels, rows, classes, limits)
    reasons = reasons_of(rows, classes, limits)
    return {
        "limits": {
            "min_trust": limits.min_trust,
            "min_plausibility": limits.min_plausibility,
            "min_stability": limits.min_stability,
        },
        **{
            half: filter_figures({k: v for k, v in labels.items() if half_of(k) == half}, reasons)
            for half in (FIT, HELD_OUT)
        },
    }
