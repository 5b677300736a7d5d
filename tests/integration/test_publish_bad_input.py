"""Bad input to `python -m publish`, through its real entry point: each case by name.

Every one ends with its exit code and one line that says what was got, what was expected and what
to do; no traceback; and neither the folders nor the Hub hold anything half-written afterwards.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hub.client import pointed_at
from hub.server import READER, Hub, serve, user
from publishing import UNMEASURED, build_options, contents, run_publish
from test_publish_check import cell, edit_manifest, edit_rows, relist, shard_of

from lungsynth.files import file_sha256
from publish.data.manifest import read_manifest

NAME = "lab/films"
STRANGER = "hf_strangerstrangerstrangerstranger"


@dataclass
class Place:
    """Where a case happens; the case may change any of it before the command runs."""

    tmp: Path
    checkpoint: Path
    dist: Path  # a copy of a finished dataset
    hub: Hub
    token: str | None
    around: ExitStack = field(default_factory=ExitStack)  # closed when the command has ended

    @property
    def out(self) -> Path:
        """Where a build would write."""
        return self.tmp / "out"

    def build(self, *extra: object) -> list[object]:
        """A small build, with other options."""
        return [*build_options(self.checkpoint, self.out), *extra]

    def yaml(self, text: str) -> list[object]:
        """A build told by a file."""
        path = self.tmp / "release.yaml"
        path.write_text(text)
        return ["build", "--config", path, "--model", self.checkpoint, "--out", self.out, "--quiet"]

    def push(self, *extra: object) -> list[object]:
        """A push of the dataset."""
        return ["push", self.dist, "--repo", NAME, "--yes", *extra]


@dataclass(frozen=True)
class Case:
    """A way to go wrong, and how it must end."""

    code: int
    words: tuple[str, ...]  # of the message: what was got, what was expected, what to do
    arrange: Callable[[Place], list[object]]  # -> the command


def _is_root() -> bool:
    return os.geteuid() == 0


def read_only(place: Place) -> list[object]:
    """A folder nobody may write; to root, who may write them all, a file system that takes none."""
    if _is_root():
        return place.build("--out", "/proc/nobody/dist")
    place.out.mkdir()
    place.out.chmod(0o500)
    place.around.callback(place.out.chmod, 0o700)
    return place.build()


def full_disk(place: Place) -> list[object]:
    """No file may grow beyond 6 kB: the kernel refuses the bytes of the first shard."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))
    place.around.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
    return place.build("--n", 3)


