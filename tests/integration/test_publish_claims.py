"""What a release claims: sources, licence, copies, obedience, masks; a claim without ground stops it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from publishing import UNMEASURED, build_options, run_publish
from test_publish_check import cell, edit_rows, relist

from lungsynth.about.figures import Figure, write_figures
from lungsynth.about.sources import SOURCES_NAME, Source, write_sources
from publish.card.markup import markdown_text
from publish.check.checks import check
from publish.check.measured import source_problems
from publish.check.rows import row_problems
from publish.data.manifest import read_manifest
from publish.data.rows import decode

NIH = Source("nih", "free-with-attribution", "NIH CC: no restrictions; attribution to NIH", n=940)
FILMS = Source("hannover", "cc-by-3.0", "CC BY 3.0 (Hannover Medical School)", n=205)
FIGURES = [
    Figure(
        kind="obedience",
        name="finding (adults)",
        about="finding",
        value=0.49,
        low=0.44,
        high=0.55,
        n=360,
        chance=0.5,
        real=0.88,
        command="python -m lungsynth evaluate obedience --data films.parquet",
    ),
    Figure(
        kind="masks", name="IoU, films", value=0.887, n=103, unit="number", command="evaluate masks"
    ),
]


@pytest.fixture
def copy(dist: Path, tmp_path: Path) -> Path:
    """The dataset, to be changed."""
    return shutil.copytree(dist, tmp_path / "dist")


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint, to be described otherwise; its weights, and so the rows, stay."""
    folder = shutil.copytree(checkpoint, tmp_path / "model" / checkpoint.name)
    (folder / SOURCES_NAME).unlink()
    return folder


def rebuild(model: Path, out: Path, *extra: object, unmeasured: bool = True) -> Any:
    """Everything but the rows again, which are there."""
    words = build_options(model, out, *extra)
    if not unmeasured:
        words = [word for word in words if word not in UNMEASURED]
    return run_publish(*words)


def verdicts(out: Path) -> dict[str, str]:
    return {one.name: one.verdict for one in check(out, load=False)}


def test_the_licence_follows_from_checkpoint_and_release(model, copy, tmp_path):
    write_sources(model, [NIH, FILMS])
    config = tmp_path / "release.yaml"
    config.write_text("card: {sources: [{name: NIH ChestX-ray14, licence: cc0-1.0}]}")
    ran = rebuild(model, copy, "--config", config)
    assert ran.code == 0, ran.err
    card = (copy / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card
    for told in (NIH.terms, FILMS.terms, "205", "NIH ChestX-ray14"):
        assert markdown_text(told) in card
    assert "free of conditions" not in card
    croissant = json.loads((copy / "croissant.json").read_text())
    assert croissant["license"].endswith("/licenses/by/4.0/")
    owed = {one["sc:name"]: one["sc:creditText"] for one in croissant["prov:wasDerivedFrom"]}
    assert owed == {"nih": NIH.terms, "hannover": FILMS.terms, "NIH ChestX-ray14": ""}
    assert verdicts(copy)["sources"] == "ok"


def lines_without(word: str) -> Callable[[str], str]:
    return lambda text: "".join(k for k in text.splitlines(keepends=True) if word not in k)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("README.md", lines_without("Hannover Medical School"), "leaves out hannover"),
        (
            "README.md",
            lambda t: t.replace("license: cc-by-4.0", "license: cc0-1.0"),
            "says licence cc0-1.0; from its sources follows cc-by-4.0",
        ),
        (
            "croissant.json",
            lambda t: t.replace("CC BY 3.0 (Hannover Medical School)", ""),
            "croissant.json: leaves out hannover",
        ),
    ],
)
def test_a_card_that_says_less_is_refused(model, copy, name, change, said):
    write_sources(model, [NIH, FILMS])
    assert rebuild(model, copy).code == 0
    path = copy / name
    path.write_text(change(path.read_text()))
    relist(copy)
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and said in ran.out
    [told] = source_problems(copy, read_manifest(copy))
    assert "\n" not in told


