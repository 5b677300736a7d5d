"""The page as tools for language models: listed and called by the `mcp` client over HTTP.

Pictures come as pictures and values as JSON, whether the client asks for progress or not.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser_server import serve
from PIL import Image
from tiny import film, png

from space.page.text import UNREADABLE

pytest.importorskip("mcp", reason="pip install mcp")

PROMPT = "Chest X-ray with pneumonia"


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mcp")
    page, url = serve(folder, LUNGSYNTH_MODEL=str(checkpoint))
    yield url
    page.terminate()
    page.wait(timeout=60)
    log = (folder / "log.txt").read_text()
    assert "Traceback" not in log and PROMPT not in log


def ask(address: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a client session answers to a question."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def run() -> Any:
        async with streamable_http_client(f"{address}gradio_api/mcp/") as (read, write, _):
            async with ClientSession(read, write) as session:
                await session.initialize()
                return await question(session)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client's own streams
        return asyncio.run(run())


def call(address: str, tool: str, **arguments: Any) -> tuple[bool, list[Any]]:
    """(whether it failed, texts and (H, W) pictures) of a tool."""

    async def told(*_: Any) -> None:
        pass

    answer = ask(
        address, lambda session: session.call_tool(tool, arguments, progress_callback=told)
    )
    found: list[Any] = []
    for one in answer.content:
        if one.type == "image":
            with Image.open(io.BytesIO(base64.b64decode(one.data))) as image:
                assert image.format == "PNG"
                found.append(np.asarray(image))
        else:
            found.append(one.text)
    return bool(answer.isError), found


@pytest.fixture(scope="module")
def direct(checkpoint: Path) -> dict[str, Any]:
    """What the library itself draws: method -> result."""
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.model.sampling import SampleOptions
    from lungsynth.pipeline import Synthesizer

    model, options = Synthesizer(str(checkpoint)), SampleOptions(steps=2, guidance=3.0)
    return {
        method: next(
            iter(
                model.generate(
                    [PROMPT], [3], options=options, refine_config=RefineConfig(method=method)
                )
            )
        )
        for method in ("crf", "none")
    }


def test_every_tool_says_what_it_does_and_takes(address):
    tools = {one.name: one for one in ask(address, lambda session: session.list_tools()).tools}
    assert set(tools) == {"generate", "segment", "words", "write"}
    assert tools["generate"].description.startswith("Draw a synthetic chest X-ray from a sentence")
    for name in ("generate", "segment"):
        assert "not for diagnosis" in tools[name].description
    takes = tools["generate"].inputSchema
    assert {name: one["type"] for name, one in takes["properties"].items()} == {
        "prompt": "string",
        "seed": "integer",
        "steps": "integer",
        "guidance": "number",
        "method": "string",
        "settings": "string",
    }
    assert takes["required"] == ["prompt"]
    for tool in tools.values():
        for name, one in tool.inputSchema["properties"].items():
            assert one["description"].endswith((".", '""', "affinity")), (tool.name, name)


@pytest.mark.parametrize("method", ["crf", "none"])
def test_a_drawing_and_its_refinement_are_the_librarys_own(address, direct, method):
    failed, (image, _, mask, _, overlay, _, record, archive, summary) = call(
        address, "generate", prompt=PROMPT, seed=3, steps=2, guidance=3.0, method=method
    )
    assert not failed
    assert np.array_equal(image, direct[method].image)
    assert np.array_equal(mask, direct[method].mask)
    assert overlay.shape == (64, 64, 3)
    record = json.loads(record)
    assert record["refine"]["method"] == method and record["synthetic"] is True
    assert archive.startswith(address) and httpx.get(archive).content.startswith(b"PK")
    assert "lung" in summary or "mask is empty" in summary


def test_without_progress_the_answer_is_the_same(address, direct):
    asked = {"prompt": PROMPT, "seed": 3, "steps": 2, "guidance": 3.0}
    answer = ask(address, lambda session: session.call_tool("generate", asked))
    pictures = [one for one in answer.content if one.type == "image"]
    for one, wanted in zip(pictures, (direct["crf"].image, direct["crf"].mask), strict=False):
        with Image.open(io.BytesIO(base64.b64decode(one.data))) as picture:
            assert np.array_equal(np.asarray(picture), wanted)
    assert len(pictures) == 3
    assert json.loads(answer.content[6].text)["seed"] == 3


def test_a_film_on_this_machine_is_refused_in_words(address):
    """Gradio fetches no address of the machine it runs on: a visitor could read from inside."""
    sent = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.png", png(film(2)[0]))})
    failed, [said] = call(address, "segment", film=f"{address}gradio_api/file={sent.json()[0]}")
    assert failed and UNREADABLE in said and "Traceback" not in said


def test_words_and_sentences(address):
    _, [found] = call(address, "words", prompt="chest, zebra")
    assert json.loads(found)["unknown"] == ["zebra"]
    _, [sentence] = call(address, "write", view="PA", age=60, sex="man")
    assert sentence == "Frontal PA chest X-ray of a 60-year-old man"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "zebra"}, "No word of 'zebra' was seen in training"),
        ({"prompt": PROMPT, "steps": -2}, "`steps` is -2; expected a whole number from 1 to 100"),
        ({"prompt": PROMPT, "method": "magic"}, "Refinement 'magic' is unknown"),
    ],
)
def test_a_mistake_is_told_in_a_plain_sentence(address, arguments, message):
    failed, [said] = call(address, "generate", **arguments)
    assert failed and message in said and "Traceback" not in said
