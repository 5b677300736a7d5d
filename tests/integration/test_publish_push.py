"""`python -m publish push` against a local Hub, with the real clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from hub import dataset
from hub.client import run_bare
from hub.faults import Fault
from hub.server import READER, Hub, serve, user
from publishing import build_options, contents, run_publish

pytestmark = pytest.mark.usefixtures("hand_made")

NAME = "lab/films"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """Five rows in three shards."""
    return dataset.build(tmp_path / "dist")


@pytest.fixture(scope="session")
def built(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `publish build` makes; not to be changed."""
    out = tmp_path_factory.mktemp("built") / "dist"
    assert run_publish(*build_options(checkpoint, out)).code == 0
    return out


def changing(hub: Hub) -> list[str]:
    """Requests that may change something."""
    return [one for one in hub.requests if not one.startswith(("GET", "HEAD"))]


def test_a_release_is_one_private_commit_read_back_and_tagged(hub, dist, publish, tmp_path):
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 0, ran.err
    repo = hub.repo("dataset", NAME)
    assert repo.private and len(repo.history()) == 2
    assert repo.files() == contents(dist)
    assert repo.tags == {"v1.0.0": repo.head.sha}
    assert repo.head.sha in ran.out and "v1.0.0" in ran.out
    loaded = load_dataset(NAME, revision="v1.0.0", split="train", cache_dir=str(tmp_path / "c"))
    streamed = load_dataset(NAME, revision="v1.0.0", split="train", streaming=True)
    assert loaded["id"][:] == [row["id"] for row in streamed] == [f"s0-{i:04d}" for i in range(5)]


def test_it_is_read_back_whole_before_the_tag(hub, dist, publish):
    assert publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes").code == 0
    requests = hub.requests
    commit = next(i for i, one in enumerate(requests) if "/commit/" in one)
    tag = next(i for i, one in enumerate(requests) if "/tag/" in one)
    between = requests[commit + 1 : tag]
    sha = hub.repo("dataset", NAME).head.sha
    assert any(f"/tree/{sha}" in one for one in between)
    for name in contents(dist):
        assert any(one == f"GET /datasets/{NAME}/resolve/{sha}/{name}" for one in between), name
    assert tag == len(requests) - 1


def test_without_yes_the_plan_is_printed_and_nothing_changed(hub, dist, publish):
    ran = publish("push", dist, "--repo", NAME)
    assert ran.code == 0 and changing(hub) == [] and hub.repos == {}
    assert f"dataset {NAME} (to be created, private)" in ran.out and "new         6" in ran.out
    assert "--yes" in ran.err


def test_a_dry_run_asks_the_hub_nothing_and_needs_no_token(hub, dist, publish, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    ran = publish("push", dist, "--repo", NAME, "--dry-run", "--json")
    assert ran.code == 0 and hub.requests == []
    told = json.loads(ran.out)["plan"]
    assert set(told["new"]) == set(contents(dist)) and told["user"] is None
    assert told["bytes"] == sum(map(len, contents(dist).values()))


def test_again_there_is_nothing_to_do(hub, dist, publish):
    args = ("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes", "--json")
    first = json.loads(publish(*args).out)
    hub.requests.clear()
    second = json.loads(publish(*args).out)
    assert first["status"] == "published" and second["status"] == "nothing to do"
    assert first["commit"] == second["commit"] and changing(hub) == []
    assert first["verified"]["splits"] == [{"config": "default", "split": "train", "rows": 5}]


def test_a_release_with_fewer_shards_leaves_no_stale_one(hub, dist, publish, tmp_path):
    assert publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes").code == 0
    first = hub.repo("dataset", NAME).head.sha
    dataset.build(dist, n=3, shard_rows=3, seed=1)
    ran = publish("push", dist, "--repo", NAME, "--tag", "v2.0.0", "--yes", "--json")
    assert ran.code == 0, ran.err
    repo = hub.repo("dataset", NAME)
    assert repo.files() == contents(dist) and len(repo.history()) == 3
    assert len(json.loads(ran.out)["plan"]["deleted"]) == 3
    assert repo.tags["v1.0.0"] == first
    old = load_dataset(NAME, revision="v1.0.0", split="train", cache_dir=str(tmp_path / "c"))
    assert old["id"][:] == [f"s0-{i:04d}" for i in range(5)]


def test_files_of_people_stay_and_other_data_goes(hub, dist, publish):
    import base64

    repo = hub.add_repo(NAME)
    for path in ("LICENSE", "notes/why.md", "data/old.csv", "train.parquet"):
        content = base64.b64encode(b"x").decode()
        repo.commit("main", "x", [("file", {"path": path, "content": content})])
    ran = publish("push", dist, "--repo", NAME, "--yes", "--json")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)["plan"]
    assert plan["deleted"] == ["data/old.csv", "train.parquet"]
    assert plan["kept"] == [".gitattributes", "LICENSE", "notes/why.md"]
    assert set(repo.files()) == {*contents(dist), "LICENSE", "notes/why.md"}


