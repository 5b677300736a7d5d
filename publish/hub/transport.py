"""The HTTP client huggingface_hub and datasets are given while something is published.

Both libraries try again by themselves: some requests never, some five times, some without end, and
they wait as long as a header says. Here each failure comes back at once as `Transient`, so that one
place decides (`publish.hub.retry`), no request outlives the deadline, and none hangs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext
from typing import Any

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import (
    default_client_factory,
    hf_request_event_hook,
    parse_ratelimit_headers,
)

from publish.hub.retry import Deadline, Transient

PASSING = frozenset((408, 429, 500, 502, 503, 504))
"""Statuses that may be better next time."""


class StrictTransport(httpx2.BaseTransport):
    """Sends a request once; what may pass is raised as Transient, whatever the caller expects."""

    def __init__(self, inner: httpx2.BaseTransport, deadline: Deadline) -> None:
        self.inner = inner
        self.deadline = deadline

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request."""
        self.deadline.check()
        timeouts = request.extensions.get("timeout") or {}
        left = self.deadline.remaining
        request.extensions = dict(request.extensions) | {
            "timeout": {key: min(value or left, left) for key, value in timeouts.items()}
        }
        where = f"{request.method} {request.url.path}"
        try:
            response = self.inner.handle_request(request)
        except httpx2.UnsupportedProtocol:
            raise  # no address; it will be none next time
        except httpx2.TransportError as error:
            raise Transient(f"{where}: no answer ({_words(error)})") from error
        if response.status_code in PASSING or _is_create_conflict(request, response):
            try:
                response.read()
            except httpx2.TransportError as error:
                raise Transient(f"{where}: no answer ({_words(error)})") from error
            finally:
                response.close()
            raise Transient(
                f"{where}: {response.status_code} {response.reason_phrase}",
                status=response.status_code,
                wait=asked_wait(response),
            )
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _StrictStream(response.stream, where, self.deadline)
        return response

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()


class _StrictStream(httpx2.SyncByteStream):
    """A body whose breaking off is Transient too."""

    def __init__(self, inner: httpx2.SyncByteStream, where: str, deadline: Deadline) -> None:
        self.inner, self.where, self.deadline = inner, where, deadline

    def __iter__(self) -> Iterator[bytes]:
        try:
            for block in self.inner:
                self.deadline.check()
                yield block
        except httpx2.TransportError as error:
            raise Transient(f"{self.where}: broken off ({_words(error)})") from error

    def close(self) -> None:
        self.inner.close()


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _is_create_conflict(request: httpx2.Request, response: httpx2.Response) -> bool:
    """The 409 after which huggingface_hub asks again without end."""
    if response.status_code != 409 or not request.url.path.endswith("/api/repos/create"):
        return False
    response.read()
    return "another conflicting operation is in progress" in response.text


def asked_wait(response: httpx2.Response) -> float | None:
    """Seconds an answer asks to wait: `RateLimit` (t=…) or `Retry-After`; None when it does not."""
    limit = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = response.headers.get("Retry-After", "").strip()
    return float(after) if after.isdigit() else None


@cache
def ssl_context() -> SSLContext:
    """This machine's certificates, read once, for it takes 50 ms."""
    return httpx2.create_ssl_context()


@contextmanager
def strict_clients(deadline: Deadline, *, connect_s: float, read_s: float) -> Iterator[None]:
    """huggingface_hub and datasets send their requests through StrictTransport, inside the block.

    A request has `connect_s` seconds to reach the server and `read_s` without a byte from it.
    """

    def client() -> httpx2.Client:
        return httpx2.Client(
            transport=StrictTransport(httpx2.HTTPTransport(verify=ssl_context()), deadline),
            event_hooks={"request": [hf_request_event_hook]},
            follow_redirects=True,
            timeout=httpx2.Timeout(read_s, connect=connect_s),
        )

    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


@contextmanager
def library_settings(**values: Any) -> Iterator[None]:
    """Constants of huggingface_hub with other values, inside the block.

    The library reads its environment once, when imported, and has no other setting for it.
    """
    before = {name: getattr(constants, name) for name in values}
    try:
        for name, value in values.items():
            setattr(constants, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)
