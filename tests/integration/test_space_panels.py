"""What the page's events give their components, called without a server."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from lungsynth.errors import ConfigError
from lungsynth.images import class_colour
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.measured import Measured
from lungsynth.permalink import Permalink
from space.draw import actions, compose, limits, study, tuning
from space.draw.model import MODEL_VARIABLE
from space.page import gallery, opening, panels, text, viewer
from space.page.controls import COMPOSED
from space.share import reports


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))
    for name in (reports.FOLDER_VARIABLE, reports.REPO_VARIABLE, reports.URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def drawn(checkpoint: Path) -> study.Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL_VARIABLE, str(checkpoint))
        *_, one = actions.draw(Permalink("Chest X-ray with pneumonia", 3, 3, 3.0), previews=False)
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
    _, prompt, seed, steps, guidance, size, convention, linked, unseen, begin, *more = (
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
    (warned,) = told
    assert warned.startswith("The link was made with other weights; the picture will differ.")
    assert "It was drawn with weights 00;" in warned
    controls = more[len(COMPOSED) :]
    values = [*(one["value"] for one in controls), linked]
    assert tuning.tuning_of(values).config(RefineConfig()) == linked.config()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"method": "cross"}, "can do"),
        ({"size": "100"}, "expected a multiple"),
        ({"size": "256"}, "more than the page keeps"),
        ({"classes": "v7"}, "masks by the rule `v7`"),
        ({"seed": "x"}, "expected a whole number"),
    ],
)
def test_a_link_that_cannot_be_drawn_is_told_and_not_used(told, query, message):
    answer = opening.opened(request(prompt="chest", **query))
    assert message in told[0] and answer[7] is None and answer[9] == ""


BROKEN = [
    *(("seed", one) for one in ("-1", "x", "1.5", "9007199254740992", "nan", "1e3")),
    *(("steps", one) for one in ("0", "101", "500", "9999", "-3", "2.5", "x")),
    *(("guidance", one) for one in ("0.5", "20.5", "50", "nan", "inf", "x")),
    *(("size", one) for one in ("big", "-3", "100", "9999999", "256x")),
    *(("method", one) for one in ("magic", "cross")),
    ("beta", "0"),
    ("beta", "wide"),
    ("crf.theta_beta", "-1"),
    ("clean_up", "maybe"),
    ("gammas", "2"),
    ("classes", "v9"),
    ("scheduler", "<b>"),
    ("precision", "a b"),
    ("row", "a b"),
]


def test_thirty_broken_links_get_a_clear_sentence_each_and_the_page_works(told):
    assert len(BROKEN) >= 30
    for name, value in BROKEN:
        told.clear()
        answer = opening.opened(request(prompt="chest", **{name: value}))
        [said] = told
        assert answer[7] is None and answer[9] == "", (name, value)
        assert said.endswith((".", "`.")) and len(said) < 300 and "e+" not in said, said
        assert "Traceback" not in said and "Error" not in said, said
    told.clear()
    assert opening.opened(request(prompt="chest"))[9].startswith("http") and not told


def test_a_link_may_ask_for_what_the_page_may_and_no_more(told):
    opening.opened(request(prompt="chest", steps="500"))
    opening.opened(request(prompt="chest", guidance="21"))
    opening.opened(request(prompt="chest", seed="-1"))
    assert [one.split("expected ")[1] for one in told] == [
        "a whole number from 1 to 100.",
        "a number from 1 to 20.",
        "a whole number from 0 to 9,007,199,254,740,991.",
    ]
    with pytest.raises(ConfigError, match=r"from 0 to 9,007,199,254,740,991\.$"):
        actions.check_numbers(-1, 20, 1.5)


def test_back_opens_what_the_address_asks_for(told):
    answer = opening.reopened("?prompt=chest%2C+pneumonia&seed=4&steps=3")
    assert answer[1:4] == ("chest, pneumonia", 4, 3) and answer[9].startswith("http")
    assert opening.reopened("?")[9] == "" and not told


def test_only_what_the_checkpoint_obeys_is_offered(monkeypatch, told):
    view, age, sex, findings, side = opening.opened(request())[10:15]
    assert view["visible"] and age["visible"] and sex["visible"] and not side["visible"]
    assert tuple(findings["choices"]) == compose.FINDINGS
    known = Measured(obeys={"sex": False, "side": True, "findings": ["tuberculosis"]})
    monkeypatch.setattr(opening, "measured", lambda: known)
    view, age, sex, findings, side = opening.opened(request())[10:15]
    assert side["visible"] and not sex["visible"] and findings["choices"] == ["tuberculosis"]


@pytest.mark.parametrize("method", ["none", "crf", "affinity", "sequential", "cross"])
def test_only_sliders_that_change_the_mask_are_seen(method):
    seen = {
        name
        for name, one in zip(text.TUNED, opening.sliders_of(method), strict=True)
        if one["visible"]
    }
    assert ("beta" in seen) == (method in ("affinity", "sequential", "cross"))
    assert ("grey_width" in seen) == (method not in ("none", "affinity"))
    assert ("n_gammas" in seen) == (method == "cross") and "ignore_band" in seen
    assert list(text.TUNED) == list(tuning.shown(RefineConfig()))[1:]


def test_the_page_without_a_link_keeps_what_it_shows(told):
    answer = opening.opened(request())
    assert answer[7] is None and answer[8] == answer[9] == "" and not told
    assert answer[5]["value"] == "" and answer[15]["value"] == RefineConfig().method
    assert opening.reset() == (*tuning.shown(RefineConfig()).values(), None, "")


def test_a_pinned_picture_is_compared_with_the_next(drawn):
    pinned, button, told = panels.pin([], [drawn], 0)
    assert len(pinned) == 1 and button["value"] == "Unpin" and "Change one thing" in told
    *_, other = actions.draw(Permalink("Chest X-ray with pneumonia", 4, 3, 3.0), previews=False)
    html = panels.compare(pinned, [other.study], 0)
    assert html.count("<img") == 3 and "seed: 3 → 4" in html and "grey values differ by" in html
    assert "prompt" not in html.split("Changed:")[1].split("</p>")[0]
    asked = (*tuning.shown(RefineConfig(method="none")).values(), None)
    panels.remask([drawn], 0, *asked)
    odd = panels.compare([replace(drawn, prompt='<b>"')], [other.study], 0)
    assert "<b>" not in odd and '<b>"' not in odd  # what was typed is never markup
    assert "the mask’s settings" in panels.compare(pinned, [drawn], 0)
    assert panels.pin(pinned, [drawn], 0)[0] == []
    study.make(drawn, tuning.Tuning())


def test_the_viewer_is_given_every_stage_in_use(drawn):
    value = viewer.shown_studies([drawn], rules=[("crf", drawn.made.mask)])
    [item] = value["items"]
    groups = [frame["group"] for frame in item["frames"]]
    assert groups == ["Words", "Reading", "Threshold", "CRF", "Mask"]  # drawn without previews
    assert groups[item["start"]] == "Words" and item["size"] == [64, 64]
    assert [one["name"] for one in item["classes"]] == ["left lung", "right lung"]
    words = item["frames"][0]
    with Image.open(io.BytesIO(base64.b64decode(words["sheet"].partition(",")[2]))) as sheet:
        assert sheet.height % len(item["words"]) == 0
    assert len(words["place"]) == len(item["words"]) and item["rules"][0]["name"] == "crf"
    assert all(one["told"].endswith("not measured.") for one in item["words"])
    assert drawn.prompt in item["alt"] and "lung covers" in item["alt"]
    json.dumps(value)


def test_an_age_that_nobody_gave_is_not_written():
    for age in (0, None):
        assert (
            opening.write_prompt("PA", age, "woman", [], "") == "Frontal PA chest X-ray of a woman"
        )


def test_the_viewer_begins_at_the_mask_where_no_word_is_worth_a_look_first():
    *_, one = actions.draw(Permalink("PA view, 60-year-old woman", 3, 2, 1.5), previews=False)
    item = viewer.study_item(one.study, Measured())
    assert item["frames"][item["start"]]["title"] == "Mask"


def test_of_a_word_never_seen_the_legend_says_so():
    *_, one = actions.draw(Permalink("Chest X-ray with a zebra", 3, 2, 1.5), previews=False)
    words = viewer.study_item(one.study, Measured())["words"]
    told = {word["word"]: word["told"] for word in words}
    assert told["zebra"] == "“zebra” was never seen in training: its map says nothing."
    assert told["chest"] == "“chest”: not measured."


def test_a_word_has_the_colour_of_its_class_from_the_first_step_on():
    asked = Permalink("Chest X-ray with pneumonia in the right lung", 3, 3, 1.5)
    forming, *_, finished = actions.draw(asked)
    colours = []
    for item in (
        viewer.forming_item(forming, asked.prompt),
        viewer.study_item(finished.study, Measured()),
    ):
        [colour] = [one["colour"] for one in item["words"] if one["word"] == "right lung"]
        colours.append(colour)
    assert colours == [list(class_colour(2))] * 2


def test_a_picture_of_the_gallery_fills_in_its_prompt_and_seed(drawn):
    picked = panels.choose([], SimpleNamespace(index=1))
    assert picked[1:3] == (gallery.CHOSEN[1][0], gallery.CHOSEN[1][1])
    assert panels.choose([drawn, drawn], SimpleNamespace(index=1))[0] == 1


def test_a_report_goes_where_the_maintainer_wants_it_and_not_too_often(
    drawn, monkeypatch, tmp_path
):
    monkeypatch.setenv(reports.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(panels, "REPORTS", limits.RateLimit(2, 3600))
    precision = drawn.record["options"]["precision"]  # what this machine draws in
    opened = Permalink(drawn.prompt, 3, 3, 3.0, precision=precision, row="s0-0000001")
    asked = ([drawn], 0, opened, ["border"], "", False)
    assert "it was sent" in panels.report(*asked, request())
    assert "it was sent" in panels.report(*asked[:-1], True, request())
    with pytest.raises(gr.Error, match="2 reports within the hour"):
        panels.report(*asked, request())
    with pytest.raises(gr.Error, match="tick one"):
        panels.report(*asked[:3], [], "", False, request())
    kept = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert sorted(str(one["prompt"]) for one in kept) == ["Chest X-ray with pneumonia", "None"]
    assert [one["row"] for one in kept] == ["s0-0000001"] * 2
    assert "10.0.0.9" not in json.dumps(kept)
    assert "Draw a picture first" in panels.report([], 0, None, ["border"], "", False, request())
