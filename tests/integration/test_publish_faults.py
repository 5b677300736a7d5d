"""Pushes through a Hub that fails: 200 seeded schedules of faults, a dozen of them always run.

After every run `main` holds the old release or the new one, never a part; no row is lost or
doubled; the run ended in success or in one of our errors, before its deadline; the same command
on a healthy Hub then finishes the work.
"""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hub import dataset
from hub.client import pointed_at
from hub.faults import Fault, Schedule, random_schedule
from hub.server import WRITER, serve
from hub.server import Hub as Server
from publishing import run_publish
from warm import start

from lungsynth.errors import (
    AccessError,
    BranchMovedError,
    HubError,
    UnreachableError,
    VerificationError,
)
from publish.hub.dataset_files import read_dataset
from publish.hub.payload import Payload
from publish.hub.push import Progress, push
from publish.hub.push_plan import make_plan
from publish.hub.repository import Hub
from publish.hub.retry import Deadline, Retry

pytestmark = pytest.mark.usefixtures("hand_made")

NAME = "lab/films"
READ_S = 0.4  # seconds the client waits for a byte
SLOW_S = 0.7  # seconds a slow answer takes
DEADLINE_S = 900.0
ROOT = Path(__file__).parents[2]


class SkippingClock:
    """Real time, but waiting takes none."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.skipped += seconds


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Payload, Payload]:
    """An old release of four rows in four shards and a new one of five rows in three."""
    folder = tmp_path_factory.mktemp("releases")
    old = read_dataset(dataset.build(folder / "old", n=4, shard_rows=1, seed=1))
    return old, read_dataset(dataset.build(folder / "new", n=5, shard_rows=2, seed=2))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve() as running, pointed_at(running, tmp_path / "home") as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield running


def run(
    payload: Payload, tag: str, cache: Path, clock: SkippingClock, deadline_s: float = DEADLINE_S
) -> Any:
    """What the command does, with a clock that does not wait."""
    hub = Hub(NAME, "dataset", Retry(Deadline(clock, deadline_s)), connect_s=2.0, read_s=READ_S)
    with hub.connected(cache):
        plan = make_plan(hub, payload, tag, public=False)
        return push(hub, payload, plan, message="x", progress=Progress(), say=lambda _: None)


def folder_of(payload: Payload) -> Path:
    return payload.files["manifest.json"].path.parent


def contents(payload: Payload) -> dict[str, bytes]:
    return {name: file.path.read_bytes() for name, file in payload.files.items()}


def row_ids(files: dict[str, bytes]) -> list[str]:
    """Names of all rows a loader would find."""
    return [
        one
        for name, data in sorted(files.items())
        if name.endswith(".parquet")
        for one in pq.read_table(io.BytesIO(data), columns=["id"])["id"].to_pylist()
    ]


def play(server: Server, releases: tuple[Payload, Payload], cache: Path, seed: int) -> str:
    """One schedule from beginning to end; how its first run ended."""
    old, new = releases
    server.repos.clear()
    server.schedule = Schedule()
    has_old = seed % 2 == 0
    if has_old:
        run(old, "v1.0.0", cache, SkippingClock())
    server.schedule = schedule = random_schedule(seed, slow_seconds=SLOW_S)
    clock = SkippingClock()
    start = clock.now()
    try:
        ended = run(new, "v2.0.0", cache, clock).status
    except HubError as error:
        ended = type(error).__name__
        assert str(error).strip(), "an error without words"
    took = clock.now() - start
    server.wait_until_idle()
    said = f"seed {seed}, {[str(f) for f in schedule.happened]}, {ended}"
    assert took <= DEADLINE_S + 2 * READ_S, said

    repo = server.repos.get(("dataset", NAME))
    legal = [{}, contents(old), contents(new)] if has_old else [{}, contents(new)]
    is_rotten = any(fault.kind == "rotten" for fault in schedule.happened)
    if repo is not None:
        for commit in repo.history():
            held = {name: repo.commits[commit.sha].tree[name].blob_oid for name in commit.tree}
            held.pop(".gitattributes")
            assert held in [oids(one) for one in legal], said
        assert len(repo.history()) <= (3 if has_old else 2), said
        if "v2.0.0" in repo.tags:
            assert repo.tags["v2.0.0"] == repo.head.sha and repo.files() == contents(new), said
    if ended == "published":
        assert repo is not None and repo.tags["v2.0.0"] == repo.head.sha, said
        assert repo.files() == contents(new), said
        assert row_ids(repo.files()) == [f"s2-{i:04d}" for i in range(5)], said
    server.schedule = Schedule()  # the Hub is well again
    if is_rotten:  # but keeps what it spoilt: that is found each time, and never tagged
        with pytest.raises(VerificationError):
            run(new, "v2.0.0", cache, SkippingClock())
        assert server.repo("dataset", NAME).tags.keys() <= {"v1.0.0"}, said
        return ended
    assert run(new, "v2.0.0", cache, SkippingClock()).status in ("published", "nothing to do"), said
    repo = server.repo("dataset", NAME)
    assert repo.files() == contents(new) and repo.tags["v2.0.0"] == repo.head.sha, said
    assert len(repo.history()) == (3 if has_old else 2), said
    return ended


def oids(files: dict[str, bytes]) -> dict[str, str]:
    """What git calls each file, large ones by their pointer."""
    import hashlib

    from hub.store import LFS_SUFFIXES, Entry

    return {
        name: (
            Entry(len(data), lfs_oid=hashlib.sha256(data).hexdigest())
            if name.endswith(LFS_SUFFIXES)
            else Entry(len(data), data)
        ).blob_oid
        for name, data in files.items()
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_schedule_of_faults_leaves_main_whole(server, releases, tmp_path, seed):
    play(server, releases, tmp_path / "cache", seed)


@pytest.mark.slow
def test_200_schedules_leave_main_whole(server, releases, tmp_path):
    ended: dict[str, int] = {}
    for seed in range(200):
        how = play(server, releases, tmp_path / "cache", seed)
        ended[how] = ended.get(how, 0) + 1
    print(ended)  # noqa: T201
    assert ended["published"] >= 120, ended  # most faults pass
    assert len(ended) >= 3, ended  # and some do not


@pytest.mark.parametrize(
    ("faults", "waits"),
    [
        ([("commit", 0, "429", 55)], [55.0]),
        ([("commit", 0, "429-retry-after", 31)], [31.0]),
        ([("preupload", 0, "429", 7), ("preupload", 1, "429", 9)], [7.0, 9.0]),
        (
            [("whoami", 0, "503", 0), ("whoami", 1, "cut", 0), ("whoami", 2, "500", 0)],
            [1.0, 2.0, 4.0],
        ),
        ([("commit", 0, "409", 0), ("commit", 1, "412", 0)], [1.0, 2.0]),
        ([("put", 0, "cut-half", 0)], [1.0]),
        ([("put", 0, "corrupt", 0)], [1.0]),
        ([("put", 0, "lost", 0)], [1.0]),
        ([("put", 0, "slow", SLOW_S)], [1.0]),
        ([("commit", 0, "500", 0)], [1.0]),
        ([("commit", 0, "cut", 0)], [1.0]),
        ([("commit", 0, "500-after", 0)], []),
        ([("commit", 0, "cut-after", 0)], []),
        ([("tag", 0, "500-after", 0)], []),
        ([("tag", 0, "cut-after", 0)], []),
        ([("tag", 0, "429", 12)], [12.0]),
        ([("create", 0, "cut-after", 0)], [1.0]),
        ([("resolve", 2, "cut", 0)], [1.0]),
        ([("tree", 1, "503", 0)], [1.0]),
    ],
)
def test_one_fault_is_waited_for_as_asked_and_no_longer(server, releases, tmp_path, faults, waits):
    """The waits are those of the headers, or 1, 2, 4 …; what has happened is not done again."""
    server.schedule.faults = [Fault(*one) for one in faults]
    clock = SkippingClock()
    assert run(releases[1], "v1.0.0", tmp_path / "cache", clock).status == "published"
    assert clock.waits == waits and len(server.schedule.happened) == len(faults)
    repo = server.repo("dataset", NAME)
    assert len(repo.history()) == 2 and repo.files() == contents(releases[1])
    assert sum("/tag/" in one for one in server.requests) == (
        2 if "429" in str(faults[0]) and faults[0][0] == "tag" else 1
    )


def test_a_commit_that_lands_after_its_time_out_is_not_made_twice(server, releases, tmp_path):
    server.schedule.faults = [Fault("commit", 0, "slow", SLOW_S)]
    assert run(releases[1], "v1.0.0", tmp_path / "cache", SkippingClock()).status == "published"
    server.wait_until_idle()
    repo = server.repo("dataset", NAME)
    assert len(repo.history()) == 2 and repo.tags == {"v1.0.0": repo.head.sha}


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("412", BranchMovedError, "Given up after 8 attempts"),
        ("500", UnreachableError, "Given up after 8 attempts"),
        ("403", AccessError, "403"),
    ],
)
def test_a_fault_that_stays_ends_in_its_error(server, releases, tmp_path, kind, error, words):
    server.schedule.faults = [Fault("commit", n, kind) for n in range(50)]
    with pytest.raises(error, match=words):
        run(releases[1], "v1.0.0", tmp_path / "cache", SkippingClock())
    repo = server.repo("dataset", NAME)
    assert repo.files() == {} and repo.tags == {}
    assert server.schedule.seen["commit"] == (1 if kind == "403" else 8)


def test_the_conflict_huggingface_hub_repeats_without_end_is_given_up(
    server, releases, tmp_path, monkeypatch
):
    from hub.store import HubRefusal

    def busy(*args: object) -> None:
        raise HubRefusal(409, "Cannot create repo: another conflicting operation is in progress")

    monkeypatch.setattr("hub.routes._create", busy)
    with pytest.raises(UnreachableError, match="Given up after 8 attempts"):
        run(releases[1], "v1.0.0", tmp_path / "cache", SkippingClock())
    assert server.schedule.seen["create"] == 8


def test_a_wait_beyond_the_deadline_is_not_begun(server, releases, tmp_path):
    server.schedule.faults = [Fault("put", 0, "429", 3600)]
    clock = SkippingClock()
    with pytest.raises(UnreachableError, match=r"in 3600 s, after the deadline"):
        run(releases[1], "v1.0.0", tmp_path / "cache", clock)
    assert clock.waits == []


def test_no_request_is_sent_after_the_deadline(server, releases, tmp_path):
    class Stopping(SkippingClock):
        def now(self) -> float:
            late = any("/commit/" in one for one in server.requests)
            return super().now() + (DEADLINE_S if late else 0)

    with pytest.raises(UnreachableError, match="not done within 900 s"):
        run(releases[1], "v1.0.0", tmp_path / "cache", Stopping())
    assert "/commit/" in server.requests[-1]
    repo = server.repo("dataset", NAME)
    assert repo.files() == contents(releases[1]) and repo.tags == {}


def test_a_call_of_many_requests_stops_at_the_deadline_too():
    """One call of the library may be many requests, such as the pages of a tree."""
    import httpx2

    from publish.hub.retry import DeadlinePassed
    from publish.hub.transport import StrictTransport

    clock = SkippingClock()
    answers = httpx2.MockTransport(lambda request: httpx2.Response(200))
    client = httpx2.Client(transport=StrictTransport(answers, Deadline(clock, 10.0)))
    assert client.get("http://127.0.0.1/").status_code == 200
    clock.sleep(11)
    with pytest.raises(DeadlinePassed):
        client.get("http://127.0.0.1/")


def test_bytes_the_hub_spoilt_unseen_are_found_before_the_tag(server, releases, tmp_path):
    server.schedule.faults = [Fault("put", 0, "rotten")]
    with pytest.raises(VerificationError, match="SHA-256"):
        run(releases[1], "v1.0.0", tmp_path / "cache", SkippingClock())
    assert server.repo("dataset", NAME).tags == {}


PUSH_HAND_MADE = """
import publish.commands.run.push
from publish.cli import main

