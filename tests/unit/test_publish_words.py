"""Licences, markup, screening, splits and changelog: small functions of publish."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lungsynth.about.sources import Source
from lungsynth.errors import ConfigError, DataError
from publish.card.dataset_card import human_sections
from publish.card.markup import bibtex_text, markdown_text
from publish.data.changelog import HEAD, VERSION, add_entry
from publish.data.licences import licence_of
from publish.data.prompts import prompt_group, read_prompts, split_of
from publish.data.screening import bounding_box, reasons_against
from publish.data.settings import FilterSettings
from publish.export.cases import Case
from publish.export.dicom_seg import make_image


def sources(*licences):
    return [Source(f"set {k}", one.lower()) for k, one in enumerate(licences)]


@pytest.mark.parametrize(
    ("licences", "expected", "why"),
    [
        (["cc0-1.0", "apache-2.0"], "cc0-1.0", "free of conditions"),
        (["cc0-1.0", "cc-by-4.0"], "cc-by-4.0", "set 1 asks for attribution"),
        (["cc-by-3.0", "CC-BY-NC-4.0"], "cc-by-nc-4.0", "set 1 is for non-commercial use"),
        (
            ["cc-by-4.0", "odc-by"],
            "cc-by-4.0",
            "Each of these asks for attribution: set 0; set 1.",
        ),
        (["cc-by-4.0", "unknown"], "other", "weigh the terms of: set 1"),
        (["cc-by-nc-sa-4.0"], "other", "weigh the terms of: set 0"),
        (
            ["cc0-1.0", "creativeml-openrail-m"],
            "other",
            "must not be used to provide medical advice",
        ),
        ([], "other", "No sources are stated"),
    ],
)
def test_the_licence_follows_the_sources(licences, expected, why):
    licence = licence_of(sources(*licences))
    assert licence.identifier == expected and why in licence.reason


@given(st.text(max_size=80))
def test_no_text_becomes_markup(text):
    html = MarkdownIt("commonmark").enable("table").render(f"a {markdown_text(text)} z")
    inner = html.removeprefix("<p>").removesuffix("</p>\n")
    assert "<" not in inner and "\n" not in inner
    assert inner.startswith("a ") and inner.endswith(" z")
    cell = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(f"| a | b |\n| --- | --- |\n| {markdown_text(text)} | z |\n")
    )
    assert cell.count("<td>") == 2


@given(st.text(max_size=80))
def test_no_text_ends_a_bibtex_field(text):
    assert not set(bibtex_text(text)) & set("{}\\`\n")


def test_human_sections_are_read_or_refused():
    text = "x\n<!-- human:a -->\none\n<!-- /human:a -->\n<!-- human:b -->\n<!-- /human:b -->\n"
    assert human_sections(text) == {"a": "one\n", "b": ""}
    for broken in (
        text.replace("<!-- /human:a -->", ""),
        text + text,
        text.replace("one\n", "<!-- human:c -->\n<!-- /human:c -->\n"),
    ):
        with pytest.raises(ConfigError, match="are broken"):
            human_sections(broken)


SCORES = {n: {"parts": 1, "stability": 0.95} for n in ("left lung", "right lung")}
CLASSES = {1: "left lung", 2: "right lung"}
PARTS = {"left lung": 1, "right lung": 1}


def pair():
    image = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 3:17], mask[5:35, 23:37] = 2, 1
    return image, mask


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda i, m, s: None, None),
        (lambda i, m, s: i.fill(7), "flat picture"),
        (lambda i, m, s: m.__setitem__(m == 1, 0), "no left lung"),
        (lambda i, m, s: m.__setitem__((slice(0, 34),), 0), "small left lung"),
        (lambda i, m, s: m.__setitem__(m == 0, 1), "large left lung"),
        (
            lambda i, m, s: s.update({"left lung": {"parts": 2, "stability": 0.95}}),
            "left lung in pieces",
        ),
        (
            lambda i, m, s: s.update({"right lung": {"parts": 1, "stability": 0.1}}),
            "unsteady right lung",
        ),
        (lambda i, m, s: s["right lung"].update(trust=0.7), "unsure right lung"),
        (lambda i, m, s: s["right lung"].update(trust=0.8, plausibility=0.001), "odd right lung"),
        (lambda i, m, s: s["right lung"].update(trust=0.8, plausibility=0.2), None),
        (lambda i, m, s: s["right lung"].update(trust=None), None),
        (lambda i, m, s: m.__setitem__(slice(None), m[:, ::-1].copy()), "swapped lung"),
        (lambda i, m, s: m.__setitem__((slice(11, None), slice(0, 20)), 0), "lopsided lung"),
    ],
)
def test_each_fault_of_a_pair_has_its_reason(change, reason):
    image, mask = pair()
    scores = {name: dict(one) for name, one in SCORES.items()}
    change(image, mask, scores)
    limits = FilterSettings(min_stability=0.9)
    found = reasons_against(image, mask, scores, CLASSES, limits, PARTS)
    assert (reason in found) if reason else found == []


def test_a_class_may_have_limits_of_its_own():
    image, mask = pair()
    limits = FilterSettings(areas={"left lung": (0.0, 0.1)})
    found = reasons_against(image, mask, SCORES, CLASSES, limits, PARTS)
    assert found == ["large left lung"]


def test_a_box_holds_all_of_a_region_and_no_more():
    _, mask = pair()
    assert bounding_box(mask == 2) == [3, 5, 14, 30] and bounding_box(mask == 7) == []
    assert bounding_box(np.ones((2, 3), bool)) == [0, 0, 3, 2]


@given(st.lists(st.text("abc XY.,", min_size=1), min_size=1, max_size=30), st.integers(0, 99))
def test_a_prompt_group_is_in_one_split_and_never_moves(texts, seed):
    shares = {"train": 0.6, "val": 0.2, "test": 0.2}
    groups = [prompt_group(text) for text in texts]
    assert all(split_of(g, seed, shares) == split_of(g, seed, shares) for g in groups)
    assert all(prompt_group(t.upper() + " . ") == g for t, g in zip(texts, groups, strict=True))


def test_splits_get_about_their_shares():
    shares = {"train": 0.7, "test": 0.3}
    drawn = [split_of(prompt_group(f"film {i}"), 0, shares) for i in range(2000)]
    assert abs(drawn.count("test") / 2000 - 0.3) < 0.04  # 4 standard deviations


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".jsonl", ".parquet"])
def test_prompts_are_read_from_a_column(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    path = tmp_path / f"p{suffix}"
    table = pa.table({"text": ["one  film", "two, films"], "n": [1, 2]})
    if suffix.lower() == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        path.write_text('{"text": "one  film", "n": 1}\n{"text": "two, films", "n": 2}\n')
    assert read_prompts(path, "text") == ["one film", "two, films"]
    with pytest.raises(ConfigError, match="no column 'prompt'; it has text, n"):
        read_prompts(path)
    path.write_bytes(b"\x00\x01broken")
    with pytest.raises((DataError, ConfigError)):
        read_prompts(path, "text")


def test_a_changelog_grows_at_its_top():
    one = add_entry(HEAD, "1.0.0", ["First."])
    two = add_entry(one, "1.1.0", ["More.", "Better."])
    assert VERSION.findall(two) == ["1.1.0", "1.0.0"]
    assert two.endswith("## 1.0.0\n\n- First.\n") and two.startswith(HEAD)


def test_every_column_of_every_dataset_is_in_the_card():
    from publish.card.sections import columns_table
    from publish.data.manifest import Manifest
    from publish.data.schema import features

    for attention, probability in ((True, True), (False, False)):
        kept = {"keep_attention": attention, "keep_probability": probability}
        card = columns_table(Manifest(kept, {"0": "background", "1": "lung"}, {}, (), 0))
        told = [line.split("`")[1] for line in card.splitlines()]
        assert sorted(told) == sorted(features({1: "lung"}, **kept))


def test_rows_of_one_id_in_two_datasets_are_two_dicom_objects():
    """An archive keeps one object of a UID: another picture must not replace the first."""

    def case(grey):
        image = np.full((32, 32), grey, np.uint8)
        row = {"prompt": "chest", "code_version": "0", "model_hash": "0", "seed": 7}
        return Case("s7-0000000", "train", image, image * 0, image.tobytes(), row)

    one, again, other = (make_image(case(grey)) for grey in (1, 1, 2))
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"):
        assert one[name].value == again[name].value != other[name].value
