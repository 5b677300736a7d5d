"""`train student` and `train affinity` from the command line, and what they change."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import film, png

Cli = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quick_tokens")
STEPS = ("--steps", 3, "--batch-size", 2, "--quiet", "--limit", 3)


@pytest.fixture
def own(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that may be changed."""
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_student_then_affinity_then_every_refinement(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run_cli(
        "train",
        "student",
        "--checkpoint",
        own,
        "--out",
        tmp_path / "s",
        "--data",
        parquet,
        "--annotated",
        f"{parquet}@2",
        "--install",
        *STEPS,
        "--steps",
        150,
        "--lr",
        5e-3,
    )
    assert ran.code == 0, ran.err
    assert "2 films with expert masks, 3 labelled by the chain" in ran.err
    about = json.loads((own / "student" / "student.json").read_text())
    assert about["outputs"] == ["/left lung", "/right lung"]
    assert len(about["info"]["annotated"].split(",")) == 2
    on = ("--init-from", own / "student", "--annotated", f"{parquet}@2", "--checkpoint", own)
    ran = run_cli("train", "student", *on, "--out", tmp_path / "on", *STEPS)
    assert ran.code == 0, ran.err
    later = json.loads((tmp_path / "on" / "student" / "student.json").read_text())
    first = hashlib.sha256((own / "student" / "student.safetensors").read_bytes()).hexdigest()
    assert later["info"]["init_from"] == first[:16] and "init_from" not in about["info"]
    # a network of three steps walks everything to one class; what it hands on is another test's
    coarse: list[Any] = []
    seen = "lungsynth.cli.run.train_masks.walked_labels"
    monkeypatch.setattr(seen, lambda model, images, maps, before: coarse.append(maps) or half)
    half = np.tile(np.repeat(np.arange(2, dtype=np.uint8), 128).reshape(16, 16), (3, 1, 1))
    ran = run_cli(
        "train",
        "affinity",
        "--checkpoint",
        own,
        "--out",
        tmp_path / "a",
        "--data",
        parquet,
        "--install",
        "--student-weight",
        1,
        "--rounds",
        2,
        *STEPS,
    )
    assert ran.code == 0, ran.err
    assert ran.err.count("of their places certain") == 2 and "100.0% of" in ran.err
    assert [maps.shape for maps in coarse] == [(3, 3, 16, 16)]
    np.testing.assert_allclose(coarse[0].sum(1), 1, atol=2e-3)
    about = json.loads((own / "affinity" / "affinity.json").read_text())
    assert about["info"]["round"] == "2"
    assert (tmp_path / "a" / "round-1" / "affinity" / "affinity.safetensors").is_file()
    # three rounds would end where two have ended, in --out
    again = ("train", "affinity", "--checkpoint", own, "--out", tmp_path / "a", "--data", parquet)
    ran = run_cli(*again, "--student-weight", 1, "--rounds", 3, *STEPS)
    assert ran.code != 0 and "made with other options" in ran.err
    picture, _ = film(1)
    Image.fromarray(picture).save(tmp_path / "x.png")
    for method in ("affinity", "sequential", "cross", "cross-product", "cross-mutual"):
        out = tmp_path / method
        ran = run_cli(
            "segment",
            tmp_path / "x.png",
            "--model",
            own,
            "--refine",
            method,
            "--out",
            out,
            "--quiet",
        )
        assert ran.code == 0, ran.err
        mask = np.asarray(Image.open(out / "x.png" / "mask.png"))
        assert mask.shape == picture.shape and set(np.unique(mask)) <= {0, 1, 2}


def test_a_finished_run_is_not_labelled_again_and_other_options_are_refused(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    options = ("train", "student", "--checkpoint", own, "--out", out, "--data", parquet, *STEPS)
    assert run_cli(*options).code == 0
    before = (out / "films.npz").stat().st_mtime_ns
    assert run_cli(*options).code == 0
    assert (out / "films.npz").stat().st_mtime_ns == before
    ran = run_cli(*options, "--seed", 5)
    assert ran.code != 0
    assert "other options" in ran.err


def test_walks_without_a_network_say_what_to_do(run_cli: Cli, own: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(film(1)[0]))
    ran = run_cli(
        "segment",
        tmp_path / "x.png",
        "--model",
        own,
        "--refine",
        "sequential",
        "--out",
        tmp_path / "o",
    )
    assert ran.code != 0
    assert "train affinity" in ran.err
    assert not (tmp_path / "o" / "x.png").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--annotated, --data"),
        (("--annotated", "x.parquet@none"), "no number of films"),
        (("--annotated", "nlm={parquet}"), "no such classes"),
        (("--annotated", "{parquet}@99"), "99 are needed"),
    ],
)
def test_bad_options_are_refused(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    given = [one.format(parquet=parquet) for one in options]
    ran = run_cli("train", "student", "--checkpoint", own, "--out", tmp_path / "s", *given, *STEPS)
    assert ran.code != 0
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_a_second_convention_goes_to_its_own_classes(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path
) -> None:
    ran = run_cli(
        "learn-token",
        "--data",
        parquet,
        "--class",
        "lung",
        "--id",
        1,
        "--convention",
        "nlm",
        "--checkpoint",
        own,
        "--quiet",
    )
    assert ran.code == 0, ran.err
    assert len(json.loads((own / "classes.json").read_text())["classes"]) == 2
    spec = json.loads((own / "classes-nlm.json").read_text())
    assert (spec["convention"], [c["name"] for c in spec["classes"]]) == ("nlm", ["lung"])
    (tmp_path / "x.png").write_bytes(png(film(1)[0]))
    ran = run_cli(
        "segment",
        tmp_path / "x.png",
        "--model",
        own,
        "--classes",
        "nlm",
        "--out",
        tmp_path / "o",
        "--quiet",
    )
    assert ran.code == 0, ran.err
    record = json.loads((tmp_path / "o" / "x.png" / "record.json").read_text())
    assert record["classes"] == {"1": "lung"}


def test_films_to_annotate_are_suggested_and_can_be_named(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path
) -> None:
    base = ("learn-token", "--data", parquet, "--checkpoint", own, "--quiet")
    ran = run_cli(*base, "--k", 3, "--suggest")
    assert ran.code == 0, ran.err
    ids = ran.out.split()
    assert len(set(ids)) == 3 and all(i.startswith("film-") for i in ids)
    out = tmp_path / "token.safetensors"
    ran = run_cli(*base, "--films", ",".join(ids), "--class", "lung", "--out", out)
    assert ran.code == 0, ran.err
    from lungsynth.masks.tokens import ClassToken

    token = ClassToken.load(out)
    assert token.info["shots"] == "3" and set(token.info["films"].split(",")) == set(ids)
    ran = run_cli(*base, "--films", "nobody", "--class", "lung", "--out", out)
    assert ran.code != 0 and "nobody" in ran.err


def test_films_without_ids_are_suggested_and_named_by_their_rows(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    plain = tmp_path / "plain.parquet"
    pq.write_table(pq.read_table(parquet).drop_columns(["id"]), plain)
    base = ("learn-token", "--data", plain, "--checkpoint", own, "--quiet")
    ran = run_cli(*base, "--k", 2, "--suggest")
    names = ran.out.split("\n")[:2]
    assert ran.code == 0 and all(re.fullmatch(r"row \d+", name) for name in names)
    out = tmp_path / "token.safetensors"
    told = ("--films", ",".join(names), "--class", "lung", "--out", out)
    ran = run_cli(*base, *told)
    assert ran.code == 0, ran.err
    ran = run_cli(*base, "--data", plain, *told)
    assert ran.code == 1 and "several films are called 'row " in ran.err


def test_a_label_free_token_reads_no_mask(run_cli: Cli, own: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": f"f{i}", "image": {"bytes": png(film(i)[0]), "path": None}} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet")
    prior = Path(__file__).parents[2] / "examples/priors/lungs.json"
    ran = run_cli(
        "learn-token",
        "--data",
        tmp_path / "plain.parquet",
        "--split",
        "",
        "--k",
        4,
        "--class",
        "left lung",
        "--id",
        1,
        "--prior",
        prior,
        "--checkpoint",
        own,
        "--quiet",
    )
    assert ran.code == 0, ran.err
    from lungsynth.masks.tokens import ClassToken

    token = ClassToken.load(own / "tokens" / "left-lung.safetensors")
    assert (token.info["label_free"], token.info["shots"]) == ("true", "0")
