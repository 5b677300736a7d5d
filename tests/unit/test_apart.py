"""A function of a path in a process of its own, and films whose decoder ends its process."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from encoded import write_encoded
from tiny import film

from lungsynth.errors import DataError
from lungsynth.films import codestream
from lungsynth.films.apart import Apart
from lungsynth.films.film import read_film


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    made = Apart("called_apart:as_told", seconds=30)
    yield made
    made.close()


def test_arrays_come_back_and_the_process_is_kept(apart: Apart) -> None:
    for name in ("a", "abc", "line\nbreak", "é" * 40):
        found = apart(Path(name))
        assert found is not None and found.dtype == np.uint16
        np.testing.assert_array_equal(found, np.full((2, 3), len(name)))
    process = apart._process
    assert apart(Path("fail")) is None and apart(Path("object")) is None
    assert apart(Path("abc")) is not None and apart._process is process


def test_what_ends_or_hangs_its_process_is_none_and_the_next_call_is_answered(apart: Apart) -> None:
    for name in ("end", "hang", "end"):
        apart.seconds = 1 if name == "hang" else 30
        assert apart(Path(name)) is None
        apart.seconds = 30
        assert apart(Path("abc")) is not None


def test_threads_get_their_own_arrays(apart: Apart) -> None:
    found: dict[int, object] = {}

    def ask(n: int) -> None:
        found[n] = apart(Path("a" * n))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 9)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(np.array_equal(found[n], np.full((2, 3), n)) for n in range(1, 9))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("syntax", "fatal"),
    [(codestream.JPEG_LOSSLESS_SV1, (89, 107)), (codestream.JPEG_2000_LOSSLESS, (51, 116))],
)
def test_no_damage_to_a_stream_ends_this_process(
    syntax: str, fatal: tuple[int, ...], tmp_path: Path
) -> None:
    """The fatal ones abort GDCM 3.2: decoded here, they would end the tests."""
    path = write_encoded(tmp_path / "film.dcm", film(1)[0].astype(np.uint16) * 16, syntax)
    whole = path.read_bytes()
    begin = whole.rindex(b"\xe0\x7f\x10\x00") + 8
    for seed in (*range(8), *fatal):
        rng, content = random.Random(seed), bytearray(whole)
        for _ in range(rng.choice((1, 3, 10, 40))):
            content[rng.randrange(begin, begin + 150)] = rng.randrange(256)
        path.write_bytes(content)
        try:
            read_film(path)
        except DataError as error:
            assert f"{path}: damaged" in str(error)
        else:
            assert seed not in fatal
    path.write_bytes(whole)
    assert read_film(path).image.shape == film(1)[0].shape