def test_a_source_left_out_of_the_manifest_is_found_where_the_checkpoint_is(
    model, copy, monkeypatch
):
    write_sources(model, [NIH, FILMS])
    assert rebuild(model, copy).code == 0
    manifest = read_manifest(copy)
    dataclasses.replace(manifest, sources=(NIH,)).write(copy)
    monkeypatch.setattr("lungsynth.model.checkpoint.CHECKPOINTS", model.parent)
    found = list(source_problems(copy, read_manifest(copy)))
    assert "leaves out hannover (images, cc-by-3.0), of which the checkpoint was made" in found[0]


def test_without_any_source_no_licence_is_known(model, copy):
    assert rebuild(model, copy).code == 0
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and "so no licence is known: put a sources.json into it" in ran.out


def test_unclear_terms_are_weighed_by_a_person_who_is_not_let_off(model, copy, tmp_path):
    write_sources(model, [FILMS, Source("shenzhen", "unknown", "no licence text found", n=559)])
    assert rebuild(model, copy).code == 0
    assert "A person must weigh the terms of: shenzhen." in (copy / "README.md").read_text()
    config = tmp_path / "release.yaml"
    config.write_text("card: {licence: cc0-1.0}")
    ran = rebuild(model, copy, "--config", config)
    assert ran.code == 1 and "looser than cc-by-4.0, for hannover asks for attribution" in ran.err
    config.write_text("card: {licence: cc-by-4.0}")
    assert rebuild(model, copy, "--config", config).code == 0
    card = (copy / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in card and "Decided by the maintainer. A person must" in card
    assert verdicts(copy)["sources"] == "ok"


def test_what_was_not_measured_is_no_ok(model, copy):
    write_sources(model, [NIH])
    ran = rebuild(model, copy, unmeasured=False)
    assert ran.code == 0, ran.err
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3
    for name in ("memorisation", "obedience", "masks"):
        assert f"NOT MEASURED  {name}\n" in ran.out
        [line] = [k for k in ran.out.splitlines() if f"--unmeasured {name}" in k]
        assert "nothing tells" in line
    assert "ok  memorisation" not in ran.out
    assert "Released without" not in (copy / "README.md").read_text()


@pytest.mark.parametrize("words", [(), ("--yes",), ("--dry-run",), ("--json", "--yes")])
def test_push_alone_stops_at_what_check_finds(model, copy, words):
    """Whether it would send, plan, or only look: nothing is asked of any Hub."""
    write_sources(model, [NIH])
    assert rebuild(model, copy, unmeasured=False).code == 0
    ran = run_publish("push", copy, "--repo", "lab/films", *words)
    assert ran.code == 8 and "Nothing was pushed" in ran.err
    assert "nothing tells" in ran.out and "--unmeasured memorisation" in ran.out
    if "--json" in words:
        told = json.loads(ran.out)
        verdicts = {one["name"]: one["verdict"] for one in told["checks"]}
        assert told["status"] == "not fit" and verdicts["memorisation"] == "not measured"
    assert rebuild(model, copy).code == 0
    assert run_publish("push", copy, "--repo", "lab/films", "--dry-run").code == 0


def test_a_release_without_it_is_knowing_and_the_card_says_so(model, copy):
    write_sources(model, [NIH])
    assert rebuild(model, copy).code == 0
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 0 and "NOT MEASURED  memorisation (released so knowingly" in ran.out
    card = copy / "README.md"
    assert "whether its pictures repeat training films" in card.read_text()
    card.write_text(lines_without("Released without")(card.read_text()))
    relist(copy)
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and "does not say what was released without" in ran.out


def test_figures_of_the_checkpoint_stand_in_the_card_beside_what_it_counts(model, copy):
    write_sources(model, [NIH])
    write_figures(model, FIGURES)
    assert rebuild(model, copy, unmeasured=False).code == 0
    told = verdicts(copy)
    assert told["obedience"] == told["masks"] == "ok" and told["memorisation"] == "NOT MEASURED"
    card = (copy / "README.md").read_text()
    [finding] = [k for k in card.splitlines() if k.startswith("| `finding` |") and "normal" in k]
    assert "49.0 %" in finding and "no better than guessing" in finding
    [view] = [k for k in card.splitlines() if k.startswith("| `view` |") and "AP " in k]
    assert view.endswith("| not measured |")
    assert "`python -m lungsynth evaluate obedience --data films.parquet`" in card
    assert "**Copies of training films**: not measured." in card
    assert "| IoU, films | 0.887, n = 103 |" in card
    (copy / "README.md").write_text(card.replace("49.0 %", "99.0 %"))
    relist(copy)
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and "leaves out finding (adults): 49.0 %" in ran.out


def test_rejects_by_reason_and_what_people_saw_stand_in_the_card(checkpoint, copy, tmp_path):
    config = tmp_path / "release.yaml"
    config.write_text("card: {by_eye: {n: 60, bad: 7, by: one of the authors}}")
    assert rebuild(checkpoint, copy, "--config", config).code == 0
    card = (copy / "README.md").read_text()
    assert (
        "one of the authors): 7 of 60 published pairs were bad (11.7 %, 95 % interval 4.8" in card
    )
    assert "| reason | rows | share of those drawn |" in card
    assert "are published all the same" in card
    config.write_text("card: {by_eye: {n: 6, bad: 7}}")
    ran = rebuild(checkpoint, copy, "--config", config)
    assert ran.code == 1 and "7 bad of 6" in ran.err


def test_a_bad_row_planted_is_found(copy, monkeypatch):
    """Its numbers fit its mask and it says that it passed; only the mask is wrong: sides are swapped."""

    def swap(rows: list[dict[str, Any]]) -> None:
        row = rows[0]
        mask = np.zeros_like(decode(row["mask"], ""))
        mask[10:50, 5:25], mask[10:50, 40:60] = 1, 2
        row["mask"], row["qc_flags"] = cell(mask), []
        row["area_left_lung"] = row["area_right_lung"] = 800 / mask.size
        row["box_left_lung"], row["box_right_lung"] = [5, 10, 20, 40], [40, 10, 20, 40]
        scores = {"area": 800 / mask.size, "parts": 1, "stability": 0.99}
        row["scores"] = json.dumps({"left lung": scores, "right lung": scores})

    manifest = edit_rows(copy, swap)
    row_id = pq.read_table(copy / manifest.shards[0].name, columns=["id"])["id"][0].as_py()
    first = f"{manifest.shards[0].name}, row {row_id}:"
    assert not [one for one in row_problems(copy, manifest) if "swapped" in one]
    filtered = manifest.config | {"filter": manifest.config["filter"] | {"apply": True}}
    monkeypatch.setattr("publish.check.rows._schema_problems", lambda *_: iter(()))
    found = row_problems(copy, dataclasses.replace(manifest, config=filtered))
    [told] = [one for one in found if "swapped" in one and one.startswith(first)]
    assert told.endswith("published, but the filter finds: swapped lung")
    dataclasses.replace(manifest, config=filtered).write(copy)
    for words in (("check", copy, "--no-load"), ("push", copy, "--repo", "lab/films", "--yes")):
        ran = run_publish(*words)
        assert ran.code == (3 if words[0] == "check" else 8)
        assert f"        {told}\n" in ran.out


def test_the_version_is_dated_once_and_the_date_is_cited(checkpoint, copy, monkeypatch):
    date = read_manifest(copy).date
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert rebuild(checkpoint, copy).code == 0
    assert read_manifest(copy).date == date  # a rebuild is no new version
    fresh = dataclasses.replace(read_manifest(copy), date="")
    fresh.write(copy)
    assert rebuild(checkpoint, copy).code == 0
    assert "  year = {1970}," in (copy / "README.md").read_text()
    assert json.loads((copy / "croissant.json").read_text())["datePublished"] == "1970-01-02"


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        ("https://example.org/take_down?a=1", "<https://example.org/take_down?a=1>"),
        ("films@example.org", "<films@example.org>"),
        ("the [front] desk", "the \\[front\\] desk"),
    ],
)
def test_a_contact_can_be_clicked_and_copied(contact, shown):
    from publish.card.markup import contact_link

    assert contact_link(contact) == shown
