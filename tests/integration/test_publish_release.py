"""`publish release`: build, number, check and push to a local Hub, with the real clients."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset
from publishing import build_options, contents, run_publish

import publish.release.release
from publish.data.manifest import read_manifest
from publish.data.schema import SCHEMA_VERSION
from publish.release.release import last_tag

NAME = "lab/films"


def options(checkpoint: Path, out: Path, *extra: object) -> list[str]:
    return ["release", *build_options(checkpoint, out, "--repo", NAME, *extra)[1:]]


def test_three_releases_are_numbered_by_what_changed(hub, checkpoint, tmp_path):
    first, more = tmp_path / "first", tmp_path / "more"
    quick = ("--json", "--no-load", "--verify", "tree")
    ran = run_publish(*options(checkpoint, first, "--json", "--no-load"))
    assert ran.code == 0 and json.loads(ran.out)["status"] == "planned", ran.err

    ran = run_publish(*options(checkpoint, first, "--yes", "--json"))
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["status"] == "published" and told["tag"] == "v1.0.0"
    rows = load_dataset(NAME, revision="v1.0.0", split="train", cache_dir=str(tmp_path / "c"))
    assert len(rows) == read_manifest(first).splits["train"]

    before = contents(first)
    ran = run_publish(*options(checkpoint, first, "--yes", *quick))
    assert ran.code == 0 and json.loads(ran.out)["status"] == "nothing to do", ran.err
    assert contents(first) == before

    gone = load_dataset(NAME, split="test", cache_dir=str(tmp_path / "c"))[0]["id"]
    assert run_publish("erratum", first, "--row", gone, "--reason", "on an arm").code == 0
    card = (first / "README.md").read_text()
    mark = "<!-- human:limitations -->\n"
    (first / "README.md").write_text(card.replace(mark, mark + "Mind the arms.\n"))
    ran = run_publish(*options(checkpoint, first, "--yes", *quick))
    assert ran.code == 0 and json.loads(ran.out)["tag"] == "v1.0.1", ran.err

    # a new folder, and more rows: what was withdrawn stays so, what people wrote is kept
    ran = run_publish(*options(checkpoint, more, "--n", 15, "--yes", *quick))
    assert ran.code == 0 and json.loads(ran.out)["tag"] == "v1.1.0", ran.err
    assert read_manifest(more).withdrawn == {gone: "on an arm"} and read_manifest(more).n_rows == 14
    card = (more / "README.md").read_text()
    assert "Mind the arms." in card and "on an arm" in card
    entries = (more / "CHANGELOG.md").read_text()
    assert [entries.index(f"## {v}") for v in ("1.1.0", "1.0.1", "1.0.0")] == sorted(
        entries.index(f"## {v}") for v in ("1.1.0", "1.0.1", "1.0.0")
    )
    assert "3 rows added" in entries and "1 row withdrawn by an erratum" in entries
    for version, n in (("v1.0.0", 12), ("v1.0.1", 11), ("v1.1.0", 14)):
        held = load_dataset(NAME, revision=version, streaming=True)
        assert sum(1 for split in held.values() for _ in split) == n


def test_another_tag_than_the_computed_one_is_refused(hub, checkpoint, tmp_path):
    ran = run_publish(*options(checkpoint, tmp_path / "d", "--tag", "v2.0.0", "--yes", "--no-load"))
    assert ran.code == 1 and "asks for v1.0.0" in ran.err
    assert run_publish("push", tmp_path / "d", "--repo", NAME, "--json").code == 0


def test_a_failed_check_stops_before_the_push(hub, checkpoint, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("chest film of Mr Smith\nchest film\n")
    words = f"release --n 2 --steps 1 --no-filter --quiet --repo {NAME} --yes".split()
    given = ("--model", checkpoint, "--prompts", file, "--out", tmp_path / "d")
    ran = run_publish(*words, *given)
    assert ran.code == 8 and "a person's title" in ran.out and "Nothing was pushed" in ran.err
    assert "no such" in run_publish("push", tmp_path / "nothing", "--repo", NAME).err


def test_a_dry_run_asks_no_hub(checkpoint, tmp_path):
    ran = run_publish(*options(checkpoint, tmp_path / "d", "--dry-run", "--json", "--no-load"))
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["status"] == "dry run" and read_manifest(tmp_path / "d").is_complete


def test_who_draws_is_chosen_as_for_a_build(checkpoint, tmp_path, monkeypatch):
    asked = []
    original = publish.release.release.build
    monkeypatch.setattr(
        publish.release.release,
        "build",
        lambda *args, **named: asked.append(named) or original(*args, **named | {"workers": 1}),
    )
    dry = ("--dry-run", "--json", "--no-load")
    assert run_publish(*options(checkpoint, tmp_path / "d", "--workers", 3, *dry)).code == 0
    assert asked[0]["workers"] == 3 and asked[0]["engine"] is None
    ran = run_publish(*options(checkpoint, tmp_path / "e", "--engine-option", "time=1:00", *dry))
    assert ran.code == 2 and "name it with --engine" in ran.err


def test_the_highest_tag_is_the_last():
    tags = {"v1.9.0": "a", "v1.10.0": "b", "v0.99.99": "c", "v2": "d", "latest": "e"}
    assert last_tag(tags) == "v1.10.0"
    assert last_tag({"x": "a"}) is None


def as_of_an_earlier_schema(dist: Path, out: Path, version: str, *, columns: list[str]) -> Path:
    """A copy as a program with the schema before this one would have released it."""
    shutil.copytree(dist, out)
    told = json.loads((out / "manifest.json").read_text())
    for shard in told["shards"]:
        path = out / shard["name"]
        every = Features.from_arrow_schema(pq.read_schema(path))
        table = pq.read_table(path).drop_columns(columns)
        kept = Features({name: every[name] for name in table.column_names})
        footer = {**(pq.read_metadata(path).metadata or {}), **(kept.arrow_schema.metadata or {})}
        pq.write_table(table.replace_schema_metadata(footer), path)
        data = path.read_bytes()
        shard.update(sha256=hashlib.sha256(data).hexdigest(), n_bytes=len(data))
        shard["words"] = "a field this program does not know"
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    for info in card["dataset_info"]:
        info["features"] = [one for one in info["features"] if one["name"] not in columns]
    (out / "README.md").write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n{text}")
    log = (out / "CHANGELOG.md").read_text().replace("1.0.0", version)
    (out / "CHANGELOG.md").write_text(log)
    for file in told["files"]:
        data = (out / file["name"]).read_bytes()
        file.update(sha256=hashlib.sha256(data).hexdigest(), n_bytes=len(data))
    told |= {"schema_version": SCHEMA_VERSION - 1, "version": version}
    told["config"] |= {"schema_version": SCHEMA_VERSION - 1}
    (out / "manifest.json").write_text(json.dumps(told))
    return out


@pytest.mark.parametrize(
    "columns", [["mask_convention", "trust"], []], ids=["fewer columns", "same"]
)
def test_a_release_of_an_earlier_schema_is_followed_by_a_major_one(
    hub, dist, checkpoint, tmp_path, columns, monkeypatch
):
    old = as_of_an_earlier_schema(dist, tmp_path / "old", "1.4.2", columns=columns)
    asked = ("push", old, "--repo", NAME, "--tag", "v1.4.2", "--yes", "--verify", "tree")
    for one in (("check", old), asked):  # it is another program's to check and to push
        assert run_publish(*one).code == 1
    with monkeypatch.context() as unchecked:
        unchecked.setattr("publish.commands.run.push.check", lambda dist, *, load=True: [])
        unchecked.setattr("publish.data.manifest.SCHEMA_VERSION", SCHEMA_VERSION - 1)
        assert run_publish(*asked).code == 0
    ran = run_publish(*options(checkpoint, tmp_path / "new", "--yes", "--json", "--no-load"))
    assert ran.code == 0 and json.loads(ran.out)["tag"] == "v2.0.0", ran.err
    entries = (tmp_path / "new" / "CHANGELOG.md").read_text()
    said = f"Schema version {SCHEMA_VERSION - 1} -> {SCHEMA_VERSION}."
    assert said in entries and entries.index("## 2.0.0") < entries.index("## 1.4.2")
    assert all(column in entries for column in columns)
    repo = hub.repo("dataset", NAME)
    assert set(repo.tags) == {"v1.4.2", "v2.0.0"} and repo.tags["v2.0.0"] == repo.head.sha
    told = json.loads(run_publish("diff", old, tmp_path / "new", "--json").out)
    assert told["bump"] == "major" and told["schema"] == [SCHEMA_VERSION - 1, SCHEMA_VERSION]
    assert told["columns_added"] == columns and not told["rows_changed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1},
            f"schema version {SCHEMA_VERSION + 1}, this program writes",
        ),
        (
            {"schema_version": SCHEMA_VERSION - 1, "shards": [{"file": "x"}]},
            "cannot be understood",
        ),
        (
            {
                "schema_version": SCHEMA_VERSION - 1,
                "shards": [
                    {"name": "../x", "n_rows": 1, "n_bytes": 1, "memory_bytes": 1, "sha256": ""}
                ],
            },
            "leads out of",
        ),
        ({"schema_version": "two"}, "cannot be understood"),
    ],
)
def test_a_previous_release_that_cannot_be_understood_is_refused(
    dist, checkpoint, tmp_path, change, words
):
    old = shutil.copytree(dist, tmp_path / "old")
    told = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps(told | change))
    ran = run_publish(*options(checkpoint, tmp_path / "d", "--previous", old, "--dry-run"))
    assert ran.code == 1 and words in ran.err and len(ran.err.splitlines()) == 1
    assert not (tmp_path / "d").exists()
