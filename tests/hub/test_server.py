"""The local Hub keeps its side of the protocol, judged by the real clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub import dataset
from hub.client import pointed_at
from hub.server import READER, Hub, serve

NAME = "lab/films"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub with an empty dataset repository; the clients talk to it, by LFS."""
    with serve() as running, pointed_at(running, tmp_path / "home") as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        running.add_repo(NAME)
        yield running


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint)


def put(hub: Hub, parent: str | None = None, **files: bytes | None) -> str:
    operations = [
        CommitOperationDelete(name.replace("__", "."), is_folder=False)
        if data is None
        else CommitOperationAdd(name.replace("__", "."), data)
        for name, data in files.items()
    ]
    return (
        api(hub)
        .create_commit(
            NAME, operations, commit_message="x", parent_commit=parent, repo_type="dataset"
        )
        .oid
    )


def test_whoami_tells_the_role(hub):
    said = api(hub).whoami()
    assert said["name"] == "ann" and said["auth"]["accessToken"]["role"] == "write"


def test_a_repository_is_made_once_and_private(hub):
    api(hub).create_repo("lab/new", repo_type="dataset", private=True)
    assert hub.repo("dataset", "lab/new").private
    with pytest.raises(HfHubHTTPError) as refused:
        api(hub).create_repo("lab/new", repo_type="dataset")
    assert refused.value.response.status_code == 409
    api(hub).create_repo("lab/new", repo_type="dataset", exist_ok=True)


def test_files_small_and_large_come_back(hub, tmp_path):
    sha = put(hub, a__txt=b"small", b__parquet=b"large" * 100)
    assert hub.repo("dataset", NAME).head.tree["b.parquet"].lfs_oid
    folder = Path(snapshot_download(NAME, repo_type="dataset", revision=sha))
    assert (folder / "a.txt").read_bytes() == b"small"
    assert (folder / "b.parquet").read_bytes() == b"large" * 100


def test_a_commit_on_an_old_parent_is_refused_whole(hub):
    first = put(hub, a__txt=b"1")
    second = put(hub, parent=first, a__txt=b"2")
    with pytest.raises(HfHubHTTPError) as refused:
        put(hub, parent=first, a__txt=b"3", c__txt=b"new")
    assert refused.value.response.status_code == 412
    repo = hub.repo("dataset", NAME)
    assert repo.head.sha == second and repo.files() == {"a.txt": b"2"}


def test_a_commit_with_one_bad_operation_changes_nothing(hub):
    head = put(hub, a__txt=b"1")
    with pytest.raises(EntryNotFoundError):
        put(hub, b__txt=b"2", missing__txt=None)
    assert hub.repo("dataset", NAME).head.sha == head


def test_an_object_that_was_never_uploaded_is_refused(hub):
    hub.schedule.faults = [fault("put", 0, "lost")]
    with pytest.raises(HfHubHTTPError, match="LFS pointer"):
        put(hub, b__parquet=b"large")
    assert "b.parquet" not in hub.repo("dataset", NAME).head.tree


def fault(route: str, nth: int, kind: str):
    from hub.faults import Fault

    return Fault(route, nth, kind)


def test_a_corrupted_upload_does_not_verify(hub):
    hub.schedule.faults = [fault("put", 0, "corrupt")]
    with pytest.raises(RuntimeError) as broken:
        put(hub, b__parquet=b"large")
    assert "announced SHA-256" in str(broken.value.__cause__)


def test_a_tag_is_never_moved(hub):
    first, second = put(hub, a__txt=b"1"), put(hub, a__txt=b"2")
    api(hub).create_tag(NAME, tag="v1.0.0", revision=first, repo_type="dataset")
    with pytest.raises(HfHubHTTPError) as refused:
        api(hub).create_tag(NAME, tag="v1.0.0", revision=second, repo_type="dataset")
    assert refused.value.response.status_code == 409
    [tag] = api(hub).list_repo_refs(NAME, repo_type="dataset").tags
    assert (tag.name, tag.target_commit) == ("v1.0.0", first)


def test_the_commit_header_is_the_sha_also_at_a_tag(hub):
    first = put(hub, a__txt=b"1")
    put(hub, a__txt=b"2")
    api(hub).create_tag(NAME, tag="v1.0.0", revision=first, repo_type="dataset")
    url = f"{hub.endpoint}/datasets/{NAME}/resolve/v1.0.0/a.txt"
    assert api(hub).get_hf_file_metadata(url=url).commit_hash == first
    path = api(hub).hf_hub_download(NAME, "a.txt", revision="v1.0.0", repo_type="dataset")
    assert Path(path).read_bytes() == b"1" and first in path


def test_the_etag_changes_with_the_content(hub):
    url = f"{hub.endpoint}/datasets/{NAME}/resolve/main/a.txt"
    put(hub, a__txt=b"1")
    before = api(hub).get_hf_file_metadata(url=url).etag
    put(hub, other__txt=b"x")
    assert api(hub).get_hf_file_metadata(url=url).etag == before
    put(hub, a__txt=b"2")
    assert api(hub).get_hf_file_metadata(url=url).etag != before


def test_a_tree_comes_in_pages(hub):
    put(hub, **{f"f{i}__txt": b"%d" % i for i in range(7)})
    hub.page_size = 3
    names = {e.path for e in api(hub).list_repo_tree(NAME, repo_type="dataset", recursive=True)}
    assert names == {".gitattributes", *(f"f{i}.txt" for i in range(7))}


def test_what_is_not_there_has_its_own_error(hub):
    put(hub, a__txt=b"1")
    with pytest.raises(RepositoryNotFoundError):
        api(hub).repo_info("lab/none", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api(hub).repo_info(NAME, repo_type="dataset", revision="v9.9.9")
    with pytest.raises(EntryNotFoundError):
        api(hub).hf_hub_download(NAME, "none.txt", repo_type="dataset")


def test_a_private_repository_is_hidden_and_a_reader_cannot_write(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(RepositoryNotFoundError):
        api(hub).repo_info(NAME, repo_type="dataset")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert api(hub).repo_info(NAME, repo_type="dataset").private
    with pytest.raises(HfHubHTTPError, match="write token"):
        put(hub, a__txt=b"1")


def test_a_bad_card_is_refused_before_anything_is_sent(hub):
    with pytest.raises(ValueError, match="must be an array"):
        put(hub, README__md=b"---\nwidget: text\n---\n")
    assert not any("/commit/" in one for one in hub.requests)


def test_datasets_loads_a_pushed_folder_plain_and_streaming(hub, tmp_path):
    folder = dataset.build(tmp_path / "dist")
    sha = api(hub).upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset").oid
    hub.requests.clear()
    plain = load_dataset(NAME, split="train", revision=sha, cache_dir=str(tmp_path / "cache"))
    stream = load_dataset(NAME, split="train", revision=sha, streaming=True)
    assert plain["id"][:] == [row["id"] for row in stream] == [f"s0-{i:04d}" for i in range(5)]
    assert plain[0]["image"].size == (8, 8)


def test_push_to_hub_is_one_commit_that_loads(hub, tmp_path):
    from datasets import Dataset

    made = Dataset.from_list(dataset.rows(4, seed=3), features=dataset.FEATURES)
    made.push_to_hub(NAME, split="train")
    assert len(hub.repo("dataset", NAME).history()) == 2
    again = load_dataset(NAME, split="train", cache_dir=str(tmp_path / "cache"))
    assert again["id"][:] == made["id"][:] and again.features == made.features