def test_only_changed_files_are_sent(hub, dist, publish):
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    hub.requests.clear()
    (dist / "README.md").write_text((dist / "README.md").read_text() + "\nMore.\n")
    ran = publish("push", dist, "--repo", NAME, "--yes", "--json")
    assert json.loads(ran.out)["plan"]["changed"] == ["README.md"]
    assert not any(one.startswith("PUT") for one in hub.requests)


def test_public_only_when_asked(hub, dist, publish):
    assert "PUBLIC" in publish("push", dist, "--repo", NAME, "--public").out
    assert publish("push", dist, "--repo", NAME, "--public", "--yes").code == 0
    assert not hub.repo("dataset", NAME).private


def test_a_tag_on_other_files_is_refused_before_anything_is_sent(hub, dist, publish):
    assert publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes").code == 0
    before = hub.repo("dataset", NAME).head.sha
    dataset.build(dist, seed=1)
    hub.requests.clear()
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 4 and ran.err.startswith("TagExistsError: v1.0.0 of lab/films exists")
    assert changing(hub) == [] and hub.repo("dataset", NAME).head.sha == before


def test_a_tag_is_added_to_what_is_there_already(hub, dist, publish):
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    sha = hub.repo("dataset", NAME).head.sha
    assert publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes").code == 0
    assert hub.repo("dataset", NAME).tags == {"v1.0.0": sha}


SCOPE = {
    "scoped": [{"entity": {"type": "org", "name": "lab"}, "permissions": ["repo.content.read"]}]
}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "No token."),
        (READER, "has the role `read`"),
        ("hf_unknownunknownunknown", "401"),
        ("hf_finefinefinefinefine", "has no `repo.write`"),
        ("hf_strangerstrangerstranger", "eve may write to eve, not to lab"),
    ],
)
def test_without_the_right_token_nothing_is_sent(hub, dist, publish, monkeypatch, token, words):
    hub.users["hf_finefinefinefinefine"] = user("bob", "fineGrained", "lab", fine=SCOPE)
    hub.users["hf_strangerstrangerstranger"] = user("eve", "write")
    monkeypatch.setenv("HF_TOKEN", token or "")
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert (
        ran.code == 3 and ran.err.splitlines()[-1].startswith("AccessError: ") and words in ran.err
    )
    assert hub.repos == {}
    assert token is None or token not in ran.err + ran.out


@pytest.mark.parametrize("token", ["hf_secretsecretsecretsecretsecret", "oidc.secretsecret.jwt"])
def test_a_token_in_an_answer_of_the_server_is_not_printed(hub, dist, publish, monkeypatch, token):
    from hub.store import HubRefusal

    hub.users[token] = user("ann", "write", "lab")

    def leak(*args: object, **named: object) -> None:
        raise HubRefusal(403, f"May not: {token}, Authorization: Bearer {token}")

    monkeypatch.setattr("hub.routes._info", leak)
    monkeypatch.setenv("HF_TOKEN", token)
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert ran.code == 3 and "May not" in ran.err and "[token]" in ran.err
    assert "secret" not in ran.err + ran.out


