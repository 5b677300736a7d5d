"""Many visitors at once: each gets the own picture, in the order of coming, and is told when it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from space_page import page

from benchmarks import space_client, space_load
from space.draw import limits
from space.page import serving

STEPS = 2


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page with places for two drawings to wait."""

    def two_wait(demo: Any) -> Any:
        return serving.bounded(demo, limits.WaitingRoom(n=2))

    with page(checkpoint, tmp_path_factory.mktemp("gradio"), two_wait) as url:
        yield url


def test_visitors_at_once_get_their_own_pictures_in_the_order_of_coming(address, checkpoint):
    found, seen = asyncio.run(space_load.load(address, 6, STEPS, gap=0.0, again=True))
    assert (found.drawn, found.bare, found.failed) == (6, 0, [])
    assert sorted(seed for seed, *_ in seen) == list(range(6))
    assert space_load.count_wrong(str(checkpoint), STEPS, seen) == 0
    assert space_load.count_wrong(str(checkpoint), STEPS, [(seen[0][0] + 1, *seen[0][1:])]) == 2
    assert found.overtaken == 0
    assert found.refused > 0 and found.longest_queue >= 2
    for sentence in found.sentences:
        assert sentence.startswith("2 drawings are waiting for their turn, and no more can wait.")
        assert "Try again in about" in sentence


def test_with_every_place_taken_the_page_still_opens(address, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise limits.FullError("24 drawings are waiting for their turn.", 7)

    monkeypatch.setattr(limits.WaitingRoom, "check", full)

    async def come() -> tuple[space_client.Visitor, space_client.Answer, httpx.Response]:
        async with space_client.http_client() as client:
            late = space_client.Visitor(client, address, space_client.read_config(address))
            await late.open()
            drawing = await late.draw(space_load.PROMPT, 0, STEPS)
            await late.close()
            body = {"data": [space_load.PROMPT, 0, STEPS, 1.5, "", ""]}
            return late, drawing, await client.post(f"{address}gradio_api/call/generate", json=body)

    late, drawing, refusal = asyncio.run(come())
    assert any("weights <code>" in str(value) for value in late.values.values())
    for code, said in (
        (drawing.code, drawing.refused),
        (refusal.status_code, refusal.json()["detail"]),
    ):
        assert code == 429 and said == "24 drawings are waiting for their turn."
    assert refusal.headers["retry-after"] == "7"


@pytest.mark.slow
def test_fifty_visitors_at_once(checkpoint):
    found = space_load.run_load(str(checkpoint), 50, STEPS, gap=0.02, again=True)
    assert (found.drawn, found.bare, found.failed, found.wrong, found.overtaken) == (
        50,
        0,
        [],
        0,
        0,
    )
    assert found.refused > 0 and found.longest_queue <= 24 + 60  # drawings, and what follows them
    assert space_load.p(found.page, 0.95) <= 1


@pytest.mark.slow
def test_memory_stays_as_it_is_over_five_hundred_drawings(checkpoint, tmp_path):
    with space_client.served(tmp_path, str(checkpoint)) as (pid, url):
        sizes = asyncio.run(space_load.drawings(pid, url, 500, STEPS, each=2))
    # by then as many visitors have come as are remembered
    assert space_load.growth(sizes, warm=250) <= 0.05
    left = [one for one in (tmp_path / "gradio").rglob("*") if one.is_file()]
    assert sum(one.stat().st_size for one in left) < 200e6
