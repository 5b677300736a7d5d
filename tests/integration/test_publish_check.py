"""`python -m publish check`: a good dataset passes, and each fault is found by the check it is for."""

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
from datasets import Features
from publishing import contents, run_publish

from lungsynth.files import file_sha256
from lungsynth.images import png_bytes
from publish.check.checks import check
from publish.check.files import card_problems, croissant_problems, load_problems, text_problems
from publish.check.rows import row_problems
from publish.data.manifest import read_manifest
from publish.data.rows import decode
from publish.data.schema import SCHEMA_VERSION
from publish.data.shards import shard_metadata, write_shard


@pytest.fixture
def copy(dist: Path, tmp_path: Path) -> Path:
    """The dataset, to be broken."""
    return shutil.copytree(dist, tmp_path / "dist")


def edit_rows(out: Path, change: Callable[[list[dict[str, Any]]], None], which: int = 0) -> Any:
    """Change the rows of a shard as a forger would: the manifest fits again. Gives the manifest."""
    manifest = read_manifest(out)
    shard = manifest.shards[which]
    table = pq.read_table(out / shard.name)
    rows, told = table.to_pylist(), shard_metadata(out / shard.name)
    change(rows)
    new = write_shard(
        rows,
        Features.from_arrow_schema(table.schema),
        out,
        shard.name,
        metadata=told,
        split=shard.split,
    )
    shards = tuple(new if s.name == new.name else s for s in manifest.shards)
    done = dataclasses.replace(manifest, shards=shards)
    done.write(out)
    return done


def relist(out: Path) -> None:
    """Let the manifest fit the other files again."""
    manifest = read_manifest(out)
    files = tuple(
        dataclasses.replace(
            f, sha256=file_sha256(out / f.name), n_bytes=(out / f.name).stat().st_size
        )
        for f in manifest.files
    )
    dataclasses.replace(manifest, files=files).write(out)


def test_a_good_dataset_passes_every_check(dist):
    before = contents(dist)
    ran = run_publish("check", dist, "--json")
    assert ran.code == 0, ran.out
    told = json.loads(ran.out)
    assert told["ok"] is True and all(one["ok"] for one in told["checks"])
    assert [one["name"] for one in told["checks"]] == [
        "files and hashes",
        "rows",
        "card",
        "sources",
        "croissant",
        "private text",
        "memorisation",
        "obedience",
        "masks",
        "load_dataset",
    ]
    verdicts = {one["name"]: one["verdict"] for one in told["checks"]}
    unmeasured = [name for name, verdict in verdicts.items() if verdict == "not measured"]
    assert unmeasured == ["memorisation", "obedience", "masks"]
    assert set(verdicts.values()) == {"ok", "not measured"}
    assert contents(dist) == before


def cell(array: np.ndarray) -> dict[str, Any]:
    return {"bytes": png_bytes(array), "path": "x.png"}


def set_mask(value: int) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        mask = decode(rows[0]["mask"], "").copy()
        mask[0, 0] = value
        rows[0]["mask"] = cell(mask)

    return change


def jpeg(rows: list[dict[str, Any]]) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(decode(rows[0]["image"], "")).save(buffer, "JPEG")
    rows[0]["image"] = {"bytes": buffer.getvalue(), "path": "x.jpg"}


