"""Maps of words as they form, by step and by resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungsynth.errors import ConfigError
from space.draw import actions, heat, study, watch
from space.page import text

PROMPT = "Chest X-ray with pneumonia"


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))


@pytest.fixture(scope="module")
def events(checkpoint: Path) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
        return list(actions.draw(PROMPT, 3, 6, 3.0, watched=["chest"]))


@pytest.fixture
def drawn(events: list) -> study.Study:
    return events[-1].study


def test_the_map_of_a_watched_word_forms_with_the_picture(events, drawn):
    told = [event for event in events[:-1] if event.preview is not None]
    assert len(told) >= 3 and all(list(event.heats) == ["chest"] for event in told)
    maps = [event.heats["chest"] for event in told]
    assert all(one.shape == (64, 64) and one.max() == 255 for one in maps)
    assert not np.array_equal(maps[0], maps[-1])
    final = np.abs(maps[-1].astype(int) - drawn.maps["chest"]).mean()
    assert final < np.abs(maps[0].astype(int) - drawn.maps["chest"]).mean()
    assert all(not event.heats for event in events[:-1] if event.preview is None)


def test_all_steps_together_are_the_words_own_map(drawn):
    formation = drawn.formation
    assert formation.steps == (1, 2, 3, 4, 5, 6) and len(formation.timesteps) == 6
    assert list(formation.timesteps) == sorted(formation.timesteps, reverse=True)
    for word in formation.words:
        whole = formation.heat(word, (64, 64)).astype(int)
        assert np.abs(whole - drawn.maps[word]).max() <= 2  # kept as float16


def test_a_step_alone_is_what_the_network_attended_to_in_it(drawn):
    """The library's own capture of every step is the reference."""
    from lungsynth.model.attention import Captured, word_map
    from lungsynth.model.sampling import SampleOptions, draw

    model = actions.synthesizer()
    options = SampleOptions(steps=6, guidance=3.0, keep_steps=True)
    captured = draw(model.pipe, [PROMPT], [3], options).captured
    tokens = model.check(PROMPT, ["pneumonia"])[1]["pneumonia"]
    formation = drawn.formation
    for step in (1, 4, 6):
        maps = {grid: one.float() for grid, one in captured.steps[step - 1].items()}
        alone = Captured(sums=maps, counts=dict.fromkeys(maps, 1))
        for grid in formation.resolutions:
            wanted = word_map(alone, 0, tokens, height=64, width=64, resolutions=[grid]).numpy()
            found = formation.heat("pneumonia", (64, 64), step=step, resolution=grid) / 255
            assert np.abs(found - wanted).max() < 0.02
    assert formation.resolutions == captured.resolutions


def test_steps_and_resolutions_can_be_looked_through(drawn):
    whole = heat.heat_overlay(drawn, ["chest"], 0.6)
    assert np.array_equal(whole, heat.heat_overlay(drawn, ["chest"], 0.6, step=0, resolution=""))
    first = heat.heat_overlay(drawn, ["chest"], 0.6, step=3)
    assert not np.array_equal(first, whole)
    base = heat.heat_overlay(drawn, ["chest"], 0.0, step=3)[..., 0]
    assert np.array_equal(base, drawn.formation.picture_at(3)[1])
    last = heat.heat_overlay(drawn, ["chest"], 0.0, step=6)[..., 0]
    assert np.array_equal(last, drawn.image)
    name = heat.grid_name(drawn.formation.resolutions[0])
    assert not np.array_equal(heat.heat_overlay(drawn, ["chest"], 0.6, resolution=name), whole)
    both = ["chest", "class left lung"]
    assert heat.heat_overlay(drawn, both, 0.6, step=2).shape == (64, 64, 3)
    told = text.moment(drawn, 3, name)
    assert f"in the layers of {name} alone, step 3 of 6 (noise level t = " in told
    assert text.moment(drawn, 0, "") == ""


@pytest.mark.parametrize(
    "values", [{"step": 7}, {"step": -1}, {"step": 1.5}, {"resolution": "9×9"}]
)
def test_a_step_or_resolution_that_is_not_there_is_refused(drawn, values):
    with pytest.raises(ConfigError, match=r"expected|there are"):
        heat.heat_overlay(drawn, ["chest"], 0.6, **values)


def test_what_is_kept_of_a_visitor_is_bounded(monkeypatch):
    monkeypatch.setattr(watch, "MAX_FRAMES", 4)
    *_, long = actions.draw("chest " * 10 + "pneumonia", 1, 11, 1.0)
    formation = long.study.formation
    assert formation.steps == (3, 6, 9, 11)
    assert [formation.frame_at(step) for step in (1, 3, 4, 11)] == [0, 0, 1, 3]
    assert "steps 4 to 6 of 11" in text.moment(long.study, 5, "")
    cells = sum(h * w for h, w in formation.resolutions)
    n_pictures = len(formation.pictures)
    assert formation.nbytes == 4 * len(formation.words) * cells * 2 + n_pictures * 64 * 64
    assert n_pictures <= 11 // (11 // 6) + 1
    *_, short = actions.draw("chest", 1, 1, 1.0)
    assert short.study.formation.steps == (1,) and short.study.formation.picture_at(1) is None


def test_the_word_worth_looking_at_comes_first():
    words = ["chest", "with", "pneumonia"]
    assert heat.telling(words) == ["pneumonia"]
    assert heat.telling(words, ["with", "zebra"]) == ["with"]
    assert heat.telling(["zebra", "with"]) == ["zebra"] and heat.telling([]) == []
