"""A visitor of the page without a browser: speaks the page's own protocol, so that fifty fit a machine.

A visitor opens the page, lets its load events run, draws, and lets every event that follows a drawing
run, as the page's script does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[1]
API = "gradio_api"
PATIENCE = 600.0
"""Seconds without a word about an event after which a visitor gives up."""


def http_client() -> httpx.AsyncClient:
    """For any number of visitors; drops idle connections before the server does."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2)
    return httpx.AsyncClient(timeout=None, limits=limits)


@contextlib.contextmanager
def served(folder: Path, checkpoint: str = "", **environment: str) -> Iterator[tuple[int, str]]:
    """(process id, address) of a page of its own, its model loaded; ended at the end.

    Args:
        folder: For its log and temporary files.
        checkpoint: As `LUNGSYNTH_MODEL`; "" for the shipped one.
        environment: More variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    own = {"GRADIO_TEMP_DIR": str(folder / "gradio"), "LUNGSYNTH_MODEL": checkpoint}
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=os.environ | own | environment,
        )
    try:
        give_up = time.monotonic() + PATIENCE
        while True:
            if server.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError((folder / "log.txt").read_text())
            with contextlib.suppress(OSError), urlopen(f"{address}config", timeout=5):
                break
            time.sleep(0.2)
        with httpx.Client(timeout=180) as client:  # answered when the model is there
            asked = client.post(f"{address}{API}/call/words", json={"data": ["chest"]})
            client.get(f"{address}{API}/call/words/{asked.json()['event_id']}").raise_for_status()
        yield server.pid, address
    finally:
        server.terminate()
        server.wait(timeout=60)


def read_config(address: str) -> dict[str, Any]:
    """The page's components and events."""
    return httpx.get(f"{address}config", timeout=60).raise_for_status().json()


@dataclass
class Answer:
    """What became of one event."""

    asked: float  # time.monotonic() when it was sent
    admitted: float | None = None  # when the server took it; None = refused
    refused: str = ""  # the server's words
    code: int = 200
    started: float | None = None
    ended: float | None = None
    outputs: list[Any] | None = None  # None = failed
    error: str = ""


