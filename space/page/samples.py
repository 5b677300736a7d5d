"""Films to try the page with: synthetic ones, of the gallery."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from lungsynth.errors import DataError
from space.page import gallery, handlers


def sample_file() -> Path:
    """A picture of the gallery as a file of its own, which whoever reads it deletes.

    Raises:
        DataError: no gallery was built.
    """
    value = gallery.value()
    if value is None:
        raise DataError("No gallery was built: `python -m space.page.gallery` draws it.")
    item = secrets.choice(value["items"])
    with tempfile.NamedTemporaryFile(suffix=".png", prefix="sample-", delete=False) as file:
        file.write(base64.b64decode(item["image"].partition(",")[2]))
    return Path(file.name)


def read_sample(convention: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """A sample film, read as a visitor's own is; see `handlers.read_films`."""
    try:
        path = sample_file()
    except DataError as error:
        raise handlers.shown(error, "Not read") from None
    yield from handlers.read_films([str(path)], convention, request)