@pytest.mark.parametrize(
    "name",
    [
        "films",
        "lab/../films",
        "../films",
        "lab/films/x",
        "lab/fi lms",
        "lab//films",
        "/lab/films",
        "lab/..",
        "lab/films.git",
        "https://huggingface.co/lab/films",
    ],
)
def test_a_name_that_is_none_is_refused(hub, dist, publish, name):
    ran = publish("push", dist, "--repo", name, "--yes")
    assert ran.code == 1 and "ConfigError: --repo" in ran.err and hub.requests == []


@pytest.mark.parametrize(
    "tag", ["1.0.0", "v1", "v01.0.0", "v1.0.0-rc1", "latest", "v1.0.0/../main"]
)
def test_a_tag_that_is_no_version_is_refused(hub, dist, publish, tag):
    ran = publish("push", dist, "--repo", NAME, "--tag", tag, "--yes")
    assert ran.code == 1 and "ConfigError: --tag" in ran.err and hub.requests == []


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("no folder", "no such folder"),
        ("no manifest", "so not a dataset of `publish build`"),
        ("unfinished", "not finished"),
        ("shard changed", "the manifest says"),
        ("shard gone", "is missing, but in the manifest"),
        ("stale shard", "not in the manifest"),
        ("no card", "no README.md"),
        ("card without YAML", "front matter"),
        ("manifest no JSON", "cannot be understood"),
        ("token inside", "looks like a Hub token"),
        ("link outside", "outside the folder"),
        ("split without files", "has no file"),
    ],
)
def test_a_folder_that_is_not_fit_is_refused(hub, dist, publish, tmp_path, harm, words):
    shards = sorted((dist / "data").iterdir())
    manifest = json.loads((dist / "manifest.json").read_text())
    if harm == "no folder":
        dist = tmp_path / "nothing"
    elif harm == "no manifest":
        (dist / "manifest.json").unlink()
    elif harm == "unfinished":
        (dist / "manifest.json").write_text(json.dumps(manifest | {"files": []}))
    elif harm == "shard changed":
        shards[1].write_bytes(shards[0].read_bytes())
    elif harm == "shard gone":
        shards[1].unlink()
    elif harm == "stale shard":
        (dist / "data" / "train-00003-of-00009.parquet").write_bytes(shards[0].read_bytes())
    elif harm == "no card":
        (dist / "README.md").unlink()
    elif harm == "card without YAML":
        (dist / "README.md").write_text("# Films\n")
    elif harm == "manifest no JSON":
        (dist / "manifest.json").write_text("{")
    elif harm == "token inside":
        (dist / "notes.txt").write_text(f"hf_{'a' * 34}")
    elif harm == "link outside":
        (tmp_path / "other.txt").write_text("x")
        (dist / "other.txt").symlink_to(tmp_path / "other.txt")
    elif harm == "split without files":
        card = (dist / "README.md").read_text().replace("data/train-*", "data/test-*")
        (dist / "README.md").write_text(card)
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert ran.code == 1 and "ConfigError: " in ran.err and words in ran.err
    assert hub.requests == []


def test_a_hub_that_is_down_is_named_and_given_up(hub, dist, publish, monkeypatch):
    monkeypatch.setattr("publish.hub.retry.SystemClock.sleep", lambda self, seconds: None)
    hub.schedule.is_down = True
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 5 and "UnreachableError: whoami" in ran.err
    assert f"push {dist} --repo {NAME} --tag v1.0.0 --yes" in ran.err.splitlines()[-1]
    assert "Nothing was committed" in ran.err