ROW_FAULTS: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "foreign mask value": (set_mask(9), "mask holds [9]"),
    "ignore where none was asked for": (set_mask(255), "mask holds [255]"),
    "mask of other size": (
        lambda r: r[0].update(mask=cell(np.zeros((8, 8), np.uint8))),
        "mask (8, 8)",
    ),
    "JPEG": (jpeg, "expected PNG of mode L"),
    "colour": (lambda r: r[0].update(mask=cell(np.zeros((64, 64, 3), np.uint8))), "of mode RGB"),
    "no picture": (lambda r: r[0].update(image={"bytes": b"no", "path": "x"}), "no picture in it"),
    "not marked": (
        lambda r: r[0].update(
            image={"bytes": png_bytes(decode(r[0]["image"], ""), synthetic=False), "path": "x.png"}
        ),
        "image is not marked as synthetic",
    ),
    "the same picture": (lambda r: r[1].update(image=r[0]["image"]), "the same picture as row"),
    "the same id": (lambda r: r[1].update(id=r[0]["id"]), "the id is not unique"),
    "area": (lambda r: r[0].update(area_left_lung=0.5), "area of left lung is"),
    "box": (lambda r: r[0].update(box_left_lung=[0, 0, 1, 1]), "the box of left lung"),
    "trust": (lambda r: r[0].update(trust=0.123), "trust is not the mean"),
    "group": (lambda r: r[0].update(prompt_group="0" * 16), "prompt_group is not that"),
    "split": (lambda r: r[0].update(split="test"), "says split 'test'"),
    "not synthetic": (lambda r: r[0].update(synthetic=False), "synthetic is False"),
    "soft of other size": (
        lambda r: r[0].update(probability_left_lung=cell(np.zeros((8, 8), np.uint8))),
        "probability_left_lung (8, 8)",
    ),
}


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_a_fault_of_a_row_is_found(copy, fault):
    change, message = ROW_FAULTS[fault]
    manifest = edit_rows(copy, change)
    found = list(row_problems(copy, manifest))
    assert any(message in one for one in found), found


def test_a_prompt_or_seed_in_two_splits_is_found(copy):
    first = pq.read_table(copy / read_manifest(copy).shards[0].name).to_pylist()[0]

    def leak(rows: list[dict[str, Any]]) -> None:
        rows[0].update({k: first[k] for k in ("prompt", "prompt_group", "seed")})

    found = list(row_problems(copy, edit_rows(copy, leak, which=-1)))
    assert any("its prompt is also in split 'train'" in one for one in found)
    assert any("its seed is also in split 'train'" in one for one in found)


def test_rows_the_filter_should_have_kept_out_are_found(copy, monkeypatch):
    manifest = read_manifest(copy)
    limits = manifest.config["filter"] | {"apply": True, "max_area": 0.01, "min_area": 0.0}
    shards = tuple(dataclasses.replace(s, n_drawn=3 * s.n_rows) for s in manifest.shards)
    strict = dataclasses.replace(
        manifest, config=manifest.config | {"filter": limits}, shards=shards
    )
    found = list(row_problems(copy, strict))
    assert "drawn from another configuration than the manifest's" in found[0]
    monkeypatch.setattr("publish.check.rows._schema_problems", lambda *_: iter(()))
    found = list(row_problems(copy, strict))
    assert any("only 12 of 36 rows drawn passed the filter" in one for one in found)
    assert any("the filter finds" in one and "large left lung" in one for one in found)
    assert any("published although" in one for one in found)


def test_a_split_with_other_columns_is_found(copy):
    manifest = read_manifest(copy)
    shard = manifest.shards[-1]
    table = pq.read_table(copy / shard.name).drop_columns(["trust"])
    pq.write_table(table, copy / shard.name)
    [found] = row_problems(copy, manifest)
    assert "other columns than the dataset's (missing ['trust']" in found


def test_a_lost_row_is_found(copy):
    manifest = edit_rows(copy, lambda rows: rows.pop())
    shards = tuple(
        dataclasses.replace(s, n_rows=3) if i == 0 else s for i, s in enumerate(manifest.shards)
    )
    found = list(row_problems(copy, dataclasses.replace(manifest, shards=shards)))
    assert found == [f"{shards[0].name}: 2 rows; the manifest says 3"]


FILE_FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "corrupt shard": (
        lambda d: shard_of(d).write_bytes(shard_of(d).read_bytes()[:-9]),
        "changed since",
    ),
    "missing shard": (lambda d: shard_of(d).unlink(), "missing, or not a plain file"),
    "stale shard": (
        lambda d: shutil.copy(shard_of(d), d / "data" / "train-00000-of-00099.parquet"),
        "not in the manifest, but would be published",
    ),
    "edited card": (lambda d: (d / "README.md").write_text("x"), "README.md: changed since"),
    "notes": (lambda d: (d / "notes.txt").write_text("x"), "notes.txt: not in the manifest"),
    "edited count": (lambda d: edit_manifest(d, n_rows=99), "`n_rows` does not fit the rest"),
    "unfinished": (lambda d: edit_manifest(d, files=[]), "the build is not finished"),
    "a link": (
        lambda d: (
            (d / "id2label.json").unlink(),
            (d / "id2label.json").symlink_to("/etc/hostname"),
        ),
        "not a plain file",
    ),
}


