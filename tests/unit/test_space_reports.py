"""Reports of bad masks: what is in them, where they go."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from lungsynth.errors import ConfigError, OutputError
from lungsynth.permalink import Permalink
from space.draw import actions, study
from space.draw.model import MODEL_VARIABLE
from space.page import text
from space.share import archive, reports

PROMPT = "Chest X-ray with pneumonia, Doe"


@pytest.fixture(scope="module")
def drawn(checkpoint: Path) -> study.Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL_VARIABLE, str(checkpoint))
        *_, one = actions.draw(Permalink(PROMPT, 3, 2, 3.0), previews=False)
        return one.study


@pytest.fixture(autouse=True)
def _no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (reports.FOLDER_VARIABLE, reports.REPO_VARIABLE, reports.URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reports, "_scheduler", None)


def test_a_report_says_what_is_wrong_and_how_it_was_made_but_not_the_prompt(drawn):
    asked = archive.permalink_of(drawn)
    made = reports.make_report(drawn, asked, ["sides", "border"], " left is right ")
    assert made["problems"] == ["border", "sides"] and made["note"] == "left is right"
    assert (made["seed"], made["steps"], made["guidance"]) == (3, 2, 3.0)
    assert made["prompt"] is None and "Doe" not in json.dumps(made)
    assert made["refine"]["method"] == "crf" and made["row"] is None
    assert made["weights"] == drawn.record["model_hash"] and len(made["mask_sha256"]) == 64
    with_it = reports.make_report(drawn, asked, ["other"], with_prompt=True)
    assert with_it["prompt"] == PROMPT


def test_the_mask_reported_is_the_mask_as_it_is_now(drawn):
    before = reports.make_report(drawn, archive.permalink_of(drawn), ["other"])
    study.make(drawn, study.Tuning(ignore_band=0.4))
    after = reports.make_report(drawn, archive.permalink_of(drawn), ["other"])
    study.make(drawn, study.Tuning())
    assert after["refine"]["ignore_band"] == 0.4 and before["refine"]["ignore_band"] == 0
    assert before["mask_sha256"] != after["mask_sha256"]
    assert before["image_sha256"] == after["image_sha256"]


@pytest.mark.parametrize(
    ("problems", "note"), [([], ""), (None, ""), (["<b>"], ""), (["other"], "a" * 501)]
)
def test_a_report_that_says_nothing_or_too_much_is_refused(drawn, problems, note):
    with pytest.raises(ConfigError, match=r"tick one|is none of|at most 500"):
        reports.make_report(drawn, archive.permalink_of(drawn), problems, note)


def test_without_a_place_nothing_is_kept_and_the_visitor_gets_the_file(drawn):
    sent = reports.hand_in(reports.make_report(drawn, archive.permalink_of(drawn), ["other"]))
    assert not sent.kept and sent.url == "" and not reports.keeps()
    assert json.loads(sent.data)["problems"] == ["other"]
    page = text.report_sent(sent)
    assert "Nothing was sent" in page and f'download="{sent.name}"' in page


def test_an_address_is_filled_in(drawn, monkeypatch):
    monkeypatch.setenv(reports.URL_VARIABLE, "https://example.org/new?body={report}")
    made = reports.make_report(drawn, archive.permalink_of(drawn), ["other"])
    sent = reports.hand_in(made)
    assert json.loads(unquote(sent.url.split("body=")[1])) == json.loads(sent.data)
    assert "open the form" in text.report_sent(sent) and not sent.kept
    long = reports.hand_in(made | {"note": "ü" * 4000})
    assert long.url == "https://example.org/new?body="
    monkeypatch.setenv(reports.URL_VARIABLE, "javascript:alert({report})")
    assert reports.hand_in(made).url == ""


def test_a_folder_takes_reports_until_it_is_full(drawn, monkeypatch, tmp_path):
    monkeypatch.setenv(reports.FOLDER_VARIABLE, str(tmp_path / "reports"))
    monkeypatch.setattr(reports, "MAX_KEPT", 2)
    made = reports.make_report(drawn, archive.permalink_of(drawn), ["other"])
    sent = [reports.hand_in(made) for _ in range(2)]
    kept = sorted((tmp_path / "reports").iterdir())
    assert kept == sorted(tmp_path / "reports" / one.name for one in sent)
    assert kept[0].read_bytes() == sent[0].data and sent[0].kept and reports.keeps()
    assert "it was sent" in text.report_sent(sent[0])
    with pytest.raises(OutputError, match="No more reports"):
        reports.hand_in(made)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(reports.FOLDER_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OutputError, match="could not be kept") as caught:
        reports.hand_in(made)
    assert str(tmp_path) not in str(caught.value)


def test_a_repository_is_synchronised_by_the_hub_library(drawn, monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    class Scheduler:
        def __init__(self, **options):
            import threading

            asked.update(options)
            self.folder_path, self.lock = options["folder_path"], threading.Lock()

    monkeypatch.setattr(huggingface_hub, "CommitScheduler", Scheduler)
    monkeypatch.setenv(reports.REPO_VARIABLE, "lab/reports")
    monkeypatch.setenv(reports.FOLDER_VARIABLE, str(tmp_path))
    made = reports.make_report(drawn, archive.permalink_of(drawn), ["other"])
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ConfigError, match="no token"):
        reports.hand_in(made)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    sent = [reports.hand_in(made) for _ in range(2)]
    assert all((tmp_path / one.name).is_file() for one in sent)
    assert asked["repo_id"] == "lab/reports" and asked["repo_type"] == "dataset"
    assert asked["private"] is True and asked["every"] == 10


def test_the_options_fit_the_hub_library_that_is_installed():
    import inspect

    from huggingface_hub import CommitScheduler

    there = set(inspect.signature(CommitScheduler.__init__).parameters)
    assert {
        "repo_id",
        "repo_type",
        "folder_path",
        "every",
        "path_in_repo",
        "private",
        "token",
    } <= there