def test_a_reader_of_the_commit_gets_what_was_sent_or_it_is_not_tagged(hub, dist, publish):
    hub.schedule.faults = [Fault("put", 1, "rotten")]
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 7 and "what comes back has the SHA-256" in ran.err
    assert "not read back, not tagged" in ran.err and hub.repo("dataset", NAME).tags == {}


def test_a_split_that_lost_rows_is_not_tagged(hub, dist, publish, monkeypatch):
    import publish.hub.verify as module

    read = module._read_rows
    monkeypatch.setattr(module, "_read_rows", lambda *a: (read(*a)[0] - 1, read(*a)[1]))
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 7 and "4 rows, not 5" in ran.err and hub.repo("dataset", NAME).tags == {}


def test_a_full_disk_while_reading_back_is_named(hub, dist, publish, monkeypatch):
    import errno

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("publish.hub.verify._read_rows", full)
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 1 and "OutputError: " in ran.err and "--verify tree" in ran.err
    assert "Main holds the whole of it" in ran.err and hub.repo("dataset", NAME).tags == {}
    assert (
        publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes", "--verify", "tree").code
        == 0
    )


def test_a_card_the_hub_refuses_stops_before_anything_is_uploaded(hub, dist, publish):
    card = (dist / "README.md").read_text().replace("---\n", "---\nwidget: text\n", 1)
    (dist / "README.md").write_text(card)
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert ran.code == 1 and '"widget" must be an array' in ran.err
    assert not any("/batch" in one or one.startswith("PUT") for one in hub.requests)
    assert hub.repo("dataset", NAME).files() == {}


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1"])
def test_an_endpoint_that_is_none_is_named_at_once(hub, dist, publish, monkeypatch, endpoint):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert ran.code == 1 and f"Is {endpoint} a Hub?" in ran.err


def test_another_writer_is_not_overwritten_unseen(hub, dist, publish, monkeypatch):
    """Somebody else releases other data between our look and our commit."""
    import base64

    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    repo = hub.repo("dataset", NAME)
    dataset.build(dist, seed=2)
    card = base64.b64encode(b"---\nlicense: mit\n---\ntheirs").decode()
    commit = repo.commit

    def late(*args):
        monkeypatch.setattr(repo, "commit", commit)
        commit("main", "theirs", [("file", {"path": "README.md", "content": card})])
        return commit(*args)

    monkeypatch.setattr(repo, "commit", late)
    ran = publish("push", dist, "--repo", NAME, "--yes")
    assert ran.code == 6 and "Somebody else changed README.md" in ran.err
    assert repo.files()["README.md"].endswith(b"theirs") and len(repo.history()) == 3
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    assert repo.files() == contents(dist)


def test_a_change_elsewhere_is_no_reason_to_stop(hub, dist, publish, monkeypatch):
    import base64

    monkeypatch.setattr("publish.hub.retry.SystemClock.sleep", lambda self, seconds: None)
    repo = hub.add_repo(NAME)
    commit = repo.commit

    def late(*args):
        monkeypatch.setattr(repo, "commit", commit)
        content = base64.b64encode(b"MIT").decode()
        commit("main", "theirs", [("file", {"path": "LICENSE", "content": content})])
        return commit(*args)

    monkeypatch.setattr(repo, "commit", late)
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    assert set(repo.files()) == {*contents(dist), "LICENSE"}


@pytest.mark.parametrize(
    ("where", "words"),
    [("upload", "Main is as it was"), ("create_tag", "Main holds the whole of it at")],
)
def test_interrupted_it_says_what_main_is_and_how_to_go_on(
    hub, dist, publish, monkeypatch, where, words
):
    hub.add_repo(NAME)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"publish.hub.repository.Hub.{where}", interrupt)
        ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 130 and words in ran.err and f"--repo {NAME} --tag v1.0.0 --yes" in ran.err
    repo = hub.repo("dataset", NAME)
    assert repo.tags == {} and (repo.files() == {} or repo.files() == contents(dist))
    assert publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes").code == 0
    assert repo.files() == contents(dist) and repo.tags == {"v1.0.0": repo.head.sha}
    assert len(repo.history()) == 2


