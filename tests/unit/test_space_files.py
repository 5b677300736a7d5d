"""Files that the page hands out."""

import os
import threading
from pathlib import Path

import pytest

from space.page.files import kept

DATA = os.urandom(1 << 22)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_the_same_content_is_one_file_and_another_name_another(cache):
    first = kept("a.zip", b"one")
    assert kept("a.zip", b"one") == first and Path(first).read_bytes() == b"one"
    assert Path(first).name == "a.zip" and Path(first).is_relative_to(cache)
    assert kept("b.zip", b"one") != first and kept("a.zip", b"two") != first
    assert not [path for path in cache.rglob(".*") if path.is_file()]


def test_a_file_given_again_is_young_again():
    path = Path(kept("a.zip", b"one"))
    os.utime(path, (1, 1))
    kept("a.zip", b"one")
    assert path.stat().st_mtime > 1e9


def test_a_file_deleted_in_between_is_written_again():
    path = Path(kept("a.zip", b"one"))
    path.unlink()
    path.parent.rmdir()
    assert Path(kept("a.zip", b"one")).read_bytes() == b"one"


def test_a_download_is_whole_while_others_are_given_the_same_file():
    path = Path(kept("a.bin", DATA))
    stop = threading.Event()

    def give() -> None:
        while not stop.is_set():
            kept("a.bin", DATA)

    others = [threading.Thread(target=give) for _ in range(2)]
    for one in others:
        one.start()
    try:
        assert all(path.read_bytes() == DATA for _ in range(100))
    finally:
        stop.set()
        for one in others:
            one.join()
