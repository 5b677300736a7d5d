"""A local Hub to try the publisher against, until Ctrl-C: PYTHONPATH=tests python -m hub

It keeps everything in memory, on loopback, and asks nobody.
"""

from __future__ import annotations

import contextlib
import threading

from hub.server import WRITER, serve


def main() -> None:
    """Serve, and print what the clients must be told."""
    with serve() as hub:
        print(f"export HF_ENDPOINT={hub.endpoint} HF_TOKEN={WRITER}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
