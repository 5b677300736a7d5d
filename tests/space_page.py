"""The page served in the tests' own process."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from space.draw.model import MODEL_VARIABLE


@contextmanager
def page(
    checkpoint: Path, uploads: Path, change: Callable[[Any], Any] = lambda demo: demo
) -> Iterator[str]:
    """Where the page is served; `change` is given it before it is launched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL_VARIABLE, str(checkpoint))
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        from space.page.ui import build_demo, launch

        demo = change(build_demo())
        _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True, mcp_server=False)
        yield url
        demo.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()  # what gradio left, so that no later test meets it
