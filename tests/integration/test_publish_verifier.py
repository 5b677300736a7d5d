"""`publish build --verifier`: reject, redraw, log, and end with equal bytes whatever was killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from evaluation_films import random_encoder
from PIL import Image
from publishing import build_options, contents, run_publish
from warm import start

from lungsynth.evaluation.common import CHOSEN_BY, read_samples
from lungsynth.model.checkpoint import weights_hash
from lungsynth.model.encoder import DEFAULT_FOLDER, embed, save_encoder
from lungsynth.verify.redraw import derived_seed
from lungsynth.verify.verifier import Rules, distances, load_verifier, save_rules
from publish.build.plan import settings_sha256
from publish.card.evaluation import further_sections
from publish.data.prompts import row_seed

ROOT = Path(__file__).parents[2]
GOOD = {"age_group": 0.9, "view (adults)": 0.9, "sex (adults)": 0.9}
REDRAWS = 2


def pictures(out: Path) -> dict[str, np.ndarray]:
    """Row -> its picture."""
    found = {}
    for path in sorted((out / "data").glob("*.parquet")):
        for one in pq.read_table(path, columns=["id", "image"]).to_pylist():
            with Image.open(io.BytesIO(one["image"]["bytes"])) as picture:
                found[one["id"]] = np.asarray(picture)
    return found


@pytest.fixture(scope="module")
def verifier(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder that rejects about half of random pictures for looking like no film."""
    folder = tmp_path_factory.mktemp("verifier") / "encoder"
    encoder = random_encoder()
    save_encoder(encoder, folder)
    far = distances(embed(encoder, np.stack(list(pictures(dist).values()))))
    save_rules(Rules("half-b", 1, float(np.median(far)), {}), folder)
    return folder


def options(checkpoint: Path, out: Path, verifier: Path, *extra: object) -> list[str]:
    """Of a build in which a verifier rejects."""
    return build_options(
        checkpoint, out, "--verifier", verifier, "--redraws", REDRAWS, "--workers", 1, *extra
    )


