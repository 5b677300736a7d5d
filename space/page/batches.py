"""The tab for many prompts at once, and what its events call."""

from __future__ import annotations

import io
import secrets
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lungsynth.errors import DataError
from space.draw import batch
from space.draw.batch import Batch
from space.page import handlers, text
from space.page.controls import PRESET, QUIET
from space.page.files import kept
from space.page.text import data_uri

MAX_TABLE = 200_000  # bytes of a CSV file


def batch_tab(part: dict[str, Any], name: gr.BrowserState) -> list[Any]:
    """Many prompts, with steps and guidance of the main panel; the components that `shown_of` fills.

    `name` is that of the batch this browser began.
    """
    # a change of it draws the next row: each waits for its turn as a visitor does
    turn = gr.State("")
    gr.Markdown(text.BATCH_INFO.format(most=batch.MAX_ROWS))
    prompts = gr.Textbox(label="Prompts, one a line", lines=6, elem_id="ls-batch")
    table = gr.File(label="or a CSV file", file_types=[".csv"], height=140)
    with gr.Row(elem_classes="ls-buttons"):
        start = gr.Button("Draw all", variant="primary", elem_id="ls-batch-start")
        stop = gr.Button("Stop")
    progress = gr.HTML(text.status("Nothing drawn yet."), elem_id="ls-batch-progress")
    with gr.Row(elem_classes="ls-buttons"):
        zipped = gr.DownloadButton("Save all (ZIP)", interactive=False, elem_id="ls-batch-zip")
        parquet = gr.DownloadButton(
            "Save all (Parquet)", interactive=False, elem_id="ls-batch-parquet"
        )
    shown = [progress, zipped, parquet, turn]
    begun = start.click(
        begin,
        [prompts, table, part["steps"], part["guidance"], part["seed"]],
        [name, *shown],
        **QUIET,
    )
    step = turn.change(
        handlers.gpu(draw_next),
        [turn, name],
        shown,
        concurrency_id="model",
        trigger_mode="multiple",
        show_progress="minimal",
        show_progress_on=[progress],
        api_visibility="private",
    )
    stop.click(stopped, name, [progress, turn], cancels=[step, begun], **QUIET)
    return shown


def begin(
    prompts: str, table: str | None, steps: float, guidance: float, seed: float
) -> tuple[Any, ...]:
    """Begin a batch: its name, and `shown_of` it."""
    try:
        with handlers.errors_shown("Not begun"):
            rows = batch.read_rows(prompts or "", _text(table), int(seed or 0))
            made = batch.begin(rows, steps or PRESET.steps, guidance or PRESET.guidance)
    finally:
        if table:
            Path(table).unlink(missing_ok=True)
    return made.name, *shown_of(made)


def _text(table: str | None) -> str:
    if not table:
        return ""
    data = Path(table).read_bytes()[: MAX_TABLE + 1]
    try:
        if len(data) > MAX_TABLE:
            raise DataError(f"The CSV file has over {MAX_TABLE:,} bytes; at most those are read.")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("The CSV file is not UTF-8 text; save it as UTF-8.") from None


def draw_next(turn: str, name: str, request: gr.Request) -> tuple[Any, ...]:
    """Draw one row of a batch; `shown_of` it."""
    made = batch.find(name)
    if not turn or made is None:
        return (gr.skip(),) * 4
    with handlers.errors_shown():
        handlers.count(request)
        batch.draw_next(made)
    return shown_of(made)


def again(name: str) -> tuple[Any, ...]:
    """The page is opened: `shown_of` the batch this browser began, which goes on."""
    made = batch.find(name)
    return (gr.skip(),) * 4 if made is None else shown_of(made)


def stopped(name: str) -> tuple[Any, str]:
    """Stop: the list as it is; opening the page again goes on."""
    made = batch.find(name)
    return (listed(made) if made else gr.skip()), ""


def shown_of(made: Batch) -> tuple[Any, ...]:
    """A batch as it is: list, ZIP, Parquet, and a turn that draws the next row, "" at the end."""
    if made.next() is not None:
        off = gr.update(interactive=False)
        return listed(made), off, off, secrets.token_hex(4)
    try:
        parquet = gr.update(
            value=kept("lungsynth-batch.parquet", batch.as_parquet(made)), interactive=True
        )
    except Exception:  # noqa: BLE001 - nothing was drawn: there is only the list of reasons
        parquet = gr.update(interactive=False)
    packed = gr.update(value=kept("lungsynth-batch.zip", batch.as_zip(made)), interactive=True)
    return listed(made), packed, parquet, ""


def listed(made: Batch) -> str:
    """How far a batch is, row by row; HTML."""
    at = made.next()
    done = len(made.rows) if at is None else at
    rows = []
    for n, row in enumerate(made.rows):
        why = made.refused(n)
        picture = made.place(n) / "image.png"
        state = f"Refused: {escape(why)}" if why else "waiting" if n >= done else "drawn"
        state = "drawing" if n == at else state
        small = ""
        if picture.is_file():
            with Image.open(picture) as image:
                image.thumbnail((48, 48))
                buffer = io.BytesIO()
                image.save(buffer, "PNG")
            small = f'<img src="{data_uri(buffer.getvalue())}" alt="Row {n + 1} as drawn">'
        rows.append(
            f'<tr><th scope="row">{n + 1}</th><td>{small}</td><td>{escape(row.prompt)}</td>'
            f"<td>{row.seed}</td><td>{state}</td></tr>"
        )
    said = f"{done} of {len(made.rows)} drawn." if at is not None else f"Done: {done} rows."
    head = "".join(
        f'<th scope="col">{one}</th>' for one in ("Row", "X-ray", "Prompt", "Seed", "State")
    )
    return (
        f'<div class="ls-progress" role="status"><label for="ls-batch-bar">{said}</label>'
        f'<progress id="ls-batch-bar" value="{done}" max="{len(made.rows)}"></progress></div>'
        '<div class="ls-scroll" tabindex="0" role="region" aria-label="Rows of the batch">'
        f'<table class="ls-table ls-batch"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
