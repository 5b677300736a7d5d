"""The tabs beside the drawing: a visitor's films."""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from lungsynth.errors import DataError
from space.draw import upload
from space.page import gallery, handlers, text, viewer
from space.page.controls import QUIET


def film_tab(convention: gr.Dropdown) -> None:
    """A visitor's own films."""
    gr.Markdown(text.UPLOAD_NOTICE)
    film = gr.File(
        label="Your X-rays",
        file_types=list(upload.ENDINGS),
        file_count="multiple",
        height=150,
        elem_id="ls-film",
    )
    sample = gr.Button("Try a sample film (synthetic)", size="sm", elem_id="ls-sample")
    status = gr.HTML(text.status("Nothing read yet."), padding=False)
    with gr.Column(visible=False) as result:
        picture = viewer.viewer("ls-film-viewer")
    notes = gr.HTML(padding=False)
    events: dict[str, Any] = {
        "concurrency_id": "model",
        "show_progress": "minimal",
        "show_progress_on": [status],
        "api_visibility": "private",
    }
    read = film.upload(
        handlers.gpu(handlers.read_films),
        [film, convention],
        [film, status, picture, notes],
        **events,
    )
    tried = sample.click(
        handlers.gpu(read_sample), [convention], [film, status, picture, notes], **events
    )
    for event in (read, tried):
        event.success(lambda: gr.update(visible=True), None, result, **QUIET)
        event.failure(
            lambda: (None, text.status("Not read: the message says why."), ""),
            None,
            [film, status, notes],
            **QUIET,
        )


def stopped_now() -> tuple[str, bool]:
    """Cancel was pressed: the status, and that it was."""
    return text.status(text.STOPPED), True


def not_drawn(stopped: bool) -> tuple[str, bool]:
    """A stopped drawing ends as a failed one does; it is told apart by who ended it."""
    return text.status(text.STOPPED if stopped else text.NOT_DRAWN), False


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
    with handlers.errors_shown("Not read"):
        path = sample_file()
    yield from handlers.read_films([str(path)], convention, request, ["Sample film (synthetic)"])
