"""The tabs beside the drawing: a visitor's film, two drawings side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from space.draw import actions, upload
from space.page import handlers, text
from space.page.controls import QUIET


def film_tab(convention: gr.Dropdown) -> None:
    """A visitor's own film."""
    gr.Markdown(text.UPLOAD_NOTICE)
    film = gr.File(
        label="Your X-ray", file_types=list(upload.ENDINGS), height=160, elem_id="ls-film"
    )
    status = gr.HTML(text.status("Nothing read yet."), padding=False)
    out = gr.HTML(padding=False)
    read = film.upload(
        handlers.gpu(handlers.read_film),
        [film, convention],
        [film, status, out],
        concurrency_id="model",
        show_progress="minimal",
        show_progress_on=[status],
        api_visibility="private",
    )
    read.failure(
        lambda: (None, text.status("Not read: the message says why."), ""),
        None,
        [film, status, out],
        **QUIET,
    )


def compare_tab(draw: dict[str, Any]) -> None:
    """Two drawings side by side."""
    gr.Markdown(
        "Two prompts, or one prompt under two seeds; steps, guidance, size and everything about the mask "
        "are as set under Draw."
    )
    sides = []
    with gr.Row():
        for name, seed in (("First", 0), ("Second", 1)):
            with gr.Column(min_width=320):
                words = gr.Textbox(
                    text.EXAMPLES[seed], label=f"{name} prompt", lines=2, max_length=2000
                )
                number = gr.Number(
                    seed, label=f"{name} seed", precision=0, minimum=0, maximum=actions.MAX_SEED
                )
                sides.append((words, number, gr.HTML(padding=False)))
    with gr.Row():
        button = gr.Button("Draw both", variant="primary")
        stop = gr.Button("Cancel")
    status = gr.HTML(text.status(text.EMPTY_RESULT), padding=False)
    told = gr.HTML(padding=False)
    (first, first_seed, one), (second, second_seed, two) = sides
    drawn = button.click(
        handlers.gpu(handlers.compare),
        [
            first,
            first_seed,
            second,
            second_seed,
            *(draw[name] for name in ("steps", "guidance", "size", "convention")),
            *draw["tuning"],
            draw["linked"],
        ],
        [status, one, two, told],
        concurrency_id="model",
        show_progress="full",
        show_progress_on=[status],
        api_visibility="private",
    )
    was_stopped = gr.State(False)
    drawn.failure(not_drawn, was_stopped, [status, was_stopped], **QUIET)
    stop.click(stopped_now, None, [status, was_stopped], cancels=[drawn], **QUIET)


def stopped_now() -> tuple[str, bool]:
    """Cancel was pressed: the status, and that it was."""
    return text.status(text.STOPPED), True


def not_drawn(stopped: bool) -> tuple[str, bool]:
    """A stopped drawing ends as a failed one does; it is told apart by who ended it."""
    return text.status(text.STOPPED if stopped else text.NOT_DRAWN), False