def shard_of(dist: Path) -> Path:
    return sorted((dist / "data").iterdir())[0]


def edit_manifest(dist: Path, **changes: Any) -> None:
    value = json.loads((dist / "manifest.json").read_text())
    (dist / "manifest.json").write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_fault_of_a_file_is_found_and_ends_the_check(copy, fault):
    damage, message = FILE_FAULTS[fault]
    damage(copy)
    ran = run_publish("check", copy)
    assert ran.code == 3
    assert message in ran.out and ran.out.startswith("FAILED  files and hashes")
    assert "ok  rows" not in ran.out  # what is not the manifest's file is not read on
    assert "NOT fit to publish" in ran.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": [{"name": "../../etc/passwd"}]}, "cannot be understood"),
        (
            {"schema_version": 1},
            f"schema version 1, this program writes and reads {SCHEMA_VERSION}",
        ),
        ({"files": [{"name": "../x", "n_bytes": 1, "sha256": ""}]}, "leads out of the folder"),
        (
            {"files": [{"name": "/etc/passwd", "n_bytes": 1, "sha256": ""}]},
            "leads out of the folder",
        ),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(copy, change, message):
    edit_manifest(copy, **change)
    ran = run_publish("check", copy)
    assert ran.code == 1 and message in ran.err


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    ran = run_publish("check", tmp_path)
    assert ran.code == 1 and "no manifest.json" in ran.err


CARD_FAULTS = {
    "no front matter": (("---\n", "\n"), "no front matter"),
    "broken YAML": (("pretty_name:", "pretty_name: [\nx"), "front matter cannot be understood"),
    "other count": (("num_examples: 3", "num_examples: 4"), "the manifest says"),
    "other feature": (("mode: L", "mode: P"), "its features are not those"),
    "no licence": (("license: cc0-1.0", "license: ''"), "no licence"),
    "lost figure": (("figures/examples.png", "figures/other.png"), "shows figures/other.png"),
    "script": (("## Uses", "<script>x</script>\n\n## Uses"), "active HTML"),
    "wrong pattern": (("path: data/train-*", "path: data/tr-*"), "no file is called data/tr-*"),
    "no notice": (("Not for clinical use", ""), "does not say 'Not for clinical use'"),
}


@pytest.mark.parametrize("fault", CARD_FAULTS)
def test_a_fault_of_the_card_is_found(copy, fault):
    (old, new), message = CARD_FAULTS[fault]
    card = (copy / "README.md").read_text()
    assert old in card
    (copy / "README.md").write_text(card.replace(old, new))
    found = list(card_problems(copy, read_manifest(copy)))
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["recordSet"][1]["field"][0]["source"].update(fileSet={"@id": "nowhere"}),
            "nowhere",
        ),
        (lambda c: c["distribution"][0].update(sha256="0" * 64), "its files are not the shards"),
        (lambda c: c.update(version="9.9.9"), "version 9.9.9"),
        (lambda c: c["distribution"][0].pop("contentUrl"), "contentUrl"),
    ],
)
def test_a_fault_of_croissant_is_found(copy, change, message):
    path = copy / "croissant.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    found = list(croissant_problems(copy, read_manifest(copy)))
    assert any(message in one for one in found), found


