"""Serving the page to many at once: it answers while it draws, and only so many drawings wait."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from fastapi import HTTPException, Request

from space.draw import limits
from space.draw.limits import FullError, WaitingRoom
from space.page import front, gallery, text

log = logging.getLogger("lungsynth.space")

MODEL = "model"
"""`concurrency_id` of the events that use the checkpoint: one at a time, first come, first served."""
MAX_EVENTS = 2000
"""Events of every kind that may wait; what bounds drawings is `WaitingRoom`."""
SLEEP = 0.005
"""Seconds between two looks of the idle queue for an event; Gradio's own 0.001 costs a busy core 3 %."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class FrontPage:
    """ASGI middleware that renders the page's HTML once for each address it is opened at.

    Gradio renders it for every visitor, 50 ms of Python each; nothing in it differs but that
    address. The last n addresses are remembered; made-up ones only push out others.
    """

    def __init__(self, app: Any, n: int = 16) -> None:
        self.app, self.n = app, n
        self._pages: OrderedDict[tuple[Any, ...], list[Message]] = OrderedDict()
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == f"/{gallery.CARD}":
            await _send_card(send)
            return
        key = self._key(scope)
        if key is None:
            await self.app(scope, receive, send)
            return
        if key not in self._pages:
            async with self._lock:
                if key not in self._pages:
                    messages = await self._render(scope, receive)
                    if messages[0]["status"] != 200:
                        await _send_all(messages, send)
                        return
                    self._pages[key] = messages
                    while len(self._pages) > self.n:
                        self._pages.popitem(last=False)
        messages = self._pages.get(key) or await self._render(scope, receive)
        await _send_all(messages, send)

    @staticmethod
    def _key(scope: Message) -> tuple[Any, ...] | None:
        """What the HTML depends on; None for anything but the plain front page."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return None
        if {"page", "deep_link"} & parse_qs(scope["query_string"].decode("latin-1")).keys():
            return None
        names = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-prefix")
        headers = dict(scope["headers"])
        return (scope["scheme"], scope.get("root_path", ""), *(headers.get(name) for name in names))

    async def _render(self, scope: Message, receive: Receive) -> list[Message]:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        if messages[0].get("status") != 200 or len(messages) < 2:
            return messages
        start = dict(messages[0])
        html = b"".join(one.get("body", b"") for one in messages[1:]).decode()
        body = front.dressed(html, _origin(scope)).encode()
        kept = [one for one in start["headers"] if one[0].lower() != b"content-length"]
        start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
        return [start, {"type": "http.response.body", "body": body}]


def _origin(scope: Message) -> str:
    """Where the page is opened, as the proxy or the browser says it."""
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    scheme = headers.get("x-forwarded-proto", str(scope["scheme"])).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    fine = re.fullmatch(r"[\w.\-]+(:\d{1,5})?", host) and scheme in ("http", "https")
    return f"{scheme}://{host}" if fine else ""


async def _send_card(send: Send) -> None:
    picture = front.card()
    headers = [(b"content-type", b"image/jpeg"), (b"cache-control", b"public, max-age=3600")]
    status = 404 if picture is None else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": picture or b""})


async def _send_all(messages: list[Message], send: Send) -> None:
    for message in messages:  # copies: what compresses them writes into the headers
        copy = dict(message)
        if "headers" in copy:
            copy["headers"] = list(copy["headers"])
        await send(copy)


def visitor(request: Request | gr.Request) -> str:
    """See `limits.visitor_of`."""
    return limits.visitor_of(request.client.host if request.client else None, request.headers)


def guarded(demo: gr.Blocks) -> gr.Blocks:
    """`bounded`, `plain_refusals` and `many_tabs`, for a page whose `queue` was called."""
    return many_tabs(plain_refusals(bounded(demo)))


def many_tabs(demo: gr.Blocks) -> gr.Blocks:
    """Have an idle tab keep no connection.

    Gradio's heartbeat takes one a tab, and over HTTP/1.1 a browser has six a server: with six tabs open
    nothing more was answered. States end by their age and number; a drawing whose tab was closed is
    cancelled by its own connection.
    """
    configured = demo.get_config_file

    def without_heartbeat() -> Any:
        return configured() | {"connect_heartbeat": False}

    demo.get_config_file = without_heartbeat  # type: ignore[method-assign]
    return demo


def plain_refusals(demo: gr.Blocks) -> gr.Blocks:
    """Answer values that are not even of their kind with a sentence, and log one short line.

    Gradio otherwise writes a traceback, with what was sent in it, and answers "Error".
    """
    preprocess = demo.preprocess_data

    async def preprocess_plainly(*values: Any, **named: Any) -> Any:
        try:
            return await preprocess(*values, **named)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # noqa: BLE001 - a value no component understands can raise anything
            log.warning("refused a value: %s", type(error).__name__)
            raise gr.Error(text.UNREADABLE, title="Not read", print_exception=False) from None

    demo.preprocess_data = preprocess_plainly  # type: ignore[method-assign]
    return demo


def bounded(demo: gr.Blocks, room: WaitingRoom | None = None) -> gr.Blocks:
    """Bound how many drawings wait, by `WaitingRoom` unless told else; one too many gets HTTP 429.

    Gradio's own bound counts events of every kind, so that with 24 drawings waiting nobody could
    even open the page, nor see the rest of a picture already drawn. For a page whose `queue` was
    called.
    """
    room, queue = room or WaitingRoom(), demo._queue
    push = queue.push
    queue.sleep_when_free = SLEEP

    async def push_if_there_is_room(body: Any, request: Any, username: Any) -> Any:
        event = demo.fns.get(body.fn_index) if body.fn_index is not None else None
        if event is not None and event.concurrency_id == MODEL:
            there = queue.event_queue_per_concurrency_id.get(MODEL)
            waiting = there.queue if there is not None else []
            each = [
                queue.process_time_per_fn[one.fn].avg_time
                for one in waiting
                if one.fn in queue.process_time_per_fn
            ]
            try:
                room.check(
                    [visitor(one.request) for one in waiting],
                    visitor(request),
                    seconds=sum(each) / len(each) if each else None,
                )
            except FullError as error:
                headers = {"Retry-After": str(math.ceil(error.seconds))}
                raise HTTPException(429, str(error), headers) from None
        return await push(body, request, username)

    queue.push = push_if_there_is_room  # type: ignore[method-assign]
    return demo


def give_memory_back() -> bool:
    """Have glibc return freed memory to the system instead of keeping an arena a thread.

    Drawings free hundreds of megabytes in threads that come and go; by default each of up to eight
    arenas a core keeps its largest size. False where it could not be set: elsewhere than on Linux
    with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    arenas, mmap_threshold, trim_threshold = -8, -3, -1  # M_ARENA_MAX … of malloc.h
    wanted = ((arenas, 2), (mmap_threshold, 1 << 20), (trim_threshold, 1 << 24))
    return all(mallopt(*one) == 1 for one in wanted)
