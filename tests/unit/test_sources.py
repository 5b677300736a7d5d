"""What a checkpoint was made from: collected from columns, kept with it, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungsynth.about.sources import (
    FREE_WITH_ATTRIBUTION,
    SOURCES_NAME,
    UNKNOWN,
    Source,
    collect_sources,
    licence_id,
    merged,
    read_sources,
    sources_of_data,
    write_sources,
)
from lungsynth.errors import CheckpointError
from lungsynth.films.data import Record

SHIPPED = Path(__file__).parents[2] / "lungsynth" / "checkpoints" / "mini"


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ("CC BY 4.0 (V7 Labs)", "cc-by-4.0"),
        ("CC BY 3.0 (Hannover Medical School, figshare 12275009)", "cc-by-3.0"),
        ("CC BY-NC-SA 4.0 (Stirenko et al. 2018)", "cc-by-nc-sa-4.0"),
        ("cc-by-nd-4.0", "cc-by-nd-4.0"),
        ("CC0 (authors)", "cc0-1.0"),
        ("NIH CC: no restrictions on use; attribution to NIH", FREE_WITH_ATTRIBUTION),
        ("no restrictions but only on Sundays", UNKNOWN),
        ("freely available for research, cite Jaeger 2014", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_licence_in_words_gets_its_identifier(terms, expected):
    assert licence_id(terms) == expected


def film(name: str, source: str, licence: str, *, mask: bool = False) -> Record:
    square = np.zeros((4, 4), np.uint8)
    fields = {"id": name, "source_set": source, "image_licence": licence}
    fields["mask_licence"] = "CC0" if mask else ""
    return Record(square, "", square if mask else None, fields)


def test_films_are_counted_once_a_set_and_terms():
    films = [film("a", "x", "CC BY 4.0"), film("b", "x", "CC BY 4.0"), film("c", "x", "CC0")]
    fields = [one.fields for one in films] * 3  # framings of the same films
    found = collect_sources(fields)
    assert found == collect_sources(films)
    assert [(s.name, s.licence, s.n) for s in found] == [("x", "cc-by-4.0", 2), ("x", "cc0-1.0", 1)]


def test_masks_count_where_there_are_some_and_unstated_terms_are_unknown():
    films = [film("a", "x", "CC BY 4.0", mask=True), film("b", "x", "", mask=False)]
    [mask] = collect_sources(films, used_for="masks")
    assert (mask.licence, mask.used_for, mask.n) == ("cc0-1.0", "masks", 1)
    rows = [{"id": "a", "mask_licence": "CC0"}, {"id": "b", "mask_licence": ""}]
    assert [s.n for s in collect_sources(rows, used_for="masks", name="x")] == [1]
    [unstated] = collect_sources([{"id": "a"}], used_for="masks")
    assert unstated.licence == UNKNOWN and unstated.name == "a set without a name"
    boxes = [{"id": "a", "box_licence": "no restrictions; attribution to NIH"}]
    assert collect_sources(boxes, used_for="boxes", name="nih_boxes")[0].title.startswith("boxes")


def test_they_are_kept_with_the_checkpoint_and_only_ever_grow(tmp_path):
    first, more = Source("x", "cc0-1.0", "CC0", n=2), Source("x", "cc0-1.0", "CC0", n=5)
    described = Source("x", "cc0-1.0", "CC0", n=1, title="The set of X", url="https://x.example")
    write_sources(tmp_path, [described])
    write_sources(tmp_path, [more, Source("y", "mit", used_for="masks")])
    write_sources(tmp_path, [first])
    found = read_sources(tmp_path)
    assert [(s.name, s.n, s.title) for s in found] == [("x", 5, "The set of X"), ("y", 0, "")]
    assert merged(found, []) == found
    assert read_sources(tmp_path / "no such folder") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "sources": []}',
        '{"version": 1, "sources": ["x"]}',
        '{"version": 1, "sources": [{"name": "x"}]}',
        '{"version": 1, "sources": [{"name": "x", "licence": 3}]}',
        '{"version": 1, "sources": [{"name": "x", "licence": "mit", "more": 1}]}',
    ],
)
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / SOURCES_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=r"sources\.json: cannot be understood"):
        read_sources(tmp_path)


def test_a_data_set_is_asked_without_its_pictures(parquet):
    [told] = sources_of_data(str(parquet), split="train")
    assert (told.name, told.licence, told.n) == ("tiny", "cc0-1.0", 11)
    [masks] = sources_of_data(str(parquet), used_for="masks", ids=["film-0", "film-3"])
    assert (masks.licence, masks.n) == ("cc-by-4.0", 2)


def test_the_shipped_checkpoint_names_every_set_of_its_card():
    found = read_sources(SHIPPED)
    assert {(s.name, s.used_for): s.n for s in found}.items() >= {
        ("kermany_v7", "images"): 4877,
        ("nih_cxr14", "images"): 940,
        ("hannover_covid", "images"): 205,
        ("shenzhen", "images"): 559,
        ("kermany_v7", "masks"): 400,
        ("hannover_covid", "masks"): 67,
    }.items()
    assert all(s.terms and s.title for s in found)
    json.loads((SHIPPED / SOURCES_NAME).read_text())


def test_figures_keep_what_they_are_through_their_file(tmp_path):
    from lungsynth.about.figures import Figure, read_figures, write_figures

    told = {"n": 9, "command": "evaluate"}
    figures = [
        Figure(kind="obedience", name="finding", value=0.5, low=0.4, high=0.6, chance=0.5, **told),
        Figure(kind="masks", name="IoU", value=0.887, unit="number", **told),
        Figure(kind="memorisation", name="copies", value=1.0, unit="count", **told),
    ]
    write_figures(tmp_path, figures[:1])
    write_figures(tmp_path, figures)
    assert read_figures(tmp_path) == figures
    assert [one.text() for one in figures] == [
        "50.0 % [40.0, 60.0], n = 9; guessing 50 %; no better than guessing",
        "0.887, n = 9",
        "1 of 9",
    ]
    (tmp_path / "figures.json").write_text('{"version": 1, "figures": [{"kind": 3}]}')
    with pytest.raises(CheckpointError, match="`kind` of a figure is 3"):
        read_figures(tmp_path)


def test_the_shipped_checkpoint_tells_all_a_card_needs():
    from lungsynth.about.figures import KINDS, read_figures

    figures = read_figures(SHIPPED)
    assert {one.kind for one in figures} == set(KINDS)
    assert {one.about for one in figures} >= {"view", "age_group", "sex", "finding"}
    assert all(one.command.startswith("python -m lungsynth evaluate") for one in figures)
    assert [one.text()[:5] for one in figures if one.kind == "masks"] == ["0.879", "0.925", "0.917"]