def test_croissant_gives_the_same_pictures(dist):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlcroissant as mlc

        dataset = mlc.Dataset(str(dist / "croissant.json"))
        rows = list(dataset.records("train"))
    manifest = read_manifest(dist)
    assert len(rows) == manifest.splits["train"]
    kept = pq.read_table(dist / manifest.shards[0].name).to_pylist()[0]
    [same] = [r for r in rows if r["train/id"].decode() == kept["id"]]
    for column in ("image", "mask"):
        assert np.array_equal(np.asarray(same[f"train/{column}"]), decode(kept[column], column))
    told = json.loads((dist / "croissant.json").read_text())
    fields = {f["name"]: f for f in told["recordSet"][1]["field"]}
    assert "cr:SegmentationMask" in fields["mask"]["dataType"]
    assert told["rai:hasSyntheticData"] is True and told["prov:wasGeneratedBy"]["@type"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Chest film of Mr Smith", "a person's title"),
        ("chest film of 12.03.1971", "a date"),
        ("chest film, record 12345678", "a number like a record's"),
        ("chest film, call +49 30 1234567", "a telephone number"),
        ("chest film hf_" + "a" * 34, "a Hub token"),
        ("chest film /home/ann/x.png", "a place on this"),
        ("chest film ann@example.org", "an e-mail address"),
    ],
)
def test_private_text_in_a_prompt_is_found(copy, text, message):
    manifest = edit_rows(copy, lambda rows: rows[0].update(prompt=text))
    found = list(text_problems(copy, manifest))
    assert any(message in one for one in found), found
    assert not any("a" * 20 in one for one in found)  # a token is not told in full


def test_private_text_in_files_is_found_but_the_contact_is_allowed(copy):
    manifest = read_manifest(copy)
    card = (copy / "README.md").read_text()
    place = "/".join(["", "root", "x"])
    (copy / "README.md").write_text(card + f"\nwritten by ann@example.org in {place}\n")
    found = list(text_problems(copy, manifest))
    assert len(found) == 2 and "e-mail" in found[1] and "place" in found[0]
    allowed = dataclasses.replace(manifest, card=manifest.card | {"contact": "ann@example.org"})
    assert len(list(text_problems(copy, allowed))) == 1


def neighbours(tmp_path: Path, listed: list[str], n: int = 12) -> Path:
    """A result like that of `lungsynth evaluate neighbours`."""
    share = {"share": {"value": 0.01, "low": 0, "high": 0.02}, "threshold": 1.0}
    measure = {
        "synthetic": {"median": 2.0},
        "real_test": {"median": 2.1},
        "below_percentile_of_test": {"0.1": share},
    }
    path = tmp_path / "neighbours.json"
    path.write_text(
        json.dumps(
            {
                "n": {"synthetic": 12, "train": 30, "test": 10},
                "measures": {"encoder": measure},
                "closer_than_test_0.1": listed,
                "seed": 0,
                "encoder": "shipped",
                "pictures": [
                    {"picture": f"s0-{k:07d}", "encoder": {"film": "patient-7", "distance": 0.5}}
                    for k in range(n)
                ],
            }
        )
    )
    return path


def test_a_listed_copy_stops_the_release_until_it_is_withdrawn(copy, checkpoint, tmp_path):
    from publishing import build_options

    listed = neighbours(tmp_path, ["s0-0000001"])
    assert run_publish(*build_options(checkpoint, copy, "--memorisation", listed)).code == 0
    kept = (copy / "evaluation" / "memorisation.json").read_text()
    assert "patient-7" not in kept and "s0-0000001" in kept
    assert "1 picture(s) nearer" in (copy / "README.md").read_text()
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and "s0-0000001 lies nearer to a training film" in ran.out
    assert run_publish("erratum", copy, "--row", "s0-0000001", "--reason", "a copy").code == 0
    ran = run_publish("check", copy)
    assert ran.code == 0, ran.out


def test_a_dataset_that_does_not_load_is_found(copy):
    manifest = read_manifest(copy)
    card = (copy / "README.md").read_text()
    (copy / "README.md").write_text(card.replace("config_name: preview", "config_name: other", 1))
    assert any("config preview" in one for one in load_problems(copy, manifest))


def test_many_problems_are_counted_not_all_told(copy):
    for number in range(40):
        (copy / f"stray-{number}.txt").write_text("x")
    [done] = check(copy)
    assert len(done.problems) == 21 and done.problems[-1] == "… and 20 more"


def test_a_result_of_other_pictures_does_not_count(copy, checkpoint, tmp_path):
    from publishing import build_options

    listed = neighbours(tmp_path, [], n=10)
    assert run_publish(*build_options(checkpoint, copy, "--memorisation", listed)).code == 0
    ran = run_publish("check", copy, "--no-load")
    assert ran.code == 3 and "2 of 12 rows, s0-0000010 first, are not among the pictures" in ran.out
