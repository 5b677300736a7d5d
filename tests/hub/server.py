"""The Hub's protocol over HTTP on loopback, as huggingface_hub and datasets speak it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hub import routes
from hub.faults import Fault, Schedule
from hub.store import HubRefusal, Repo

WRITER, READER = "hf_writer_token_for_tests_only", "hf_reader_token_for_tests_only"


@dataclass
class Hub:
    """A running server: its repositories, its users, its faults."""

    endpoint: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)  # token -> whoami
    schedule: Schedule = field(default_factory=Schedule)
    requests: list[str] = field(default_factory=list)  # "POST /api/repos/create"
    rejected: set[str] = field(default_factory=set)  # objects whose upload did not verify
    page_size: int = 1000  # entries a page of a tree
    xet_store: Path | None = None  # folder of Xet chunks; None = a server without Xet
    xet_hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 -> name among the chunks
    in_flight: int = 0  # requests being answered
    closing: threading.Event = field(default_factory=threading.Event)
    idle: threading.Condition = field(default_factory=threading.Condition)

    def repo(self, kind: str, name: str) -> Repo:
        """A repository that is there."""
        return self.repos[kind, name]

    def wait_until_idle(self, timeout_s: float = 10.0) -> None:
        """Wait for requests whose client has gone; they may still change something."""
        with self.idle:
            assert self.idle.wait_for(lambda: self.in_flight == 0, timeout_s)

    def add_repo(self, name: str, *, kind: str = "dataset", private: bool = True) -> Repo:
        """Make a repository behind the clients' back."""
        return self.repos.setdefault((kind, name), Repo(kind, name, private))


def user(name: str, role: str, *orgs: str, fine: dict[str, Any] | None = None) -> dict[str, Any]:
    """What whoami-v2 says of a token."""
    token: dict[str, Any] = {"displayName": "test", "role": role}
    if fine is not None:
        token["fineGrained"] = fine
    return {
        "type": "user",
        "name": name,
        "fullname": name,
        "orgs": [{"name": o} for o in orgs],
        "auth": {"type": "access_token", "accessToken": token},
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    hub: Hub

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *args: object) -> None:
        pass

    def _serve(self) -> None:
        with self.hub.idle:
            self.hub.in_flight += 1
        try:
            self._answer_one()
        finally:
            with self.hub.idle:
                self.hub.in_flight -= 1
                self.hub.idle.notify_all()

    def _answer_one(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        request = routes.Request(
            self.command, self.path, dict(self.headers.items()), b"", self.hub.endpoint
        )
        route, act = routes.find(self.hub, request)
        fault = self.hub.schedule.take(route)
        kind = fault.kind if fault else ""
        length = int(self.headers.get("Content-Length") or 0)
        if kind in ("cut", "cut-half"):
            self.rfile.read(length // 2 if kind == "cut-half" else 0)
            self._hang_up()
            return
        request.body = self.rfile.read(length) if length else self._chunked()
        if kind == "hang":
            self.hub.closing.wait(600)
            self._hang_up()
            return
        if fault and kind == "slow":
            threading.Event().wait(fault.seconds)
        if fault and kind in (
            "409",
            "412",
            "429",
            "429-retry-after",
            "500",
            "503",
            "403",
            "refused",
        ):
            self._answer(_refusal(fault))
            return
        request.fault = kind
        try:
            answer = act(request)
        except HubRefusal as refusal:
            answer = routes.error(refusal.status, refusal.message, refusal.code)
        if kind == "cut-after":
            self._hang_up()
        elif fault and kind == "500-after":
            self._answer(routes.error(500, "Internal Server Error"))
        else:
            self._answer(answer)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve

    def _chunked(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _answer(self, answer: routes.Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ValueError):
            pass  # the client went away

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            pass


def _refusal(fault: Fault) -> routes.Answer:
    if fault.kind == "refused":
        return routes.error(400, "The object does not have the announced SHA-256.")
    status = int(fault.kind[:3])
    words = {
        409: "A conflicting operation is in progress.",
        412: "A commit has happened since.",
        403: "Forbidden: you must use a write token to upload to a repository.",
        429: "Too many requests.",
    }
    answer = routes.error(status, words.get(status, "Internal Server Error"))
    if fault.kind == "429":
        answer.headers["RateLimit"] = f'"api";r=0;t={int(fault.seconds)}'
        answer.headers["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
    elif fault.kind == "429-retry-after":
        answer.headers["Retry-After"] = str(int(fault.seconds))
    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a Hub on loopback, with a writer and a reader of the organisation `lab`."""
    hub = Hub()
    hub.users = {WRITER: user("ann", "write", "lab"), READER: user("ann", "read", "lab")}
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