def locked(place: Place) -> list[object]:
    place.out.mkdir()
    held = os.open(place.out, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    place.around.callback(os.close, held)
    return place.build()


def prompts(place: Place, data: bytes, name: str = "prompts.txt") -> list[object]:
    path = place.tmp / name
    path.write_bytes(data)
    return place.build("--prompts", path)


def corrupt(place: Place) -> None:
    """A shard cut short."""
    shard = shard_of(place.dist)
    shard.write_bytes(shard.read_bytes()[:-9])


def other_size(place: Place) -> list[object]:
    edit_rows(place.dist, lambda rows: rows[0].update(mask=cell(np.zeros((8, 8), np.uint8))))
    return ["check", place.dist, "--no-load"]


def drift(place: Place) -> None:
    """The last split loses a column; hashes fit, as if another program had written it."""
    manifest = read_manifest(place.dist)
    path = place.dist / manifest.shards[-1].name
    pq.write_table(pq.read_table(path).drop_columns(["trust"]), path)
    shards = tuple(
        dataclasses.replace(s, sha256=file_sha256(path), n_bytes=path.stat().st_size)
        if place.dist / s.name == path
        else s
        for s in manifest.shards
    )
    dataclasses.replace(manifest, shards=shards).write(place.dist)


def card_of_other_columns(place: Place) -> list[object]:
    card = place.dist / "README.md"
    card.write_text(card.read_text().replace("- name: trust\n", "- name: faith\n"))
    relist(place.dist)
    return place.push()


def stale(place: Place) -> None:
    shutil.copy(shard_of(place.dist), place.dist / "data" / "train-00000-of-00099.parquet")


def tagged(place: Place) -> list[object]:
    """v1.0.0 is there, on other files."""
    repo = place.hub.add_repo(NAME)
    repo.commit("main", "x", [("file", {"path": "LICENSE", "content": "eA=="})])
    repo.tag("v1.0.0", "main")
    return place.push("--tag", "v1.0.0")


def without(place: Place, token: str | None) -> list[object]:
    place.token = token
    return place.push()


def down(place: Place) -> list[object]:
    place.hub.schedule.is_down = True
    return place.push("--deadline", 0.1, "--tag", "v1.0.0")


def secret(place: Place) -> list[object]:
    (place.dist / "notes.txt").write_text(f"hf_{'a' * 34}")
    return place.push()


def linked(place: Place) -> list[object]:
    (place.tmp / "other.txt").write_text("x")
    (place.dist / "other.txt").symlink_to(place.tmp / "other.txt")
    return place.push()


def unfinished(place: Place) -> list[object]:
    edit_manifest(place.dist, is_complete=False, files=[])
    return place.push()


def other_checkpoint(place: Place) -> list[object]:
    folder = shutil.copytree(place.checkpoint, place.tmp / "other")
    (folder / "tokens" / "left-lung.safetensors").unlink()
    (folder / "classes.json").unlink()
    [first, *_] = pq.read_table(shard_of(place.dist), columns=["id"])["id"].to_pylist()
    return ["replay", place.dist, "--row", first, "--model", folder]


def pickled(place: Place) -> list[object]:
    folder = shutil.copytree(place.checkpoint, place.tmp / "weights")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    return ["weights", folder, "--repo", NAME, "--licence", "mit", "--samples", 0, "--yes"]


def full_export(place: Place) -> list[object]:
    place.out.mkdir()
    (place.out / "mine.txt").write_text("x")
    return ["export", place.dist, "--format", "coco", "--out", place.out]


def release(place: Place, *extra: object) -> list[object]:
    words = place.build(*UNMEASURED)[1:]
    return ["release", *words, "--repo", NAME, "--no-load", "--yes", *extra]


def other_tag(place: Place) -> list[object]:
    """The dataset is finished first as the release will finish it, so that nothing is left to change."""
    assert run_publish(*place.build(*UNMEASURED, "--out", place.dist)).code == 0
    return release(place, "--tag", "v2.0.0", "--out", place.dist)


def real_patient(place: Place) -> list[object]:
    path = place.tmp / "prompts.txt"
    path.write_text("chest film of Mr Smith\nchest film\n")
    words = f"release --n 2 --steps 1 --no-filter --quiet --repo {NAME} --no-load --yes"
    given = ("--model", place.checkpoint, "--prompts", path, "--out", place.out)
    return [*words.split(), *given]


def then(act: Callable[[Place], Any], *words: object) -> Callable[[Place], list[object]]:
    """Harm, then a command; "DIST" stands for the dataset."""

    def arrange(place: Place) -> list[object]:
        act(place)
        return [place.dist if word == "DIST" else word for word in words]

    return arrange


PUSH = ("push", "DIST", "--repo", NAME, "--yes")
CHECK = ("check", "DIST", "--no-load")

CASES: dict[str, Case] = {
    # settings
    "unknown key in the config": Case(
        1,
        ("unknown key 'step'", "expected one of n, seed, shard_rows"),
        lambda p: p.yaml("n: 3\nstep: 4\n"),
    ),
    "unknown key inside a section": Case(
        1,
        ("unknown key 'filter.min'", "expected one of apply, min_area"),
        lambda p: p.yaml("n: 3\nfilter: {min: 1}\n"),
    ),
    "wrong type in the config": Case(
        1, ("`n` is 'ten' (str)", "expected a whole number"), lambda p: p.yaml("n: ten\n")
    ),
    "value out of range": Case(
        1, ("`guidance` is nan", "expected 1 to 50"), lambda p: p.yaml("n: 3\nguidance: .nan\n")
    ),
    "a key twice": Case(1, ("key 'n' stands twice", "Keep one"), lambda p: p.yaml("n: 3\nn: 4\n")),
    "config is no YAML": Case(1, ("release.yaml: not YAML",), lambda p: p.yaml("n: [\n")),
    "no config file": Case(
        1, ("nothing.yaml: cannot be read",), lambda p: p.build("--config", p.tmp / "nothing.yaml")
    ),
    "n = 0 as an option": Case(
        2, ("'--n'", "0 is not in the range 1<=x<="), lambda p: p.build("--n", 0)
    ),
    "n = 0 in the config": Case(1, ("`n` is 0", "expected 1 to"), lambda p: p.yaml("n: 0\n")),
    "n is missing": Case(1, ("`n` is missing", "such as --n 1000"), lambda p: p.yaml("seed: 1\n")),
    "unknown class": Case(
        1,
        ("'heart' is no class", "expected some of: left lung, right lung"),
        lambda p: p.build("--classes", "heart"),
    ),
    "unknown sampler": Case(
        1,
        ("Scheduler 'fast' is unknown", "there are default"),
        lambda p: p.build("--scheduler", "fast"),
    ),
    "splits that do not add up": Case(
        1,
        ("shares [0.5]", "expected positive shares that add up to 1"),
        lambda p: p.yaml("n: 5\nsplits: {train: 0.5}\n"),
    ),
    "a split name load_dataset refuses": Case(
        1,
        ("['tr-ain']", "expected names of letters, digits and _"),
        lambda p: p.yaml("n: 5\nsplits: {tr-ain: 1.0}\n"),
    ),
    "no such checkpoint": Case(
        1,
        ("nothing: no such folder", "expected a folder or a shipped name"),
        lambda p: p.build("--model", "nothing"),
    ),
    "prompts: empty file": Case(
        1, ("no prompt in it", "expected one a line"), lambda p: prompts(p, b"\n\n")
    ),
    "prompts: not text": Case(
        1, ("cannot be read as UTF-8 text",), lambda p: prompts(p, b"\xff\xfe\x00")
    ),
    "prompts: no such column": Case(
        1,
        ("no column 'prompt'", "it has text", "--prompt-column"),
        lambda p: prompts(p, b"text\nchest\n", "prompts.csv"),
    ),
    "prompts: no word the model knows": Case(
        1,
        ("prompt 2: No word of 'zebra'",),
        lambda p: p.yaml("n: 3\nprompts: [Chest X-ray, zebra]\n"),
    ),
    # places
    "full disk": Case(
        1, ("cannot be written", "Free space or choose another --out", "same command"), full_disk
    ),
    "read-only out": Case(1, ("cannot be written", "Choose another --out"), read_only),
    "a file where the folder should be": Case(
        2, ("'--out'", "is a file"), lambda p: p.build("--out", shard_of(p.dist))
    ),
    "another dataset in the folder": Case(
        1,
        ("another configuration", "seed is 0, not 7", "Choose another --out"),
        lambda p: p.build("--seed", 7, "--out", p.dist),
    ),
    "a foreign shard in the folder": Case(
        1,
        ("train-00000-of-00099.parquet is no part of this dataset", "Choose another --out"),
        lambda p: (stale(p), p.build("--out", p.dist))[1],
    ),
    "another process writes the folder": Case(
        1, ("another process is writing it", "Wait for it"), locked
    ),
    # what a dataset holds
    "check: corrupt shard": Case(3, ("changed since it was built",), then(corrupt, *CHECK)),
    "check: edited manifest": Case(
        3,
        ("`n_rows` does not fit the rest",),
        then(lambda p: edit_manifest(p.dist, n_rows=99), *CHECK),
    ),
    "check: manifest of another schema": Case(
        1,
        ("schema version 1", "this program writes and reads", "Use the lungsynth version"),
        then(lambda p: edit_manifest(p.dist, schema_version=1), *CHECK),
    ),
    "check: mask of another size": Case(3, ("mask (8, 8)", "image (64, 64)"), other_size),
    "check: schema drift between splits": Case(
        3, ("other columns than the dataset's", "missing ['trust']"), then(drift, *CHECK)
    ),
    "check: stale shard": Case(
        3, ("not in the manifest, but would be published",), then(stale, *CHECK)
    ),
    "check: no dataset": Case(
        1,
        ("no manifest.json", "Build it first"),
        then(lambda p: (p.dist / "manifest.json").unlink(), *CHECK),
    ),
    "push: corrupt shard": Case(
        1, ("SHA-256", "but the manifest says", "build again"), then(corrupt, *PUSH)
    ),
    "push: edited manifest": Case(
        1,
        ("SHA-256", "The file or the manifest was changed"),
        then(
            lambda p: (p.dist / "manifest.json").write_text(
                (p.dist / "manifest.json").read_text().replace('"sha256": "', '"sha256": "0')
            ),
            *PUSH,
        ),
    ),
    "push: schema drift between splits": Case(
        8, ("other columns than the dataset's (missing ['trust']",), then(drift, *PUSH)
    ),
    "push: card of other columns": Case(
        8, ("its features are not those of the Parquet files",), card_of_other_columns
    ),
    "push: stale shard": Case(
        1, ("is not in the manifest, but would be published", "Move it away"), then(stale, *PUSH)
    ),
    "push: unfinished build": Case(
        1, ("not finished", "Run the same `publish build` again"), unfinished
    ),
    "push: a token in a file": Case(1, ("looks like a Hub token", "revoke it"), secret),
    "push: a link out of the folder": Case(1, ("outside the folder", "remove the link"), linked),
    # the Hub
    "repository name with traversal": Case(
        1,
        ("'lab/../films': not a name", "expected ORG/NAME"),
        lambda p: ["push", p.dist, "--repo", "lab/../films", "--yes"],
    ),
    "tag that is no version": Case(
        1, ("'1.0': not a version", "expected vX.Y.Z"), lambda p: p.push("--tag", "1.0")
    ),
    "tag exists on other files": Case(
        4, ("v1.0.0 of lab/films exists", "give the next version"), tagged
    ),
    "no token": Case(3, ("No token", "hf auth login"), lambda p: without(p, None)),
    "read-only token": Case(
        3, ("has the role `read`", "hf auth login"), lambda p: without(p, READER)
    ),
    "token of a stranger": Case(
        3, ("eve may write to eve, not to lab", "Give a name there"), lambda p: without(p, STRANGER)
    ),
    "Hub down": Case(
        5, ("whoami", "Nothing was committed", "To go on: python -m publish push"), down
    ),
    # the other commands
    "replay: no such row": Case(
        1,
        ("holds no row 's9-1'", "See column `id`"),
        lambda p: ["replay", p.dist, "--row", "s9-1", "--model", p.checkpoint],
    ),
    "replay: another checkpoint": Case(
        1, ("did not draw this dataset", "Give the folder of that checkpoint"), other_checkpoint
    ),
    "erratum: no such row": Case(
        1,
        ("holds no row 's9-1'", "See column `id`"),
        lambda p: ["erratum", p.dist, "--row", "s9-1", "--reason", "x"],
    ),
    "export: folder is not empty": Case(1, ("is not empty", "Choose another --out"), full_export),
    "export: unknown format": Case(
        2,
        ("'--format'", "'voc' is not one of 'nnunet'"),
        lambda p: ["export", p.dist, "--format", "voc", "--out", p.out],
    ),
    "diff: no dataset": Case(
        1, ("no manifest.json", "Build it first"), lambda p: ["diff", p.tmp, p.dist]
    ),
    "release: another tag than computed": Case(
        1,
        ("--tag v2.0.0", "asks for v1.0.0", "Leave --tag out"),
        other_tag,
    ),
    "release: a prompt like a real patient's": Case(
        8, ("a person's title", "must not describe a real patient"), real_patient
    ),
    "weights: a pickle": Case(
        1, ("a pickle, which can run code", "Convert it to safetensors"), pickled
    ),
    "weights: no licence": Case(
        1,
        ("licence of the weights is not stated", "Give --licence"),
        lambda p: ["weights", p.checkpoint, "--repo", NAME, "--samples", 0, "--yes"],
    ),
    "space: unknown hardware": Case(
        2,
        ("'--hardware'", "'a100' is not one of"),
        lambda p: ["space", "--repo", NAME, "--hardware", "a100"],
    ),
}

BUILT = {"full disk", "release: a prompt like a real patient's", "prompts: no word the model knows"}
"""Cases that end after the folder was begun: it holds an unfinished, or an unpublished dataset."""


@pytest.fixture
def place(dist: Path, checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> Iterator[Place]:
    """A copy of a dataset, and a Hub where ann may write."""
    monkeypatch.setattr("publish.hub.retry.SystemClock.sleep", lambda self, seconds: None)
    with serve() as hub, pointed_at(hub, tmp_path / "home") as patch:
        hub.users[STRANGER] = user("eve", "write")
        copy = shutil.copytree(dist, tmp_path / "dist")
        made = Place(tmp_path, checkpoint, copy, hub, os.environ["HF_TOKEN"])
        yield made
        patch.undo()


@contextmanager
def logged_in(token: str | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", token or "")
        yield


def everything(hub: Hub) -> dict[str, Any]:
    """What the repositories of a Hub hold."""
    return {
        f"{kind}/{name}": (dict(repo.branches), dict(repo.tags), repo.files())
        for (kind, name), repo in hub.repos.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_in_one_line_and_leaves_nothing_half_done(place, name):
    case = CASES[name]
    with place.around:
        command = case.arrange(place)
        before, hub_before = contents(place.dist), everything(place.hub)
        had_out = place.out.exists() and contents(place.out)
        with logged_in(place.token):
            ran = run_publish(*command)

    assert ran.code == case.code, ran.err
    said = ran.out + ran.err
    assert "Traceback" not in said and "hf_" + "a" * 20 not in said
    lines = ran.err.strip().splitlines()
    if case.code == 2:  # click: how it is used, then the error
        assert lines[0].startswith("Usage: ") and lines[-1].startswith("Error: ")
        message = lines[-1]
    elif case.code in (3, 8) and "AccessError" not in ran.err:  # a check's own list, on stdout
        assert len(lines) == 1 and "NOT fit to publish. Mend what is listed" in lines[0]
        message = next(line.strip() for line in ran.out.splitlines() if line.startswith(" " * 8))
    else:  # before it, only the attempts that are told while they are made
        *attempts, message = lines
        assert message.split(":")[0].endswith("Error"), ran.err
        assert all(" attempt " in line for line in attempts), ran.err
    for words in case.words:
        assert words in message, message
    print(f"{name} -> {case.code}: {message[:300]}")  # noqa: T201

    assert contents(place.dist) == before
    assert everything(place.hub) == hub_before
    left = [p for p in place.tmp.rglob("*") if p.name.endswith(".partial") or "probe" in p.name]
    assert left == []
    if name in BUILT:
        for path in place.out.rglob("*.parquet"):
            pq.read_metadata(path)  # whole
    else:
        assert (place.out.exists() and contents(place.out)) == had_out


def test_there_are_enough_cases():
    assert len(CASES) >= 25 and set(CASES) >= BUILT


def test_the_same_commands_without_the_harm_are_fine(place):
    """What the cases harm is what they fail of."""
    assert run_publish("check", place.dist, "--no-load").code == 0
    assert run_publish(*place.push("--verify", "tree")).code == 0
    assert everything(place.hub)[f"dataset/{NAME}"][2] == contents(place.dist)


def test_after_a_full_disk_the_same_command_ends_the_build(place):
    with place.around:
        assert run_publish(*full_disk(place)).code == 1
    assert not read_manifest(place.out).is_complete
    assert run_publish(*place.build("--n", 3)).code == 0
    assert run_publish("check", place.out, "--no-load").code == 0


def test_markup_in_prompts_is_accepted_and_stays_text(place):
    """HTML, Markdown and YAML are no reason to refuse a prompt; they reach no card as such."""
    evil = [
        "chest <script>alert(1)</script> <img src=x onerror=y>",
        "chest ---\nlicense: mit\n---\n# Mine",
        "chest | x | [a](javascript:b) ![c](d) `e` {n_rows}",
    ]
    path = place.tmp / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in evil))
    args = ("build", "--n", 3, "--steps", 1, "--quiet", "--model", place.checkpoint, "--no-filter")
    assert run_publish(*args, "--prompts", path, "--out", place.out).code == 0
    ran = run_publish("check", place.out, "--no-load")
    assert ran.code == 3 and "FAILED" not in ran.out, ran.out  # nothing but what was not measured
    card = (place.out / "README.md").read_text()
    assert "<script" not in card and "javascript" not in card and "\nlicense: mit" not in card
