"""Which rows answer which question."""

from __future__ import annotations

import numpy as np
import pytest

from lungsynth.evaluation.words.labels import (
    HEAD_NAMES,
    MAX_WEIGHT,
    TASKS,
    UNKNOWN,
    asked_labels,
    film_labels,
    label_weights,
)


def row(**fields: str) -> dict[str, str]:
    return {"age": "50", "view": "PA", "label": "normal", "sex": "M", "source_set": "a", **fields}


def test_asked_fields_become_labels() -> None:
    labels = asked_labels(
        [
            {"age_group": "child", "view": "AP", "finding": "bacterial pneumonia", "sex": "F"},
            {"age_group": "Adult", "view": "ap", "finding": "Normal", "sex": "female"},
            {"age": "40", "view": "lateral", "finding": "effusion"},
            {},
        ]
    )
    assert labels.tolist() == [
        [1, UNKNOWN, 1, UNKNOWN],  # view and sex are asked of adults only
        [0, 1, 0, 1],
        [0, UNKNOWN, UNKNOWN, UNKNOWN],
        [UNKNOWN] * 4,
    ]


@pytest.mark.parametrize(
    ("label", "findings", "expected"),
    [
        ("no finding", "", 0),
        ("", "effusion|pneumonia", 1),
        ("tuberculosis", "PTB with left lower field pneumonia", UNKNOWN),
        ("covid-19", "COVID-19 pneumonia", UNKNOWN),
        ("", "PTB and pneumonia", UNKNOWN),
        ("effusion", "", UNKNOWN),
    ],
)
def test_only_normal_and_pneumonia_are_findings(label: str, findings: str, expected: int) -> None:
    told = asked_labels([row(label=label, findings=findings)])
    assert told[0, HEAD_NAMES.index("finding")] == expected


def test_a_source_with_one_answer_does_not_answer() -> None:
    films = [
        row(view=v, label=f, sex="MF"[i % 2])
        for i, (v, f) in enumerate([("PA", "normal"), ("AP", "pneumonia")] * 10)
    ]
    films += [row(source_set="b", view="PA", label="normal", sex="MF"[i % 2]) for i in range(10)]
    labels = film_labels(films)
    assert (labels[:20] != UNKNOWN).all()
    assert (labels[20:, [1, 2]] == UNKNOWN).all()
    assert (labels[20:, [0, 3]] != UNKNOWN).all()


def test_healthy_films_cut_from_a_collection_answer_with_it() -> None:
    films = [row(source_set="nih_cxr14", label=f) for f in ("pneumonia", "normal")]
    films += [row(source_set="nih_rsna_normal", label="normal")] * 8
    assert film_labels(films)[:, HEAD_NAMES.index("finding")].tolist() == [1, *[0] * 9]
    assert (film_labels(films[2:])[:, HEAD_NAMES.index("finding")] == UNKNOWN).all()


def test_films_of_unknown_age_are_adults() -> None:
    assert film_labels([row(age=""), row(age="3")])[:, 0].tolist() == [0, 1]


def test_weights_make_both_classes_of_a_source_equally_heavy() -> None:
    films = [row(sex="M")] * 6 + [row(sex="F")] * 2
    films += [row(sex="M", source_set="b")] * 30 + [row(sex="F", source_set="b")] * 2
    labels = film_labels(films)
    weights = label_weights(labels, films)[:, HEAD_NAMES.index("sex")]
    assert weights[:6].sum() == pytest.approx(weights[6:8].sum())
    assert weights.max() == MAX_WEIGHT  # the 2 of 32 are raised no further
    assert (label_weights(labels, films)[labels == UNKNOWN] == 0).all()
    # a class that is drawn more often weighs less: both are as heavy over many draws
    chances = np.array([1.0] * 6 + [2.0] * 2 + [1.0] * 32)
    weights = label_weights(labels, films, chances)[:, HEAD_NAMES.index("sex")] * chances
    assert weights[:6].sum() == pytest.approx(weights[6:8].sum())


def test_tasks_split_findings_by_age_group() -> None:
    labels = np.array([[1, -1, 0, -1], [0, 1, 1, 0], [0, 0, -1, 1]])
    rows = {task.name: task.rows(labels).tolist() for task in TASKS}
    assert rows["finding (children)"] == [True, False, False]
    assert rows["finding (adults)"] == [False, True, False]
    assert rows["view (adults)"] == [False, True, True]
    assert rows["age_group"] == [True] * 3
