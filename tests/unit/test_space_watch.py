"""Where words look: by step, on one fixed scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungsynth.permalink import Permalink
from space.draw import actions, heat, study, watch
from space.draw.model import MODEL_VARIABLE, synthesizer

PROMPT = "Chest X-ray with pneumonia"


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))


@pytest.fixture(scope="module")
def events(checkpoint: Path) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL_VARIABLE, str(checkpoint))
        return list(actions.draw(Permalink(PROMPT, 3, 6, 3.0, precision="auto")))


@pytest.fixture
def drawn(events: list) -> study.Study:
    return events[-1].study


def test_where_every_word_looks_is_told_with_the_picture_on_its_way(events):
    told = [event for event in events[:-1] if event.preview is not None]
    assert len(told) >= 3 and all(event.words == told[0].words for event in told)
    assert all(len(event.levels) == len(event.words) for event in told)
    assert not np.array_equal(told[0].levels, told[-1].levels)
    assert all(event.levels is None for event in events[:-1] if event.preview is None)


def test_a_step_alone_is_what_the_network_attended_to_in_it(drawn):
    """The library's own capture of every step is the reference."""
    from lungsynth.model.sampling import SampleOptions, draw

    model = synthesizer()
    options = SampleOptions(steps=6, guidance=3.0, keep_steps=True)
    captured = draw(model.pipe, [PROMPT], [3], options).captured
    formation = drawn.formation
    assert formation.steps == (1, 2, 3, 4, 5, 6)
    tokens = model.check(PROMPT, formation.words)[1]
    for step in (1, 4, 6):
        maps = {
            grid: np.stack(
                [one.float()[0, ..., list(tokens[word])].mean(-1) for word in formation.words]
            )
            for grid, one in captured.steps[step - 1].items()
        }
        wanted = heat.differences(formation.words, maps)
        assert np.abs(formation.differences(step) - wanted).max() < 0.02  # kept as float16
    mean = np.mean([formation.differences(step) for step in range(1, 7)], axis=0)
    assert np.corrcoef(formation.differences().ravel(), mean.ravel())[0, 1] > 0.99


def grid(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(len(rows), 8, 8)


FLAT = [1.0] * 64
CORNER = [4.0] * 8 + [1.0] * 56


def test_a_flat_map_is_flat_and_shows_no_place():
    found = heat.differences(["a", "b"], {(8, 8): grid(FLAT, FLAT)})
    assert not found.any() and not heat.has_place(found[0])
    assert not heat.level(found[0]).any()
    picture = np.full((16, 16), 90, np.uint8)
    laid = heat.lay_over(picture, found[0], (255, 0, 0))
    assert np.array_equal(laid, np.repeat(picture[..., None], 3, 2))


def test_what_every_word_does_is_no_place():
    words, maps = ["right", "in", "lung"], {(8, 8): grid(CORNER, CORNER, CORNER)}
    found = heat.differences(words, maps)
    assert np.abs(found).max() < 1e-6 and not any(heat.has_place(one) for one in found)


def test_a_place_has_the_same_scale_in_every_map():
    strong, weak = [9.0] * 16 + [1.0] * 48, [1.2] * 16 + [1.0] * 48
    found = heat.differences(["a", "b", "c"], {(8, 8): grid(strong, weak, FLAT)})
    assert heat.has_place(found[0]) and not heat.has_place(found[1])
    assert heat.level(found[0]).max() == 255  # not stretched: `b`'s own maximum is not 255
    assert heat.level(found[1]).max() < 60
    alone = heat.differences(["a"], {(8, 8): grid(strong)})  # against flat
    assert heat.has_place(alone[0])
    # a phrase is not counted into the mean of the words it is made of
    phrase = heat.differences(["a b", "a", "b"], {(8, 8): grid(strong, FLAT, FLAT)})
    assert np.allclose(phrase[0], np.array(strong).reshape(8, 8) / 3.0 - 1.0)


def test_coarse_layers_count_and_far_coarser_ones_do_not():
    coarse = np.ones((2, 2, 2), np.float32)
    coarse[0, 0, 0] = 9.0
    fine = np.ones((2, 8, 8), np.float32)
    both = heat.differences(["a", "b"], {(8, 8): fine, (2, 2): coarse})
    assert both.shape == (2, 8, 8) and heat.has_place(both[0])
    only = heat.differences(
        ["a", "b"], {(16, 16): np.ones((2, 16, 16), np.float32), (2, 2): coarse}
    )
    assert not heat.has_place(only[0])


def test_what_is_kept_of_a_visitor_is_bounded(monkeypatch):
    monkeypatch.setattr(watch, "MAX_FRAMES", 4)
    *_, long = actions.draw(Permalink("chest " * 10 + "pneumonia", 1, 11, 1.0))
    formation = long.study.formation
    assert formation.steps == (3, 6, 9, 11)
    assert [formation.frame_at(step) for step in (1, 3, 4, 11)] == [0, 0, 1, 3]
    cells = sum(h * w for h, w in formation.maps)
    n_pictures = len(formation.pictures)
    kept = [*formation.maps.values(), *formation.pictures.values()]
    assert (
        sum(one.nbytes for one in kept)
        == 4 * len(formation.words) * cells * 2 + n_pictures * 64 * 64
    )
    assert n_pictures <= 11 // (11 // 6) + 2
    *_, short = actions.draw(Permalink("chest", 1, 1, 1.0))
    assert short.study.formation.steps == (1,) and not short.study.formation.pictures


def test_the_word_worth_looking_at_comes_first():
    assert heat.telling(["chest", "with", "pneumonia"]) == "pneumonia"
    assert heat.telling(["zebra", "with"]) == "zebra" and heat.telling([]) == ""
