"""Prompts of a dataset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungsynth.errors import ConfigError, DataError
from lungsynth.prompts import split_words
from publish.data.prompts import (
    ADULT_FINDINGS,
    CHILD_FINDINGS,
    Choices,
    make_prompt,
    read_prompts,
    row_seed,
)


def test_the_first_prompts_of_seed_0_stay_what_they_are():
    """GRAMMAR_VERSION must be raised when this changes."""
    assert [make_prompt(0, i).text for i in range(3)] == [
        "Frontal AP chest X-ray of a child with viral pneumonia.",
        "Frontal AP chest X-ray of a 67-year-old woman with infiltration.",
        "Frontal AP chest X-ray of a 2-year-old child, clear lungs.",
    ]


@given(seed=st.integers(0, 2**53), index=st.integers(0, 10**7))
def test_a_prompt_says_what_its_fields_say(seed, index):
    made = make_prompt(seed, index)
    assert made == make_prompt(seed, index)
    words = split_words(made.text)
    assert made.view in ("AP", "PA") and made.view.lower() in words
    if made.age_group == "child":
        assert made.view == "AP" and made.sex is None and "child" in words
        assert made.finding in dict(CHILD_FINDINGS)
    else:
        assert made.finding in dict(ADULT_FINDINGS)
        assert {"F": "woman", "M": "man"}[made.sex] in words
        years = next(int(w) for w in words if w.isdigit() and int(w) >= 18)
        group = "young adult" if years < 40 else "middle-aged" if years < 65 else "elderly"
        assert made.age_group == group
    assert " a 8" not in made.text and " a 18" not in made.text


@given(seed=st.integers(0, 2**53), index=st.integers(0, 10**7))
def test_row_seeds_fit_every_json_reader(seed, index):
    assert 0 <= row_seed(seed, index) < 2**53


def test_seeds_and_prompts_differ_from_row_to_row_and_seed_to_seed():
    seeds = {row_seed(s, i) for s in range(3) for i in range(300)}
    assert len(seeds) == 900
    assert [make_prompt(0, i) for i in range(20)] != [make_prompt(1, i) for i in range(20)]


def test_weights_are_kept():
    drawn = [Choices(1, i).weighted("x", (("a", 3), ("b", 1))) for i in range(2000)]
    assert drawn.count("a") / 2000 == pytest.approx(0.75, abs=0.04)


def test_a_file_gives_one_prompt_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffFirst  film\r\n\r\n  second\n".encode())
    assert read_prompts(path) == ["First film", "second"]


def test_a_file_without_prompts_or_text_is_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text(" \n\n")
    with pytest.raises(ConfigError, match="no prompt in it; expected one a line"):
        read_prompts(path)
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match="cannot be read as UTF-8 text"):
        read_prompts(path)
