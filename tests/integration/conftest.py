"""A built dataset that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from publishing import build_options, run_publish


@pytest.fixture(scope="session")
def dist(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in two splits, three rows a shard; not to be changed."""
    out = tmp_path_factory.mktemp("dataset") / "dist"
    ran = run_publish(*build_options(checkpoint, out))
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def hand_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """`push` takes datasets that no `publish build` made: they are small, quick, and fail its checks.

    That `push` checks is tested in `test_publish_claims`.
    """
    monkeypatch.setattr("publish.commands.run.push.check", lambda dist, *, load=True: [])
