"""What a record or link is answered whose weights are others than those there are."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from lungsynth.model import checkpoint as module
from lungsynth.model.checkpoint import (
    DRAWS_NOTHING,
    former_weights,
    other_weights,
    resolve,
    weights_hash,
    where_weights_are,
)

ROOT = Path(__file__).parents[2]


def test_the_same_weights_say_nothing() -> None:
    assert other_weights("", "abcd", "mini") == other_weights("abcd", "", "mini") == ""
    assert other_weights("ab", "abcd", "mini") == other_weights("abcd", "abcd", "mini") == ""


def test_shipped_weights_are_known_by_name_and_can_be_had() -> None:
    for one in former_weights():
        assert re.fullmatch(r"[0-9a-f]{16}", one.weights) and re.fullmatch(
            r"\d{4}-\d\d-\d\d", one.shipped
        )
        for asked in (one.weights, one.weights[:8]):
            told = other_weights(asked, "0123456789abcdef", "mini")
            assert f"drawn with weights {asked}; mini has 0123456789abcdef" in told
            drawn = "the same picture, and differ in " if one.differs else "another picture."
            assert f"which draw {drawn}" in told
            assert f"those {one.name} was shipped with on {one.shipped}" in told
            remedy = where_weights_are(asked)
            assert f"git worktree add ../lungsynth-{one.commit} {one.commit}" in remedy
            assert remedy.endswith(f"../lungsynth-{one.commit}/lungsynth/checkpoints/{one.name}.")
    assert former_weights()


def test_weights_nobody_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = other_weights("ffff000011112222", "0123456789abcdef", "mine")
    assert told.endswith("mine has 0123456789abcdef, which draw another picture.")
    assert "not shipped with lungsynth. Give the folder" in where_weights_are("ffff000011112222")
    shipped = former_weights()[0].weights
    monkeypatch.setattr(module, "CHECKPOINTS", tmp_path)  # a copy without the list
    assert former_weights() == [] and "shipped" not in other_weights(shipped, "0123", "mine")


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.mark.slow
def test_the_named_commits_hold_the_weights() -> None:
    for one in former_weights():
        root = f"lungsynth/checkpoints/{one.name}"
        try:
            listing = git("ls-tree", "-r", one.commit, "--", root).decode().splitlines()
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no history here")
        found = {}
        for line in listing:
            _, _, oid, path = line.split(None, 3)
            name = PurePosixPath(path).relative_to(root)
            if name.suffix == ".safetensors" and name.parts[0] not in DRAWS_NOTHING:
                found[name] = oid
        digest = hashlib.sha256()
        for name in sorted(found):
            digest.update(str(name).encode() + git("cat-file", "blob", found[name]))
        assert digest.hexdigest()[:16] == one.weights
    assert len(weights_hash(resolve(None))) == 16


def test_results_name_the_present_weights() -> None:
    told = (ROOT / "docs" / "RESULTS.md").read_text()
    [present] = re.findall(r"so weights `([0-9a-f]{16})` draw", told)
    assert present == weights_hash(str(resolve("mini")))