@pytest.fixture(scope="module")
def redrawn(checkpoint: Path, verifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows, some of them drawn again; not to be changed."""
    out = tmp_path_factory.mktemp("redrawn") / "dist"
    ran = run_publish(*options(checkpoint, out, verifier))
    assert ran.code == 0, ran.err
    return out


def rows_of(out: Path) -> Iterator[dict[str, object]]:
    for path in sorted((out / "data").glob("*.parquet")):
        yield from pq.read_table(path, columns=["id", "seed", "qc_flags"]).to_pylist()


def asked(rows: Iterable[str]) -> list[str]:
    """Options of `replay`."""
    return [word for one in rows for word in ("--row", one)]


def log_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "redrawn.jsonl").read_text().splitlines()]


def test_every_rejection_is_logged_and_every_row_was_drawn_with_the_next_seed(
    redrawn: Path, dist: Path, verifier: Path
) -> None:
    log = Counter(str(one["id"]) for one in log_of(redrawn))
    assert log and all(one["reasons"] == ["unlike any film"] for one in log_of(redrawn))
    judge, images = load_verifier(verifier), pictures(redrawn)
    before = pictures(dist)
    for row in rows_of(redrawn):
        name = str(row["id"])
        first = row_seed(0, int(name.split("-")[1]))
        seeds = [derived_seed(first, k) for k in range(REDRAWS + 1)]
        (verdict,) = judge.verdicts(images[name][None], [{}])
        flags = [one for one in row["qc_flags"] if one.startswith("verifier: ")]
        assert flags == [f"verifier: {why}" for why in verdict.reasons]
        accepted = not verdict.reasons
        assert accepted == (log[name] <= REDRAWS)
        if accepted:
            assert row["seed"] == seeds[log[name]]
        else:
            assert row["seed"] in seeds
        if not log[name]:
            assert np.array_equal(images[name], before[name])  # an accepted one is drawn as ever
    first_lines = {str(one["id"]): one for one in reversed(log_of(redrawn))}
    for name, one in first_lines.items():
        assert one["seed"] == row_seed(0, int(name.split("-")[1]))


def test_the_manifest_and_the_card_tell_the_rate(redrawn: Path, verifier: Path) -> None:
    manifest = json.loads((redrawn / "manifest.json").read_text())
    told, log = manifest["redrawn"], log_of(redrawn)
    unmet = sum(n == REDRAWS + 1 for n in Counter(str(one["id"]) for one in log).values())
    assert told == {
        "rows": 12,
        "drawings": 12 + len(log) - unmet,
        "rejected": len(log),
        "first_rejected": len({one["id"] for one in log}),
        "unmet": unmet,
        "by_reason": {"unlike any film": len(log)},
    }
    who = manifest["config"]["verifier"]
    assert (who["patients"], who["seed"], who["redraws"]) == ("half-b", 1, REDRAWS)
    assert who["verifier"] == load_verifier(verifier).name
    assert str(verifier) not in json.dumps(manifest)
    card = (redrawn / "README.md").read_text()
    assert f"Of {told['drawings']} drawings {len(log)} (" in card
    assert f"| unlike any film | {len(log)} |" in card and who["verifier"] in card
    assert "redrawn.jsonl" in [one["name"] for one in manifest["files"]]


def test_without_a_verifier_nothing_is_said_of_one(dist: Path) -> None:
    manifest = json.loads((dist / "manifest.json").read_text())
    assert "redrawn" not in manifest and "verifier" not in manifest["config"]
    assert not (dist / "redrawn.jsonl").exists()
    assert "drawn again" not in (dist / "README.md").read_text()


def test_it_passes_the_check_and_its_rows_can_be_drawn_again(
    redrawn: Path, checkpoint: Path
) -> None:
    assert run_publish("check", redrawn).code == 0
    again = sorted({str(one["id"]) for one in log_of(redrawn)})[:2]
    ran = run_publish("replay", redrawn, *asked(again), "--model", checkpoint, "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert [one["identical"] for one in told] == [True] * len(again)


def test_rows_drawn_together_can_be_drawn_again(
    checkpoint: Path, verifier: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dist"
    ran = run_publish(*options(checkpoint, out, verifier, "--batch-size", 3))
    assert ran.code == 0, ran.err
    names = [str(one["id"]) for one in rows_of(out)]
    ran = run_publish("replay", out, *asked(names), "--model", checkpoint, "--json")
    assert ran.code == 0, ran.err
    for one in json.loads(ran.out):
        assert one["batch_known"] and one["identical"], one


def test_a_row_that_is_never_accepted_is_kept_out_with_its_reason(
    checkpoint: Path, redrawn: Path, verifier: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "dist", tmp_path / "release.yaml"
    file.write_text(
        "filter: {min_area: 0, max_area: 1, min_trust: 0, min_stability: 0, min_contrast: 0, "
        f"max_ratio: 1000, sides: false, min_plausibility: 0}}\nverifier: {verifier}\nredraws: 0\n"
    )
    ran = run_publish(*build_options(checkpoint, out, "--config", file, "--filter"))
    assert ran.code == 0, ran.err
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    flagged = {one["id"] for one in rejected if "verifier: unlike any film" in one["reasons"]}
    assert flagged == {one["id"] for one in log_of(out)} == {one["id"] for one in log_of(redrawn)}
    told = json.loads((out / "manifest.json").read_text())["redrawn"]
    assert told["unmet"] == told["rejected"] == len(flagged) and told["drawings"] == 12


def test_workers_give_the_same_bytes(
    checkpoint: Path, redrawn: Path, verifier: Path, tmp_path: Path
) -> None:
    ran = run_publish(*options(checkpoint, tmp_path / "dist", verifier, "--workers", 2))
    assert ran.code == 0, ran.err
    assert contents(tmp_path / "dist") == contents(redrawn)


KILLED = """
import json, os, sys
from publish.build import worker
from publish.cli import main

fatal, n_calls, row = int(sys.argv.pop(1)), 0, worker.row

def counted(*args, **kwargs):
    global n_calls
    n_calls += 1
    if n_calls == fatal:
        os.kill(os.getpid(), 9)
    return row(*args, **kwargs)

worker.row = counted
main()
"""
"""A build that kills itself with SIGKILL at the nth row."""


def test_kill_9_and_the_same_command_give_equal_bytes(
    checkpoint: Path, redrawn: Path, verifier: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dist"
    for fatal in (5, 2):
        words = ["-c", KILLED, str(fatal), *options(checkpoint, out, verifier)]
        died = start(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}).wait()
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert len(list(out.glob("data/*.parquet"))) < 5
    assert run_publish(*options(checkpoint, out, verifier)).code == 0
    assert contents(out) == contents(redrawn)


def test_obedience_of_the_build_is_told_as_measured_after_the_choice(
    redrawn: Path, verifier: Path, dist: Path
) -> None:
    name = load_verifier(verifier).name
    assert {one.get(CHOSEN_BY) for one in read_samples(redrawn / "data").fields} == {name}
    assert {one.get(CHOSEN_BY) for one in read_samples(dist / "data").fields} == {None}
    interval = {"value": 0.9, "low": 0.8, "high": 1.0}
    side = {"accuracy": interval, "balanced_accuracy": interval, "n": 12}
    tasks = {
        "sex (adults)": {"synthetic": side, "real": side, "balanced_accuracy_points": interval}
    }
    reports = {
        "evaluation/obedience.json": {"tasks": tasks, "n_synthetic": 12, "verifier": ""},
        "evaluation/obedience-redrawn.json": {"tasks": tasks, "n_synthetic": 12, "verifier": name},
    }
    text = further_sections(reports)
    before, after = text.index("**Before** any choice"), text.index("**After** reject and redraw")
    assert text.index("`evaluation/obedience.json`") < before < after
    assert name in text[after:]


def test_who_measures_must_not_reject(checkpoint: Path, verifier: Path, tmp_path: Path) -> None:
    judge = shutil.copytree(DEFAULT_FOLDER, tmp_path / "judge")
    save_rules(Rules("half-b", 1, 1.0, GOOD), judge)
    ran = run_publish(*options(checkpoint, tmp_path / "dist", judge))
    assert ran.code == 1 and "is the encoder" in ran.err and "that measures" in ran.err
    whole = tmp_path / "whole"
    save_encoder(random_encoder(), whole)
    save_rules(Rules("all", 1, 1.0, GOOD), whole)
    ran = run_publish(*options(checkpoint, tmp_path / "dist", whole))
    assert ran.code == 1 and "trained on patients 'all'" in ran.err
    assert not (tmp_path / "dist").exists()


def test_another_verifier_into_the_same_folder_is_refused(
    checkpoint: Path, redrawn: Path, verifier: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(redrawn, tmp_path / "dist")
    other = shutil.copytree(verifier, tmp_path / "other")
    save_rules(Rules("half-b", 1, 2.0, GOOD), other)
    ran = run_publish(*options(checkpoint, out, other))
    assert ran.code == 1 and "another configuration (verifier is" in ran.err


def test_the_shipped_verifier_changes_no_hash_of_the_checkpoint(
    checkpoint: Path, verifier: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "with")
    shutil.copytree(verifier, folder / "verifier")
    assert weights_hash(str(folder)) == weights_hash(str(checkpoint))
    assert settings_sha256(folder) == settings_sha256(checkpoint)
    dry = ("build", "--n", 3, "--model", folder, "--verifier", "shipped", "--dry-run")
    ran = run_publish(*dry, "--out", tmp_path / "dist")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["config"]["verifier"]["redraws"] == 3
