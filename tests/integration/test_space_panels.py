"""What the page's events give their components, called without a server."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from lungsynth.masks.refine import RefineConfig
from lungsynth.permalink import Permalink
from space.draw import actions, limits, study, tuning
from space.page import handlers, opening, panels
from space.share import reports

pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
    for name in (reports.FOLDER_VARIABLE, reports.REPO_VARIABLE, reports.URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def drawn(checkpoint: Path) -> study.Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
        *_, one = actions.draw("Chest X-ray with pneumonia", 3, 3, 3.0, previews=False)
        return one.study


def request(**query: str) -> Any:
    """A visitor's request, from elsewhere than this machine."""
    return SimpleNamespace(
        query_params=query,
        headers={"origin": "http://10.0.0.1"},
        client=SimpleNamespace(host="10.0.0.9"),
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: said.append(message))
    return said


def test_a_link_sets_every_control(told):
    _, prompt, seed, steps, guidance, size, convention, linked, unseen, begin, _, *controls = (
        opening.opened(
            request(
                prompt="chest",
                seed="4",
                steps="3",
                guidance="2",
                size="96",
                beta="16.3",
                min_part="0.1",
                row="s0-0000001",
                weights="00",
            )
        )
    )
    assert (prompt, seed, steps, guidance) == ("chest", 4, 3, 2.0)
    assert size["value"] == "96" and ("64 (trained at)", "") in size["choices"]
    assert convention["value"] == "" and linked.row == "s0-0000001"
    assert "row <code>s0-0000001</code>" in unseen and "min_part=0.1" in unseen
    assert begin.startswith("http")
    assert told == ["The link was made with other weights; the picture will differ."]
    values = [controls[0]["value"], *controls[1:], linked]
    assert tuning.tuning_of(values).config(RefineConfig()) == linked.config()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"method": "cross"}, "can do"),
        ({"size": "100"}, "expected a multiple"),
        ({"size": "256"}, "more than the page keeps"),
        ({"classes": "v7"}, "no such classes"),
        ({"seed": "x"}, "expected a whole number"),
    ],
)
def test_a_link_that_cannot_be_drawn_is_told_and_not_used(told, query, message):
    answer = opening.opened(request(prompt="chest", **query))
    assert message in told[0] and answer[7] is None and answer[9] == ""


def test_the_page_without_a_link_keeps_what_it_shows(told):
    answer = opening.opened(request())
    assert answer[7] is None and answer[8] == answer[9] == "" and not told
    assert answer[5]["value"] == "" and answer[11]["value"] == RefineConfig().method
    assert opening.reset() == (*tuning.shown(RefineConfig()).values(), None, "")


def test_two_drawings_follow_what_is_set_under_draw():
    asked = [*(tuning.shown(RefineConfig()) | {"method": "none"}).values(), None]
    *_, (status, first, second, told) = handlers.compare(
        "chest", 1, "chest", 2, 2, 1.0, "96", "", *asked
    )
    assert "Done" in status and "grey values differ by" in told
    for side in (first, second):
        pictures = re.findall(r"base64,([^\"]+)", side)
        assert [Image.open(io.BytesIO(base64.b64decode(one))).size for one in pictures] == [
            (96, 96)
        ] * 2
    *_, (_, plain, _, _) = handlers.compare("chest", 1, "chest", 2, 2, 1.0, "", "", *asked)
    assert plain != first


def test_the_legend_says_which_step_and_resolution(drawn):
    name = f"{drawn.formation.resolutions[0][0]}×{drawn.formation.resolutions[0][1]}"
    picture, legend = panels.look([drawn], 0, ["pneumonia", "chest"], 0.6, 2, name)
    assert "step 2 of 3" in legend and f"layers of {name} alone" in legend
    with Image.open(picture["value"]) as shown:
        assert shown.size == (64, 64) and shown.mode == "RGB"
    assert "step 2 of 3" in picture["alt_text"]
    assert "acted" not in panels.look([drawn], 0, ["pneumonia", "chest"], 0.6, 0, "")[1]
    with pytest.raises(gr.Error, match="there are"):
        panels.look([drawn], 0, ["chest"], 0.6, 0, "1×1")


def test_a_report_goes_where_the_maintainer_wants_it_and_not_too_often(
    drawn, monkeypatch, tmp_path
):
    monkeypatch.setenv(reports.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(panels, "REPORTS", limits.RateLimit(2, 3600))
    opened = Permalink(drawn.prompt, 3, 3, 3.0, row="s0-0000001")
    asked = ([drawn], 0, opened, ["border"], "", False)
    assert "it was sent" in panels.report(*asked, request())
    assert "it was sent" in panels.report(*asked[:-1], True, request())
    with pytest.raises(gr.Error, match="2 reports within the hour"):
        panels.report(*asked, request())
    with pytest.raises(gr.Error, match="tick one"):
        panels.report(*asked[:3], [], "", False, request())
    kept = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert sorted(str(one["prompt"]) for one in kept) == ["Chest X-ray with pneumonia", "None"]
    assert all(one["row"] == "s0-0000001" and "10.0.0.9" not in json.dumps(one) for one in kept)
    assert "Draw a picture first" in panels.report([], 0, None, ["border"], "", False, request())
