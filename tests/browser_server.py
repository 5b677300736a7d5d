"""Starting the page as a program of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: Path, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """Start the page and wait until its model is there."""
    port = free_port()
    log = (folder / "log.txt").open("w")
    page = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        stdout=log,
        stderr=log,
        text=True,
        env=os.environ
        | {"GRADIO_TEMP_DIR": str(folder / "gradio"), "OMP_NUM_THREADS": "1"}
        | environment,
    )
    log.close()
    give_up = time.monotonic() + 180
    while True:
        assert page.poll() is None, (folder / "log.txt").read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/config", timeout=5):
                return page, f"http://127.0.0.1:{port}/"
        except OSError:
            assert time.monotonic() < give_up, "the page does not answer"
            time.sleep(0.1)


def seconds_of_a_drawing(address: str, steps: int = 2) -> float:
    """What a drawing by the API takes now; on a loaded machine many times what it takes alone."""
    call = f"{address}gradio_api/call/generate"
    body = json.dumps({"data": ["chest", 0, steps, 1.5, "", ""]}).encode()
    begun = time.monotonic()
    with urlopen(Request(call, body, {"Content-Type": "application/json"}), timeout=600) as answer:
        event = json.load(answer)["event_id"]
    with urlopen(f"{call}/{event}", timeout=600) as answer:
        told = answer.read().decode()
    assert "event: complete" in told, told[:500]
    return time.monotonic() - begun
