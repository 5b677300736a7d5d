"""The page's layout and wiring; its events call `handlers`, `panels` and `opening`."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from space.draw import batch, upload
from space.draw.model import model_card, model_state
from space.page import (
    api,
    batches,
    controls,
    gallery,
    handlers,
    opening,
    panels,
    serving,
    text,
    viewer,
)
from space.page.controls import QUIET
from space.page.style import CSS, FOLLOW, ON_DRAW, ON_OPEN, SEE, WRITE_LINK, theme
from space.page.tabs import film_tab, not_drawn, stopped_now

SESSIONS = 96
"""Visitors remembered at once, longest unseen forgotten first; twice as many as are expected together.
Each keeps at most 4 pictures of 12 MB, or one of 48 MB."""
KEEP_SECONDS = 1800


def build_demo() -> gr.Blocks:
    """The page; nothing is loaded until it is opened."""
    with gr.Blocks(title=text.TITLE, analytics_enabled=False, delete_cache=(300, 900)) as demo:
        # outside the tabs: what stands in one that was not opened yet is empty when the page is loaded
        begun = gr.BrowserState("", storage_key="lungsynth-batch", secret="not-a-secret")
        history = gr.BrowserState([], storage_key="lungsynth-history", secret="not-a-secret")
        gr.HTML(text.BANNER, elem_id="ls-banner", padding=False)
        gr.Markdown(f"# {text.TITLE}\n{text.SUBTITLE}", elem_id="ls-title")
        with gr.Tabs():
            with gr.Tab("Draw", id="draw"):
                draw = _draw_tab(history)
            with gr.Tab("Your X-ray", id="film"):
                film_tab(draw["convention"])
            with gr.Tab("Batch", id="batch"):
                shown = batches.batch_tab(draw, begun)
            with gr.Tab("Model", id="about") as about_tab:
                card = gr.Markdown(elem_id="ls-card")
        line = gr.HTML(padding=False)
        about_tab.select(model_card, None, card, **QUIET)
        names = ("prompt", "seed", "steps", "guidance", "size", "convention", "linked", "unseen")
        fields = [line, *(draw[name] for name in (*names, "begin", *controls.COMPOSED))]
        demo.load(opening.opened, None, [*fields, *draw["tuning"]], **QUIET)
        demo.load(None, None, None, js=ON_OPEN, api_visibility="private")
        demo.load(opening.report_words, draw["prompt"], draw["words"], **QUIET)
        demo.load(text.history, draw["history"], draw["before"], **QUIET)
        demo.load(batches.again, begun, shown, **QUIET)
        # pressed by the script when Back or Forward was; the address is given it by `js`
        again = gr.Button("Open the address", elem_id="ls-reopen", elem_classes="ls-hide")
        again.click(
            opening.reopened,
            gr.Textbox(visible=False),
            [*fields, *draw["tuning"]],
            js="() => [window.location.search || '?']",
            **QUIET,
        )
        api.add_endpoints()
    return serving.guarded(demo.queue(max_size=serving.MAX_EVENTS))


def _draw_tab(history: gr.BrowserState) -> dict[str, Any]:
    """The main panel; its parts by name."""
    part: dict[str, Any] = {
        "studies": gr.State([], time_to_live=KEEP_SECONDS),
        "which": gr.State(0),
        "pinned": gr.State([], time_to_live=KEEP_SECONDS),
        "linked": gr.State(None),  # the link the page was opened with, for what no control shows
        "begin": gr.State(""),  # a change of it draws: a link was opened, or chance has chosen
        "history": history,
    }
    with gr.Row(elem_id="ls-draw-tab"):
        with gr.Column(elem_id="ls-ask", min_width=320):
            part |= controls.asking()
        with gr.Column(elem_id="ls-see", min_width=320):
            part["viewer"] = viewer.viewer("ls-viewer", gallery.value())
            part |= controls.take_home()
            part["compared"] = gr.HTML(padding=False, elem_id="ls-compared")
            part["table"] = gr.HTML(padding=False)
            part["summary"] = gr.HTML(padding=False)
        with gr.Column(elem_id="ls-more", min_width=320):
            part |= controls.composing(part["prompt"])
            with gr.Accordion("Advanced", open=False):
                part["unseen"] = gr.HTML(padding=False)
                part |= controls.drawing()
                part["tuning"], part["back"] = controls.tuning_controls()
                gr.Markdown(text.MASK_INFO)
            part["programs"] = controls.program()
            part["reporting"], part["hand_in"], part["handed_in"] = controls.report_controls()
            with gr.Accordion("Drawn in this browser", open=False):
                part["before"] = gr.HTML(padding=False)
    _wire(part)
    return part


def _wire(part: dict[str, Any]) -> None:
    """What follows what, in the main panel."""
    studies, which, linked = part["studies"], part["which"], part["linked"]
    at, made_of = [studies, which], [studies, which, *part["tuning"], linked]
    masks = [part["viewer"], part["table"], part["summary"]]
    taken = [part["archive"], part["link"], part["pin"], *part["programs"]]

    def take(event: Any, js: str = WRITE_LINK) -> Any:
        """What is taken away follows an event, and the address bar follows that."""
        done = event.success(panels.take_away, [*at, linked], taken, **QUIET)
        done.success(None, part["link"], None, js=js, api_visibility="private")
        return done

    _wire_drawing(part, take)
    chosen = part["viewer"].select(
        panels.choose, studies, [which, part["prompt"], part["seed"], part["status"]], **QUIET
    )
    take(chosen.success(panels.numbers, at, masks[1:], **QUIET))
    part["viewer"].expand(
        panels.by_rule, made_of, part["viewer"], concurrency_id="mask", concurrency_limit=2, **QUIET
    )
    tuned = gr.on(
        [control.input for control in part["tuning"]],
        panels.remask,
        made_of,
        masks,
        trigger_mode="always_last",
        concurrency_id="mask",
        **QUIET,
    )
    back = part["back"].click(
        opening.reset, None, [*part["tuning"], linked, part["unseen"]], **QUIET
    )
    remade = back.success(panels.remask, made_of, masks, concurrency_id="mask", **QUIET)
    for event in (tuned, remade):
        compared = [part["pinned"], *at]
        take(event).success(panels.compare, compared, part["compared"], **QUIET)
    pinned = [part["pinned"], part["pin"], part["compared"]]
    part["pin"].click(panels.pin, [part["pinned"], *at], pinned, **QUIET)
    part["hand_in"].click(
        panels.report,
        [*at, linked, *part["reporting"]],
        part["handed_in"],
        concurrency_id="report",
        **QUIET,
    )
    composed = [part[name] for name in ("prompt", "seed", *controls.COMPOSED, "begin")]
    part["surprise"].click(opening.surprise, None, composed, **QUIET)


def _wire_drawing(part: dict[str, Any], take: Any) -> None:
    """The button, Enter, an opened link: a drawing, and all that is shown of it."""
    studies, which, status = part["studies"], part["which"], part["status"]
    names = ("prompt", "seed", "steps", "guidance", "pictures", "size", "convention")
    drawn = gr.on(
        [part["button"].click, part["prompt"].submit, part["begin"].change],
        handlers.gpu(handlers.draw),
        [*(part[name] for name in names), *part["tuning"], part["linked"]],
        [status, part["viewer"], studies, which, part["words"]],
        concurrency_id="model",
        concurrency_limit=1,
        show_progress="full",
        show_progress_on=[status],
        api_visibility="private",
        trigger_mode="multiple",
    )
    part["button"].click(None, None, None, js=ON_DRAW, api_visibility="private")
    stopped = gr.State(False)
    drawn.failure(not_drawn, stopped, [status, stopped], **QUIET)
    cancelled = part["cancel"].click(stopped_now, None, [status, stopped], cancels=[drawn], **QUIET)
    cancelled.success(panels.restore, [studies, which], part["viewer"], **QUIET)
    drawn.success(None, None, None, js=SEE, api_visibility="private")
    told = drawn.success(
        panels.numbers, [studies, which], [part["table"], part["summary"]], **QUIET
    )
    done = take(told, FOLLOW)
    done.success(panels.compare, [part["pinned"], studies, which], part["compared"], **QUIET)
    kept = done.success(
        panels.remember, [part["history"], part["link"], studies], part["history"], **QUIET
    )
    kept.success(text.history, part["history"], part["before"], **QUIET)


def warm_up() -> None:
    """Load the checkpoint in the background, so that the first visitor need not wait for it."""
    threading.Thread(target=model_state, name="warm-up", daemon=True).start()


def launch(demo: gr.Blocks, **options: Any) -> Any:
    """Serve the page, on this machine only unless `server_name` or GRADIO_SERVER_NAME says else.

    Options are those of `gr.Blocks.launch`, over those set here.
    """
    ours: dict[str, Any] = {
        "theme": theme(),
        "css": CSS,
        "ssr_mode": False,
        "run_history": False,
        "footer_links": ["api"],
        "show_error": False,
        "_frontend": False,  # or it gives up where its own page takes over 3 s, as on a loaded machine
        "max_file_size": upload.MAX_BYTES,
        "app_kwargs": {"middleware": [Middleware(serving.FrontPage)]},
        "state_session_capacity": SESSIONS,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }
    batch.forget_in_time()
    launched = demo.launch(**(ours | options))
    api.plain_answers(demo)
    return launched
