"""`publish replay`, `diff`, `erratum`: drawing rows again, comparing sets, withdrawing rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from publishing import build_options, contents, run_publish

from lungsynth.errors import ConfigError
from lungsynth.pipeline import Synthesizer
from publish.data.manifest import read_manifest
from publish.release.diff import diff, next_version


def ids_of(dist: Path) -> list[str]:
    return [
        one
        for shard in read_manifest(dist).shards
        for one in pq.read_table(dist / shard.name, columns=["id"])["id"].to_pylist()
    ]


def rows_of(*ids: str) -> list[str]:
    return [word for one in ids for word in ("--row", one)]


def test_every_row_is_drawn_again_pixel_for_pixel(dist, checkpoint):
    ran = run_publish("replay", dist, *rows_of(*ids_of(dist)), "--model", checkpoint, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert len(told) == 12 and all(one["identical"] for one in told)
    assert set(told[0]["max_difference"]) == {
        "image",
        "mask",
        "probability_left_lung",
        "probability_right_lung",
    }


def test_rows_of_a_batch_are_drawn_again_in_their_batch_and_once(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "dist"
    extra = ("--batch-size", 2, "--keep-attention", "--ignore-band", 0.2, "--classes", "right lung")
    assert run_publish(*build_options(checkpoint, out, *extra)).code == 0
    sizes, generate = [], Synthesizer.generate

    def counted(self, prompts, *args, **options):
        sizes.append(len(prompts))
        return generate(self, prompts, *args, **options)

    monkeypatch.setattr(Synthesizer, "generate", counted)
    asked = ids_of(out)[::-1]
    ran = run_publish("replay", out, *rows_of(*asked), "--model", checkpoint, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert [one["row"] for one in told] == asked
    assert sum(sizes) == len(asked) and max(sizes) == 2
    assert all(one["identical"] and one["batch_known"] for one in told)


def test_a_row_that_is_not_what_its_seed_gives_is_told(dist, checkpoint, tmp_path):
    from test_publish_check import edit_rows

    out = shutil.copytree(dist, tmp_path / "dist")
    first = ids_of(out)[0]
    edit_rows(out, lambda rows: rows[0].update(seed=1))
    ran = run_publish("replay", out, "--row", first, "--model", checkpoint)
    assert ran.code == 3 and f"{first}: DIFFERENT" in ran.out
    ran = run_publish("replay", out, "--row", first, "--model", checkpoint, "--tolerance", 255)
    assert ran.code == 0 and "DIFFERENT" in ran.out


def test_a_row_whose_mask_alone_differs_is_not_the_same(dist, checkpoint, tmp_path):
    from test_publish_check import edit_rows

    out = shutil.copytree(dist, tmp_path / "dist")
    first = ids_of(out)[0]
    edit_rows(out, lambda rows: rows[0].update(mask=rows[1]["mask"]))
    options = ["replay", out, "--row", first, "--model", checkpoint]
    ran = run_publish(*options)
    assert ran.code == 3 and f"{first}: DIFFERENT (largest difference: image 0, mask " in ran.out
    assert run_publish(*options, "--tolerance", 1).code == 0


def test_another_checkpoint_is_refused(dist, checkpoint, tmp_path):
    other = shutil.copytree(checkpoint, tmp_path / "other")
    (other / "tokens" / "left-lung.safetensors").unlink()
    (other / "classes.json").unlink()
    ran = run_publish("replay", dist, "--row", ids_of(dist)[0], "--model", other)
    assert ran.code == 1 and "did not draw this dataset" in ran.err
    ran = run_publish("replay", dist, "--row", "s9-1", "--model", checkpoint)
    assert ran.code == 1 and "holds no row 's9-1'" in ran.err


def test_an_erratum_of_every_row_is_refused_and_changes_nothing(dist, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    ran = run_publish("erratum", out, *rows_of(*ids_of(out)), "--reason", "x")
    assert ran.code == 1 and "no row would be left" in ran.err
    assert contents(out) == contents(dist)


def test_an_erratum_leaves_what_a_build_without_the_row_would_be(dist, checkpoint, tmp_path):
    out, fresh = shutil.copytree(dist, tmp_path / "a"), tmp_path / "b"
    gone = ids_of(dist)[4]
    assert (
        f"{gone} would leave data/"
        in run_publish("erratum", out, "--row", gone, "--reason", "x", "--dry-run").out
    )
    assert contents(out) == contents(dist)
    ran = run_publish("erratum", out, "--row", gone, "--reason", "the mask\nlies on <b>an arm</b>")
    assert ran.code == 0, ran.err
    assert gone not in ids_of(out) and len(ids_of(out)) == 11
    card = (out / "README.md").read_text()
    assert f"| {gone} | the mask lies on &lt;b&gt;an arm&lt;/b&gt; |" in card
    assert run_publish("check", out).code == 0
    # the same options resume it without drawing, and a build from nothing gives the same shards
    before = contents(out)
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert contents(out) == before
    fresh.mkdir()
    shutil.copy(out / "errata.jsonl", fresh)
    assert run_publish(*build_options(checkpoint, fresh)).code == 0
    shards = [name for name in before if name.startswith("data/")]
    assert all(contents(fresh)[name] == before[name] for name in shards)


def test_an_erratum_that_was_interrupted_is_ended_by_the_same_build(
    dist, checkpoint, tmp_path, monkeypatch
):
    out = shutil.copytree(dist, tmp_path / "dist")
    gone = ids_of(dist)[4]
    with monkeypatch.context() as patch:
        patch.setattr(
            "publish.build.errata._rewrite", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            from publish.build.errata import withdraw

            withdraw(out, {gone: "why"})
    assert gone in ids_of(out) and not read_manifest(out).is_complete
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert gone not in ids_of(out) and run_publish("check", out, "--no-load").code == 0
    (out / "errata.jsonl").unlink()  # withdrawn by mistake: the row is drawn again
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert all(contents(out)[n] == v for n, v in contents(dist).items() if n.startswith("data/"))


def test_an_erratum_of_a_row_that_is_not_there_is_refused(dist, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    ran = run_publish("erratum", out, "--row", "s0-99", "--reason", "x")
    assert ran.code == 1 and "holds no row 's0-99'" in ran.err
    gone = ids_of(dist)[0]
    assert run_publish("erratum", out, "--row", gone, "--reason", "first").code == 0
    ran = run_publish("erratum", out, "--row", gone, "--reason", "second")
    assert ran.code == 1 and "was withdrawn before: first" in ran.err
    (out / "errata.jsonl").write_text('{"id": 3}\n')
    ran = run_publish("erratum", out, "--row", ids_of(out)[0], "--reason", "x")
    assert ran.code == 1 and 'expected {"id": …, "reason": …}' in ran.err


@pytest.fixture(scope="module")
def more(dist, checkpoint, tmp_path_factory) -> Path:
    """The same set with three more rows."""
    out = tmp_path_factory.mktemp("more") / "dist"
    assert run_publish(*build_options(checkpoint, out, "--n", 15)).code == 0
    return out


def test_the_same_set_asks_for_no_version(dist):
    found = diff(dist, dist)
    assert found.bump == "none" and found.lines() == []


def test_more_rows_ask_for_a_minor_version(dist, more):
    found = diff(dist, more)
    assert found.bump == "minor" and len(found.rows_added) == 3
    assert not found.rows_changed and not found.rows_removed  # no row moved to another split
    ran = run_publish("diff", dist, more)
    assert ran.code == 0 and "1.0.0 -> 1.1.0 (minor)" in ran.out and "3 rows added" in ran.out


def test_fewer_rows_ask_for_a_major_version(dist, more):
    told = json.loads(run_publish("diff", more, dist, "--json").out)
    assert told["bump"] == "major" and told["new_version"] == "2.0.0"
    assert len(told["rows_removed"]) == 3


def test_a_withdrawn_row_asks_for_a_patch(dist, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    gone = ids_of(dist)[2]
    run_publish("erratum", out, "--row", gone, "--reason", "x")
    found = diff(dist, out)
    assert found.bump == "patch" and found.rows_withdrawn == (gone,) and not found.rows_removed


@pytest.mark.parametrize(
    ("extra", "bump", "what"),
    [
        (("--seed", 1), "major", "rows_removed"),
        (("--ignore-band", 0.2), "major", "rows_changed"),
        (("--no-keep-probability",), "major", "columns_removed"),
        (("--keep-attention",), "minor", "columns_added"),
        (("--shard-rows", 4), "patch", "files_changed"),
    ],
)
def test_a_change_asks_for_its_version(dist, checkpoint, tmp_path, extra, bump, what):
    out = tmp_path / "dist"
    assert run_publish(*build_options(checkpoint, out, *extra)).code == 0
    found = diff(dist, out)
    assert found.bump == bump and getattr(found, what)
    if bump == "patch":
        assert not (found.rows_changed or found.rows_added or found.rows_removed)


def test_fewer_classes_ask_for_a_major_version(dist, checkpoint, tmp_path):
    out = tmp_path / "dist"
    assert run_publish(*build_options(checkpoint, out, "--classes", "left lung")).code == 0
    assert diff(dist, out).classes_changed and diff(dist, out).bump == "major"
    back = diff(out, dist)
    assert back.classes_added and not back.classes_changed


def test_a_card_alone_asks_for_a_patch(dist, checkpoint, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    file = tmp_path / "release.yaml"
    file.write_text(
        "card: {title: Another name, contact: us, sources: [{name: A, licence: cc0-1.0}]}\n"
    )
    assert run_publish(*build_options(checkpoint, out, "--config", file)).code == 0
    assert "license: cc0-1.0" in (out / "README.md").read_text()
    found = diff(dist, out)
    assert found.bump == "patch" and "README.md" in found.files_changed
    assert found.lines()[0].startswith("The same rows; files changed: README.md")


def test_versions_are_raised_by_their_part():
    assert [next_version("1.2.3", b) for b in ("none", "patch", "minor", "major")] == [
        "1.2.3",
        "1.2.4",
        "1.3.0",
        "2.0.0",
    ]
    for version, bump in (("1.2", "patch"), ("1.2.x", "patch"), ("1.2.3", "huge")):
        with pytest.raises(ConfigError, match=r"expected X\.Y\.Z"):
            next_version(version, bump)
