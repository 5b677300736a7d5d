"""How many may wait, who goes first, and the page made once: without a server."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from benchmarks.space_client import Answer
from benchmarks.space_load import growth, overtakings
from space.draw import limits
from space.page import api, front, serving


def test_whoever_finds_the_room_full_is_told_when_to_come_again():
    room = limits.WaitingRoom(n=3, each=2)
    room.check(["a", "b"], "c", seconds=4)
    with pytest.raises(limits.FullError) as caught:
        room.check(["a", "b", "c"], "d", seconds=4)
    assert str(caught.value) == (
        "3 drawings are waiting for their turn, and no more can wait. Yours was not taken. Try again "
        "in about 7 seconds, or run the page on your own machine."
    )
    assert caught.value.seconds == 7
    with pytest.raises(limits.FullError, match="in about 5 minutes"):
        room.check(["a", "b", "c"], "d", seconds=180)


def test_a_visitor_cannot_take_every_place():
    room = limits.WaitingRoom(n=5, each=2)
    with pytest.raises(limits.FullError, match="2 drawings of yours are waiting"):
        room.check(["a", "b", "a"], "a")
    room.check(["a", "b", "a"], "b")
    room.check(["", "", "", ""], "")  # one's own machine
    with pytest.raises(limits.FullError, match="5 drawings are waiting"):
        room.check([""] * 5, "")


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
def test_a_thread_that_steps_back_takes_those_it_starts_along_and_no_others():
    found = {}

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        limits.step_back(by=2)
        limits.step_back(by=2)  # a thread used twice
        found["own"] = nice()
        child = threading.Thread(target=lambda: found.update(child=nice()))
        child.start()
        child.join()

    before = nice()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found["own"] == found["child"] == min(19, before + 2)
    assert nice() == before


def test_where_threads_have_no_priority_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "setpriority", None)
    limits.step_back()
    assert serving.give_memory_back() is False


def test_memory_is_given_back_where_glibc_is():
    code = "from space.page.serving import give_memory_back; print(give_memory_back())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")


class Page:
    """Renders the page as Gradio does, and counts."""

    def __init__(self) -> None:
        self.rendered, self.status = 0, 200

    async def __call__(self, scope, receive, send) -> None:
        self.rendered += 1
        await asyncio.sleep(0)
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [(b"a", b"b")]}
        )
        await send({"type": "http.response.body", "body": str(self.rendered).encode()})


def scope(host: str = "a", *, query: str = "", path: str = "/", method: str = "GET") -> dict:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "query_string": query.encode(),
        "headers": [(b"host", host.encode())],
    }


async def fetch(front: serving.FrontPage, **asked: str) -> str:
    sent = []

    async def send(message) -> None:
        if "headers" in message:
            message["headers"].append((b"content-encoding", b"br"))  # as what compresses it does
            assert len(message["headers"]) <= 3
        sent.append(message)

    await front(scope(**asked), None, send)
    return sent[-1]["body"].decode()


def test_the_page_is_rendered_once_for_each_address():
    page = Page()
    front = serving.FrontPage(page)

    async def visit() -> list[str]:
        first = await asyncio.gather(*(fetch(front) for _ in range(5)))
        return [
            *first,
            await fetch(front, query="prompt=chest&seed=1"),
            await fetch(front, host="b"),
            await fetch(front),
        ]

    assert asyncio.run(visit()) == ["1"] * 6 + ["2", "1"]


@pytest.mark.parametrize(
    "asked",
    [{"query": "deep_link=x"}, {"query": "page=x"}, {"path": "/config"}, {"method": "POST"}],
)
def test_what_differs_between_visitors_is_never_kept(asked):
    front = serving.FrontPage(Page())

    async def visit() -> list[str]:
        return [await fetch(front, **asked) for _ in range(3)]

    assert asyncio.run(visit()) == ["1", "2", "3"]


def test_a_failure_is_not_kept_and_made_up_addresses_only_displace_others():
    page = Page()
    front = serving.FrontPage(page, n=2)

    async def visit() -> list[str]:
        page.status = 500
        failed = await fetch(front)
        page.status = 200
        return [failed, *[await fetch(front, host=host) for host in ("a", "b", "c", "a")]]

    assert asyncio.run(visit()) == ["1", "2", "3", "4", "5"]


def test_overtakings_are_counted_where_the_order_of_coming_is_known():
    def came(asked: float, admitted: float | None, started: float | None) -> Answer:
        return Answer(asked, admitted=admitted, started=started)

    fair = [came(0, 1, 5), came(2, 3, 6), came(2.5, 3.5, 5.5), came(4, None, None)]
    assert overtakings(fair) == 0  # the second and the third came together
    assert overtakings([came(0, 1, 9), came(2, 3, 6), came(4, 5, 7)]) == 2


def test_growth_is_that_of_the_medians_after_warming_up():
    assert growth([100, 500, *[200] * 20, *[210] * 20], warm=20) == pytest.approx(0.05)


HTML = """<html><head><meta property="og:title" content="Gradio" />
<meta property="og:url" content="{url}" /><meta
	property="og:description"
	content="" /><meta name="twitter:creator" content="@Gradio" /></head>
<body style="a"><p>app</p></body>"""


def test_link_previews_show_this_page_and_a_picture_is_there_at_once():
    page = front.dressed(HTML, "https://lab-page.hf.space")
    assert "Gradio" not in page and "{url}" not in page and page.count("og:title") == 1
    assert 'property="og:url" content="https://lab-page.hf.space/"' in page
    assert 'property="og:image" content="https://lab-page.hf.space/card.jpg"' in page
    body = page.split("<body")[1]
    assert body.index("data:image/png;base64,") < body.index("<p>app</p>")
    assert "Research only" in body and 'alt="Synthetic chest X-ray' in body
    assert front.dressed("no page", "") == "no page"


def test_the_picture_of_link_previews_is_served():
    sent = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(serving.FrontPage(Page())(scope(path="/card.jpg"), None, send))
    assert sent[0]["status"] == 200 and sent[1]["body"].startswith(b"\xff\xd8\xff")


def test_an_origin_is_taken_from_the_proxy_and_never_made_up():
    asked = scope("a.example:7860") | {"headers": [(b"host", b"a.example:7860")]}
    assert serving._origin(asked) == "http://a.example:7860"
    forwarded = [
        (b"host", b"x"),
        (b"x-forwarded-host", b"b.example"),
        (b"x-forwarded-proto", b"https"),
    ]
    assert serving._origin(asked | {"headers": forwarded}) == "https://b.example"
    assert serving._origin(asked | {"headers": [(b"host", b'"><b>')]}) == ""


def test_tools_answer_with_pictures_and_json_whether_progress_is_asked_for_or_not():
    def text_of(type: str, text: str) -> tuple[str, str]:
        return (type, text)

    server = SimpleNamespace(
        types=SimpleNamespace(TextContent=text_of),
        postprocess_output_data=lambda data, root: [("gradio's own", one) for one in data],
    )
    api.plain_answers(SimpleNamespace(mcp_server_obj=server))
    file = {"path": "/a.png", "meta": {}}
    wanted = [("gradio's own", file), ("text", '{\n  "seed": 3\n}'), ("gradio's own", "said")]
    assert server.postprocess_output_data([(file, {"seed": 3}, "said")], "") == wanted
    assert server.postprocess_output_data([file, {"seed": 3}, "said"], "") == wanted
    assert server.postprocess_output_data([["a"]], "") == [("text", '[\n  "a"\n]')]
    api.plain_answers(SimpleNamespace(mcp_server_obj=None))