@dataclass
class Visitor:
    """One browser.

    Args:
        client: Shared by all.
        address: Of the page, with the slash at its end.
        config: See `read_config`.
    """

    client: httpx.AsyncClient
    address: str
    config: dict[str, Any]
    session: str = field(default_factory=lambda: uuid.uuid4().hex[:11])
    values: dict[int, Any] = field(default_factory=dict)
    page_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.events = {one["id"]: one for one in self.config["dependencies"]}
        for one in self.config["components"]:
            self.values[one["id"]] = one.get("props", {}).get("value")
        self._waiting: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._early: dict[str, list[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    def set(self, label: str, value: Any) -> None:
        """Fill the first control of this label."""
        self.values[
            next(
                one["id"]
                for one in self.config["components"]
                if one.get("props", {}).get("label") == label
            )
        ] = value

    def shown(self, label: str) -> Any:
        """The value of the first component of this label."""
        return next(
            self.values[one["id"]]
            for one in self.config["components"]
            if one.get("props", {}).get("label") == label
        )

    def event(self, name: str) -> int:
        """Number of an event by the name of its function."""
        return next(key for key, one in self.events.items() if one.get("api_name") == name)

    async def open(self) -> None:
        """Fetch the page, run its load events."""
        begun = time.monotonic()
        (await self.client.get(self.address)).raise_for_status()
        self.page_seconds = time.monotonic() - begun
        loads = [
            key
            for key, one in self.events.items()
            if [0, "load"] in one["targets"] or any(what == "load" for _, what in one["targets"])
        ]
        await asyncio.gather(*(self.call(key) for key in loads))

    async def close(self) -> None:
        """Leave: the server may forget the session."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
                await self._reader
        self._reader = None

    async def draw(self, prompt: str, seed: int, steps: int) -> Answer:
        """Draw as the button does, and run what follows a drawing; the panels' values are kept."""
        self.values[self.events[self.event("draw")]["inputs"][0]] = prompt
        self.set("Seed", seed)
        self.set("Steps", steps)
        drawn = await self.call(self.event("draw"))
        if drawn.outputs is not None:
            await self._follow(self.event("draw"))
        return drawn

    async def call(self, number: int) -> Answer:
        """Send one event with the values as they are, and wait for its end."""
        one = self.events[number]
        answer = Answer(time.monotonic())
        body = {
            "data": [self.values.get(key) for key in one["inputs"]],
            "fn_index": number,
            "session_hash": self.session,
            "trigger_id": None,
            "event_data": None,
        }
        joined = await self.client.post(f"{self.address}{API}/queue/join", json=body)
        answer.code = joined.status_code
        if joined.status_code != 200:
            answer.refused = str(joined.json().get("detail", joined.text))
            return answer
        answer.admitted = time.monotonic()
        event = joined.json()["event_id"]
        messages = self._waiting[event] = asyncio.Queue()
        for early in self._early.pop(event, []):
            messages.put_nowait(early)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        while True:
            message = await asyncio.wait_for(messages.get(), PATIENCE)
            if message["msg"] == "process_starts":
                answer.started = time.monotonic()
            elif message["msg"] == "process_completed":
                break
        del self._waiting[event]
        answer.ended = time.monotonic()
        output = message.get("output") or {}
        if message.get("success"):
            answer.outputs = output.get("data")
            for key, value in zip(one["outputs"], answer.outputs or [], strict=False):
                if isinstance(value, dict) and value.get("__type__") == "update":
                    if "value" in value:
                        self.values[key] = value["value"]
                else:
                    self.values[key] = value
        else:
            answer.error = str(output.get("error"))
        return answer

    async def _follow(self, number: int) -> None:
        for key, one in self.events.items():
            if one.get("trigger_after") != number or one.get("trigger_only_on_failure"):
                continue
            if one.get("backend_fn"):
                await self.call(key)
            await self._follow(key)

    async def _read(self) -> None:
        """Hand the stream's messages to the events they belong to, as long as any is open."""
        url = f"{self.address}{API}/queue/data?session_hash={self.session}"
        while self._waiting:
            with contextlib.suppress(httpx.TransportError):
                async with self.client.stream("GET", url) as stream:
                    async for line in stream.aiter_lines():
                        if not line.startswith("data:"):
                            continue
                        message = json.loads(line[5:])
                        self._hand_on(message)
                        if message["msg"] in ("close_stream", "unexpected_error"):
                            break
            await asyncio.sleep(0.01)

    def _hand_on(self, message: dict[str, Any]) -> None:
        event = message.get("event_id")
        if event in self._waiting:
            self._waiting[event].put_nowait(message)
        elif event:
            self._early.setdefault(event, []).append(message)
        if message["msg"] == "unexpected_error" and not message.get("session_not_found"):
            for queue in self._waiting.values():
                queue.put_nowait(
                    {
                        "msg": "process_completed",
                        "success": False,
                        "output": {"error": message.get("message")},
                    }
                )

    async def x_ray(self) -> NDArray[np.uint8]:
        """Pixels of the X-ray that the page shows this visitor."""
        viewer = next(
            one["id"]
            for one in self.config["components"]
            if one.get("props", {}).get("elem_id") == "ls-viewer"
        )
        return _pixels(base64.b64decode(self.values[viewer]["items"][0]["image"].partition(",")[2]))

    async def archive(self) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
        """Record and X-ray of the ZIP the page offers this visitor; None when it offers none."""
        files = [one for one in self.values.values() if isinstance(one, dict) and one.get("path")]
        packs = [one for one in files if str(one["path"]).endswith(".zip")]
        if not packs:
            return None
        with zipfile.ZipFile(io.BytesIO(await self._fetch(packs[0]))) as packed:
            return json.loads(packed.read("record.json")), _pixels(packed.read("image.png"))

    async def _fetch(self, file: dict[str, Any]) -> bytes:
        got = await self.client.get(f"{self.address}{API}/file={file['path']}")
        return got.raise_for_status().content


def _pixels(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L"))