publish.commands.run.push.check = lambda dist, *, load=True: []
main()
"""
"""`python -m publish` for a dataset that its checks would stop."""


def test_killed_in_mid_upload_main_is_as_it_was_and_the_same_command_finishes(
    server, releases, tmp_path
):
    old, new = releases
    run(old, "v1.0.0", tmp_path / "cache", SkippingClock())
    server.schedule.seen.clear()
    server.schedule.faults = [Fault("put", 1, "slow", 3.0)]
    environment = os.environ | {
        "HF_ENDPOINT": server.endpoint,
        "HF_TOKEN": WRITER,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    words = ["-c", PUSH_HAND_MADE, "push", folder_of(new), "--repo", NAME, "--yes"]
    program = start(words, cwd=tmp_path, env=environment)
    give_up = time.monotonic() + 600  # on a busy machine
    while not server.schedule.happened and time.monotonic() < give_up:
        time.sleep(0.05)
    assert server.schedule.happened, "the upload never began"
    program.kill()
    assert program.wait().returncode == -signal.SIGKILL
    repo = server.repo("dataset", NAME)
    assert repo.files() == contents(old)
    server.wait_until_idle()
    assert repo.files() == contents(old)
    server.schedule = Schedule()
    assert run(new, "v2.0.0", tmp_path / "cache", SkippingClock()).status == "published"
    assert repo.files() == contents(new) and len(repo.history()) == 3


def test_the_check_of_main_would_see_a_half_update(server, releases, tmp_path, monkeypatch):
    """A push in two commits, as many tools do it, is caught by what the schedules assert."""
    from publish.hub.repository import Hub as Real

    commit = Real.commit

    def in_two(self, files, deletions, *, message, parent):
        if len(files) < 2:
            return commit(self, files, deletions, message=message, parent=parent)
        first, *rest = files
        sha = commit(self, {first: files[first]}, [], message=message, parent=parent)
        left = {path: files[path] for path in rest}
        return commit(self, left, deletions, message=message, parent=sha)

    monkeypatch.setattr(Real, "commit", in_two)
    with pytest.raises(AssertionError):
        play(server, releases, tmp_path / "cache", 0)


LIMIT_S = 6.0  # the shortest --deadline there is
GRACE_S = 5.0


def push_to_a_dying_hub(
    server: Server, releases: tuple[Payload, Payload], cache: Path, requests: int, kind: str
) -> float:
    """The Hub dies after some requests: the command ends soon after its deadline, main is whole.

    Returns the seconds it took.
    """
    old, new = releases
    server.repos.clear()
    server.schedule = Schedule()
    run(old, "v1.0.0", cache, SkippingClock())
    server.schedule = Schedule(down_after=requests, down_kind=kind)
    begun = time.monotonic()
    minutes = str(LIMIT_S / 60)
    ran = run_publish("push", folder_of(new), "--repo", NAME, "--yes", "--deadline", minutes)
    took = time.monotonic() - begun
    assert took < LIMIT_S + GRACE_S, (requests, kind, took)
    if sum(server.schedule.seen.values()) <= requests:
        assert ran.code == 0, ran.err  # it needed fewer
        return took
    assert ran.code == UnreachableError.exit_code, (requests, ran)
    assert f"--deadline {minutes}" in ran.err and ran.err.count("To go on: ") == 1
    files = server.repo("dataset", NAME).files()
    files.pop(".gitattributes", None)
    assert files in (contents(old), contents(new)), requests
    assert server.repo("dataset", NAME).tags.keys() == {"v1.0.0"}
    return took


@pytest.mark.parametrize(("requests", "kind"), [(1, "hang"), (12, "hang"), (17, "cut")])
def test_a_hub_that_dies_ends_the_command_at_its_deadline(
    server, releases, tmp_path, requests, kind
):
    push_to_a_dying_hub(server, releases, tmp_path / "cache", requests, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hang", "cut"])
def test_a_hub_that_dies_at_any_of_its_first_forty_requests(server, releases, tmp_path, kind):
    took = [push_to_a_dying_hub(server, releases, tmp_path / "cache", n, kind) for n in range(40)]
    print(f"{kind}: {sum(t > 1 for t in took)} waited, longest {max(took):.2f} s of {LIMIT_S:g}")  # noqa: T201