def test_a_server_without_xet_is_sent_files_by_lfs(hub, dist, publish):
    from huggingface_hub import constants

    assert not constants.HF_HUB_DISABLE_XET
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    assert sum("xet-write-token" in one for one in hub.requests) == 1
    assert sum(one.startswith("PUT") for one in hub.requests) == 3
    assert not constants.HF_HUB_DISABLE_XET


def test_a_server_with_xet_is_sent_chunks(hub, dist, publish, tmp_path):
    """The real Xet client, into a folder of chunks; the server puts each file together again."""
    import hashlib

    import hf_xet

    shards = sorted((dist / "data").iterdir())
    hub.xet_store = tmp_path / "chunks"
    hub.xet_hashes = {
        hashlib.sha256(path.read_bytes()).hexdigest(): info.hash
        for path, info in zip(shards, hf_xet.hash_files([str(p) for p in shards]), strict=True)
    }
    ran = publish("push", dist, "--repo", NAME, "--tag", "v1.0.0", "--yes")
    assert ran.code == 0, ran.err
    assert not any(one.startswith("PUT") or "/batch" in one for one in hub.requests)
    assert any(path.is_file() for path in hub.xet_store.rglob("*"))
    repo = hub.repo("dataset", NAME)
    assert repo.files() == contents(dist) and repo.tags == {"v1.0.0": repo.head.sha}


def test_with_xet_switched_off_it_is_not_asked_for(hub, dist, publish, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert publish("push", dist, "--repo", NAME, "--yes").code == 0
    assert not any("xet" in one for one in hub.requests)


def test_several_configurations_and_splits_are_each_read_back(hub, dist, publish):
    manifest = json.loads((dist / "manifest.json").read_text())
    (dist / "preview").mkdir()
    shards = sorted((dist / "data").iterdir())
    copy = dist / "preview" / "train-00000-of-00001.parquet"
    copy.write_bytes(shards[0].read_bytes())
    listed = {key: manifest["shards"][0][key] for key in ("n_bytes", "sha256")}
    manifest["files"].append({"name": f"preview/{copy.name}", **listed})
    (dist / "manifest.json").write_text(json.dumps(manifest))
    (dist / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  default: true\n  data_files:\n"
        "  - split: train\n    path: data/train-0000[01]-*\n"
        "  - split: test\n    path: data/train-00002-*\n"
        "- config_name: preview\n  data_files:\n  - split: train\n    path: preview/*.parquet\n---\n"
    )
    ran = publish("push", dist, "--repo", NAME, "--yes", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verified"]["splits"] == [
        {"config": "default", "split": "train", "rows": 4},
        {"config": "default", "split": "test", "rows": 1},
        {"config": "preview", "split": "train", "rows": 2},
    ]


def test_the_real_program_follows_hf_endpoint(built, tmp_path):
    """A new process, with nothing but the environment to go by; it checks what it sends."""
    with serve() as hub:
        words = ("--repo", NAME, "--tag", "v0.1.0", "--yes", "--json")
        command = ("-m", "publish", "push", str(built), *words)
        done = run_bare(hub, tmp_path, *command, from_nothing=True)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        repo = hub.repo("dataset", NAME)
        assert told["url"] == f"{hub.endpoint}/datasets/{NAME}"
        assert told["commit"] == repo.tags["v0.1.0"] and repo.files() == contents(built)
        assert not any(tmp_path.rglob("*.parquet"))  # caches are cleared away


def test_help_tells_the_exit_codes(publish):
    told = " ".join(publish("push", "--help").out.split())
    for words in (
        "3 no token",
        "4 the tag exists",
        "5 the Hub is down",
        "7 what came back",
        "exit code 8",
    ):
        assert words in told
