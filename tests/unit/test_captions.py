"""Captions say what is true of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from lungsynth.films.framing import CLOSE_UPS, SHIFTED, WHOLE
from lungsynth.training.captions import (
    CLOSE_UP_ANATOMY,
    WHOLE_ANATOMY,
    caption,
    describe_findings,
    describe_framing,
    describe_patient,
)

SICK = {"view": "PA", "age": "60", "sex": "M", "findings": "effusion", "label": "effusion"}


def captions(
    fields: dict[str, str], framing: str, n: int = 300, text: str = "A film."
) -> list[str]:
    rng = np.random.default_rng(3)
    return [caption(text, fields, framing, rng) for _ in range(n)]


def test_every_framing_has_words() -> None:
    assert set(CLOSE_UP_ANATOMY) == {*CLOSE_UPS, *SHIFTED}


def test_a_close_up_of_one_lung_never_names_the_other() -> None:
    for side, other in (("right", "left"), ("left", "right")):
        for words in CLOSE_UP_ANATOMY[f"{side} lung"]:
            assert f"{side} lung" in words and other not in words


def test_sides_are_the_patients() -> None:
    """The patient's right lung is on the left of the picture."""
    assert CLOSE_UPS["right lung"][0] < 0.5 < CLOSE_UPS["left lung"][0]
    assert SHIFTED["shifted left"] < 0  # the square moves left in the picture: the left lung goes
    assert any("left lung cut off" in w for w in CLOSE_UP_ANATOMY["shifted left"])
    assert any("more of the right lung" in w for w in CLOSE_UP_ANATOMY["shifted left"])
    assert any("right lung cut off" in w for w in CLOSE_UP_ANATOMY["shifted right"])
    for words in CLOSE_UP_ANATOMY["shifted left"]:
        assert "more of the left" not in words and "right lung cut" not in words


@pytest.mark.parametrize("framing", sorted(CLOSE_UP_ANATOMY))
@pytest.mark.parametrize("fields", [SICK, {}], ids=["known", "unknown"])
def test_every_caption_of_a_part_names_it(framing: str, fields: dict[str, str]) -> None:
    for text in captions(fields, framing):
        assert any(w.lower() in text.lower() for w in CLOSE_UP_ANATOMY[framing]), text


def test_whole_chests_name_anatomy_only_at_times() -> None:
    said = [any(w.lower() in t.lower() for w in WHOLE_ANATOMY) for t in captions(SICK, WHOLE)]
    assert 0.25 < np.mean(said) < 0.6
    rng = np.random.default_rng(0)
    drawn = {describe_framing(WHOLE, rng) for _ in range(400)}
    assert drawn == {"", *WHOLE_ANATOMY}
    lungs = ["lung" in t.lower() for t in captions(SICK, WHOLE)]
    assert 0.15 < np.mean(lungs) < 0.55


def test_captions_depend_on_the_generator_only() -> None:
    assert captions(SICK, WHOLE) == captions(SICK, WHOLE)
    assert len(set(captions(SICK, WHOLE))) > 150


def test_the_films_own_text_is_used_when_nothing_else_is_known() -> None:
    assert set(captions({}, WHOLE, 200)) & {"A film."}
    for text in captions({"note": "x"}, WHOLE, 50):
        assert text.startswith("A film")


def test_nothing_is_invented() -> None:
    for text in captions({**SICK, "sex": "F"}, WHOLE, text=""):
        lowered = text.lower()
        assert " man" not in lowered and "child" not in lowered and "normal" not in lowered
        assert "ap " not in lowered and "None" not in text and "nan" not in lowered.split()


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({"age": "1-5"}, ("child", "toddler", "paediatric", "pediatric")),
        ({"age": "12", "sex": "F"}, ("12-year-old girl", "12-year-old female")),
        ({"age": "30", "sex": "M"}, ("30", "young adult", "adult male", "man", "male patient")),
        ({"sex": "F"}, ("woman", "female")),
        ({"age": "147"}, ("adult", "patient")),
        ({"age": "", "sex": ""}, ("adult", "patient")),
    ],
)
def test_patients(fields: dict[str, str], allowed: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        words = describe_patient(fields, rng)
        assert any(a in words for a in allowed), words
        assert "147" not in words


def test_age_groups_are_right() -> None:
    rng = np.random.default_rng(0)
    for age, wrong in (
        (30, ("elderly", "middle")),
        (50, ("elderly", "young")),
        (80, ("young", "middle")),
    ):
        for _ in range(200):
            words = describe_patient({"age": str(age), "sex": "M"}, rng)
            assert not any(w in words for w in wrong), words


def test_findings_are_a_subset_of_those_known() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        words = describe_findings({"findings": "Effusion|hernia|pleural_thickening"}, "", rng)
        assert words and "_" not in words
        for part in words.replace(" and ", ", ").split(", "):
            assert part in ("pleural effusion", "effusion", "hernia", "pleural thickening")
            seen.add(part)
    assert len(seen) == 4
    assert describe_findings({}, "", rng) == ""
    assert (
        describe_findings({"findings": "nan", "label": "covid-19"}, "", rng).lower().count("covid")
    )


def test_a_told_finding_keeps_its_side() -> None:
    fields = {"label": "tuberculosis", "source_set": "shenzhen"}
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = describe_findings(fields, "Chest X-ray. Right upper field tuberculosis.", rng)
        assert words.startswith("right upper") and "left" not in words
