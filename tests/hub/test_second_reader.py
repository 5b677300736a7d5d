"""A pushed dataset read through olah, a mirror of the Hub that others wrote.

It needs its own environment, since its requirements are not ours:

    python -m venv olah && olah/bin/pip install olah, then OLAH_PYTHON=olah/bin/python

OLAH_PYTHON names another interpreter that has it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, snapshot_download
from publishing import run_publish

from hub import dataset
from hub.client import pointed_at
from hub.server import serve

OLAH = Path(os.environ.get("OLAH_PYTHON", "olah/bin/python"))
NAME = "lab/films"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(not OLAH.is_file(), reason="olah is not installed; see the docstring")
def test_olah_gives_the_rows_of_each_tag(tmp_path, monkeypatch):
    # the hand-made dataset is not fit to publish
    monkeypatch.setattr("publish.commands.run.push.check", lambda dist, *, load=True: [])
    with serve() as hub:
        with pointed_at(hub, tmp_path / "home"):
            for tag, seed in (("v1.0.0", 1), ("v2.0.0", 2)):
                folder = dataset.build(tmp_path / "dist", n=5, seed=seed)
                words = f"--repo {NAME} --tag {tag} --public --yes".split()
                assert run_publish("push", folder, *words).code == 0
        netloc, port = hub.endpoint.removeprefix("http://"), free_port()
        mirror = subprocess.Popen(
            [
                str(OLAH),
                *f"-m olah.server --host 127.0.0.1 --port {port} --hf-scheme http".split(),
                *f"--hf-netloc {netloc} --hf-lfs-netloc {netloc} --mirror-scheme http".split(),
                *f"--mirror-netloc 127.0.0.1:{port} --mirror-lfs-netloc 127.0.0.1:{port}".split(),
                *("--repos-path", str(tmp_path / "repos"), "--log-path", str(tmp_path / "logs")),
            ],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            give_up = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert time.monotonic() < give_up and mirror.poll() is None, "olah did not start"
                time.sleep(0.2)
            through_olah = type(hub)(endpoint=f"http://127.0.0.1:{port}")
            with pointed_at(through_olah, tmp_path / "other"):
                repo = hub.repo("dataset", NAME)
                for tag, seed in (("v1.0.0", 1), ("v2.0.0", 2)):
                    wanted = [f"s{seed}-{i:04d}" for i in range(5)]
                    plain = load_dataset(
                        NAME, split="train", revision=tag, cache_dir=str(tmp_path / "cache")
                    )
                    stream = load_dataset(NAME, split="train", revision=tag, streaming=True)
                    assert plain["id"][:] == wanted == [row["id"] for row in stream], tag
                    assert plain[0]["image"].size == (8, 8)
                    info = HfApi(endpoint=through_olah.endpoint).dataset_info(NAME, revision=tag)
                    assert info.sha == repo.tags[tag]
                got = Path(snapshot_download(NAME, repo_type="dataset", revision="v2.0.0"))
                for name, data in repo.files("v2.0.0").items():
                    assert (got / name).read_bytes() == data
        finally:
            mirror.terminate()
            mirror.wait(timeout=30)
