"""Tools around a checkpoint: tokens, measuring, packing, doctor, benchmarks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from lungsynth.evaluation.words.facts import asked_of

Cli = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("quick_tokens")


@pytest.fixture
def own(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint without its classes."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "classes.json").unlink()
    shutil.rmtree(folder / "tokens")
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def learn(run_cli: Cli, own: Path, parquet: Path, side: str, class_id: int, **more: object) -> Any:
    flags = [x for k, v in more.items() for x in (f"--{k.replace('_', '-')}", v)]
    return run_cli(
        "learn-token",
        "--data",
        parquet,
        "--class",
        f"{side} lung",
        "--side",
        side,
        "--id",
        class_id,
        "--checkpoint",
        own,
        "--k",
        2,
        "--quiet",
        *flags,
    )


def test_tokens_learnt_here_make_the_masks(
    run_cli: Cli, own: Path, parquet: Path, tmp_path: Path
) -> None:
    for class_id, side in ((1, "left"), (2, "right")):
        assert learn(run_cli, own, parquet, side, class_id).code == 0
    spec = json.loads((own / "classes.json").read_text())
    assert [(c["id"], c["name"]) for c in spec["classes"]] == [(1, "left lung"), (2, "right lung")]
    out = tmp_path / "m"
    ran = run_cli("evaluate", "masks", "--data", parquet, "--model", own, "--out", out, "--quiet")
    assert ran.code == 0, ran.err
    report = json.loads((out / "masks.json").read_text())
    stages = {name: about["regions"]["all"]["iou"] for name, about in report["stages"].items()}
    assert {"raw: argmax", "none + clean-up", "crf + clean-up", "mean training mask"} <= set(stages)
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in stages.values())
    # all tiny films look alike, so their mean mask is nearly right: the table must see that
    assert stages["mean training mask"]["value"] > 0.8
    assert size_of(out / "sheet.png")[0] > 100


def test_a_token_learnt_again_replaces_its_class(run_cli: Cli, own: Path, parquet: Path) -> None:
    for seed in (0, 1):
        assert learn(run_cli, own, parquet, "left", 1, seed=seed).code == 0
    assert len(json.loads((own / "classes.json").read_text())["classes"]) == 1


def test_masks_without_the_class_are_refused(run_cli: Cli, own: Path, parquet: Path) -> None:
    ran = learn(run_cli, own, parquet, "left", 1, foreground=77)
    assert ran.code != 0
    assert "77" in ran.err
    assert not (own / "classes.json").exists()


def test_masks_need_tokens(run_cli: Cli, own: Path, parquet: Path) -> None:
    ran = run_cli("evaluate", "masks", "--data", parquet, "--model", own, "--quiet")
    assert ran.code != 0
    assert "learn-token" in ran.err


def test_a_drawn_set_resumes(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    command = (
        "evaluate",
        "draw",
        "--model",
        checkpoint,
        "--n",
        5,
        "--steps",
        1,
        "--batch-size",
        1,
        "--out",
        out,
        "--quiet",
    )
    assert run_cli(*command).code == 0
    before = {p.name: p.read_bytes() for p in out.glob("*.png")}
    lines = (out / "records.jsonl").read_text().splitlines()
    assert len(before) == len(lines) == 5
    assert json.loads(lines[0])["fields"]["age_group"] == "child"
    (out / "00003.png").unlink()
    (out / "records.jsonl").write_text("\n".join(lines[:4]) + "\n" + lines[4][:20])  # a cut line
    assert run_cli(*command).code == 0
    assert {p.name: p.read_bytes() for p in out.glob("*.png")} == before
    assert len((out / "records.jsonl").read_text().splitlines()) == 5
    mixed = run_cli(*command, "--guidance", 5)
    assert mixed.code == 1 and "drawn with other settings (options)" in mixed.err
    assert {p.name: p.read_bytes() for p in out.glob("*.png")} == before


def test_films_are_asked_for_by_their_captions(
    run_cli: Cli, checkpoint: Path, parquet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    ran = run_cli(
        *("evaluate", "draw", "--model", checkpoint, "--captions-of", parquet, "--n", 3),
        *("--steps", 1, "--out", out, "--quiet"),
    )
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    held = {row["id"]: row for row in pq.read_table(parquet).to_pylist() if row["split"] == "test"}
    assert len(lines) == 3 and len(held) > 3
    captions = {asked_of({k: str(v) for k, v in row.items()}).prompt for row in held.values()}
    assert {line["prompt"] for line in lines} <= captions


def test_sheet_and_reconstruction(
    run_cli: Cli, checkpoint: Path, parquet: Path, tmp_path: Path
) -> None:
    ran = run_cli(
        "evaluate",
        "sheet",
        "--model",
        checkpoint,
        "--out",
        tmp_path / "s.png",
        "--seeds",
        2,
        "--prompt",
        "chest X-ray, both lungs",
        "--steps",
        1,
        "--masks",
    )
    assert ran.code == 0, ran.err
    assert size_of(tmp_path / "s.png") == (2 * 192, 192 + 14)
    for out, why in (("sheet", "such as sheet.png"), ("/dev/null/x/s.png", "cannot be written")):
        ran = run_cli("evaluate", "sheet", "--model", checkpoint, "--out", out)
        assert ran.code == 1 and why in ran.err and "Traceback" not in ran.err
    ran = run_cli(
        "evaluate", "reconstruction", "--data", parquet, "--model", checkpoint, "--out", tmp_path
    )
    assert ran.code == 0, ran.err
    figures = json.loads((tmp_path / "reconstruction.json").read_text())
    # an untrained autoencoder is its linear rival, up to the patches each was fitted on
    assert abs(figures["gain"]) < 3
    assert figures["worst"] <= figures["psnr"]


def test_a_packed_file_is_a_source(run_cli: Cli, parquet: Path, tmp_path: Path) -> None:
    from lungsynth.films.data import read_records

    ran = run_cli(
        "pack", "--data", parquet, "--out", tmp_path / "p.parquet", "--short-side", 48, "--quiet"
    )
    assert ran.code == 0, ran.err
    packed = list(read_records(str(tmp_path / "p.parquet"), split="train"))
    source = list(read_records(str(parquet), split="train"))
    assert [r.fields["id"] for r in packed] == [r.fields["id"] for r in source]
    assert packed[0].image.shape == (48, 56)  # 96x112, its shape kept
    out = tmp_path / "q.parquet"
    ran = run_cli("pack", "--data", parquet, "--out", out, "--max-megabytes", 0.02, "--quiet")
    assert ran.code == 0
    parts = sorted(tmp_path.glob("q-*.parquet"))
    assert len(parts) > 1
    assert sum(len(list(read_records(str(p)))) for p in parts) == 16


def test_doctor_says_what_is_wrong(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    ran = run_cli("doctor", "--model", checkpoint, "--json")
    facts = json.loads(ran.out)
    assert facts["checkpoint"]["classes"] == {"1": "left lung", "2": "right lung"}
    assert facts["packages"]["torch"]
    assert (ran.code == 0) == (facts["problems"] == [])
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    ran = run_cli("doctor", "--model", broken)
    assert ran.code == 1
    assert "checkpoint: " in ran.out


def test_benchmarks_print_their_figures(checkpoint: Path) -> None:
    from benchmarks.__main__ import main

    ran = CliRunner().invoke(
        main,
        ["latency", "--model", str(checkpoint), "--n", "2", "--steps", "1"],
        catch_exceptions=False,
    )
    assert ran.exit_code == 0, ran.output
    stages = {
        line[:20].strip(): float(line[20:].split()[0]) for line in ran.output.splitlines()[1:]
    }
    assert stages["everything"] >= stages["refine"] > 0
    ran = CliRunner().invoke(
        main,
        ["capture", "--model", str(checkpoint), "--n", "2", "--steps", "1"],
        catch_exceptions=False,
    )
    assert "on / off" in ran.output


def test_reading_a_film_is_repeatable(pipe: Any) -> None:
    from lungsynth.model.backbone import encode_images, noised_queries

    images = np.stack([np.full((64, 64), 90, np.uint8), np.full((64, 64), 30, np.uint8)])
    one = noised_queries(pipe, images, ["", ""], t=50, seed=3)
    two = noised_queries(pipe, images, ["", ""], t=50, seed=3)
    other = noised_queries(pipe, images, ["", ""], t=50, seed=4)
    assert all(one[k].equal(two[k]) for k in one)
    assert not all(one[k].equal(other[k]) for k in one)
    assert encode_images(pipe, images).shape[0] == 2
