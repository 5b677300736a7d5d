"""A built dataset that tests share, a Hub to push to, and the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.client import pointed_at
from hub.server import Hub, serve
from publishing import Ran, build_options, run_publish


@pytest.fixture(scope="session")
def dist(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in two splits, three rows a shard; not to be changed."""
    out = tmp_path_factory.mktemp("dataset") / "dist"
    ran = run_publish(*build_options(checkpoint, out))
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty Hub; this process is logged in as ann, who may write to lab."""
    with serve() as running, pointed_at(running, tmp_path / "home"):
        yield running


@pytest.fixture
def publish() -> Callable[..., Ran]:
    """Calls `python -m publish ARGS…` in this process."""
    return run_publish


@pytest.fixture
def hand_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """`push` takes datasets that no `publish build` made: they are small, quick, and fail its checks.

    That `push` checks is tested in `test_publish_claims`.
    """
    monkeypatch.setattr("publish.commands.run.push.check", lambda dist, *, load=True: [])


@pytest.fixture
def quick_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """`learn-token` looks at fewer views, for a shorter time."""
    from lungsynth.training.tokens import LearnOptions

    quick = LearnOptions.__init__.__kwdefaults__ | {"n_views": 24, "batch": 8, "n_iters": 30}
    monkeypatch.setattr(LearnOptions.__init__, "__kwdefaults__", quick)
