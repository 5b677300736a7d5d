"""The page's layout and wiring; its events call `handlers`, `panels` and `opening`."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from space.draw import actions, upload
from space.page import api, controls, handlers, opening, panels, serving, text
from space.page.controls import QUIET
from space.page.style import CSS, NAME_EMPTY, SAY_LABEL, WRITE_LINK, theme
from space.page.tabs import compare_tab, film_tab, not_drawn, stopped_now

SESSIONS = 96
"""Visitors remembered at once, longest unseen forgotten first; twice as many as are expected together.
Each keeps at most 4 pictures of 12 MB, or one of 48 MB."""
KEEP_SECONDS = 1800


def build_demo() -> gr.Blocks:
    """The page; nothing is loaded until it is opened."""
    with gr.Blocks(title=text.TITLE, analytics_enabled=False, delete_cache=(300, 900)) as demo:
        gr.HTML(text.BANNER, elem_id="ls-banner", padding=False)
        gr.Markdown(f"# {text.TITLE}\n{text.SUBTITLE}")
        line = gr.HTML(padding=False)
        studies = gr.State([], time_to_live=KEEP_SECONDS)
        begin = gr.State("")  # a change of it draws: a link was opened, or chance has chosen
        history = gr.BrowserState([], storage_key="lungsynth-history", secret="not-a-secret")
        with gr.Tabs() as tabs:
            with gr.Tab("Draw", id="draw"):
                draw = _draw_tab(studies, history, begin)
            with gr.Tab("Your X-ray", id="film") as own_tab:
                own_tab.select(None, None, None, js=SAY_LABEL, api_visibility="private")
                film_tab(draw["convention"])
            with gr.Tab("Compare", id="compare"):
                compare_tab(draw)
            with gr.Tab("Gallery", id="gallery") as gallery_tab:
                cases = gr.HTML(padding=False)
                gr.Markdown("## This browser’s pictures")
                before = gr.HTML(padding=False)
            with gr.Tab("Model", id="about") as about_tab:
                card = gr.Markdown()
        about_tab.select(actions.model_card, None, card, **QUIET)
        fields = [
            draw[name]
            for name in (
                "prompt",
                "seed",
                "steps",
                "guidance",
                "size",
                "convention",
                "linked",
                "unseen",
            )
        ]
        demo.load(opening.opened, None, [line, *fields, begin, tabs, *draw["tuning"]], **QUIET)
        demo.load(None, None, None, js=NAME_EMPTY, api_visibility="private")
        demo.load(opening.report_words, draw["prompt"], draw["words"], **QUIET)
        demo.load(opening.gallery_at_once, history, [cases, before], **QUIET)
        gallery_tab.select(opening.show_gallery, history, [cases, before], **QUIET)
        api.add_endpoints()
    return serving.guarded(demo.queue(max_size=serving.MAX_EVENTS))


def _draw_tab(studies: gr.State, history: gr.BrowserState, begin: gr.State) -> dict[str, Any]:
    """The main panel; its parts by name."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            part = controls.compose_column()
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML(text.status(text.EMPTY_RESULT), label="Status", elem_id="ls-status")
            image = controls.picture_box("Synthetic X-ray", height=420)
            which = gr.Radio([], label="Picture", visible=False, type="value")
            gr.Markdown("## Where each word acted", elem_id="ls-looking")
            looking = controls.word_controls()
            heat = controls.picture_box("Map over the X-ray", height=380)
            legend = gr.HTML(padding=False)
    with gr.Column():
        gr.Markdown("## How the mask is made")
        strip = gr.HTML(text.status(text.EMPTY_RESULT), padding=False)
        tuning, back = controls.tuning_controls()
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                pair = gr.ImageSlider(label="sequential and cross", format="png", interactive=False)
                note = gr.HTML(padding=False)
            with gr.Column(scale=6, min_width=320):
                table = gr.HTML(padding=False)
                summary = gr.Textbox(label="In words", interactive=False, lines=2)
                gr.Markdown(text.MASK_INFO)
        gr.Markdown("## Take it away", elem_id="ls-take")
        archive = gr.File(label="Everything (ZIP): image, mask, maps, record", interactive=False)
        link = gr.Textbox(
            label="Link that draws the same pixels",
            interactive=False,
            buttons=["copy"],
            max_lines=3,
            elem_id="ls-link",
        )
        with gr.Accordion("The same by program", open=False):
            python = gr.Textbox(label="Python", interactive=False, buttons=["copy"], lines=9)
            curl = gr.Textbox(label="Shell", interactive=False, buttons=["copy"], lines=3)
        reporting, hand_in, handed_in = controls.report_controls()
    linked, at = part["linked"], [studies, which]
    made_of = [*at, *tuning, linked]
    masks, fused, taken = [strip, table, summary], [pair, note], [archive, link, python, curl]
    words, opacity, step, grid = looking

    def take(event: Any) -> Any:
        """What is taken away follows an event, and the address bar follows that."""
        done = event.success(panels.take_away, [*at, linked], taken, **QUIET)
        done.success(None, link, None, js=WRITE_LINK, api_visibility="private")
        return done

    def fuse(event: Any) -> Any:
        return event.success(panels.fuse, made_of, fused, concurrency_id="mask", **QUIET)

    def wire_drawing(triggers: list[Any]) -> None:
        asked = [
            part[name]
            for name in ("prompt", "seed", "steps", "guidance", "pictures", "size", "convention")
        ]
        drawn = gr.on(
            triggers,
            handlers.gpu(handlers.draw),
            [*asked, words, opacity, *tuning, linked],
            [status, image, heat, legend, which, studies, part["words"]],
            concurrency_id="model",
            concurrency_limit=1,
            show_progress="full",
            show_progress_on=[status],
            api_visibility="private",
            trigger_mode="multiple",
        )
        stopped = gr.State(False)
        drawn.failure(not_drawn, stopped, [status, stopped], **QUIET)
        shown = [image, words, heat, legend, step, grid, *masks]
        asked_for = [*at, words, opacity, *tuning, linked]
        cancelled = part["cancel"].click(
            stopped_now, None, [status, stopped], cancels=[drawn], **QUIET
        )
        cancelled.success(panels.show, asked_for, shown, **QUIET)  # the picture before
        taking = take(drawn.success(panels.show, asked_for, shown, **QUIET))
        taking.success(panels.remember, [history, link, studies], history, **QUIET)
        fuse(taking)
        fuse(take(which.input(panels.show, asked_for, shown, **QUIET)))

    wire_drawing([part["button"].click, part["prompt"].submit, begin.change])
    for control in looking:
        control.input(
            panels.look,
            [*at, *looking],
            [heat, legend],
            trigger_mode="always_last",
            concurrency_id="look",
            **QUIET,
        )
    tuned = gr.on(
        [control.input for control in tuning],
        panels.remask,
        made_of,
        masks,
        trigger_mode="always_last",
        concurrency_id="mask",
        concurrency_limit=2,
        **QUIET,
    )
    put_back = back.click(opening.reset, None, [*tuning, linked, part["unseen"]], **QUIET)
    put_back = put_back.success(panels.remask, made_of, masks, concurrency_id="mask", **QUIET)
    for event in (tuned, put_back):
        take(fuse(event))
    hand_in.click(
        panels.report, [*at, linked, *reporting], handed_in, concurrency_id="report", **QUIET
    )
    part["surprise"].click(
        opening.surprise,
        None,
        [part[name] for name in ("prompt", "seed", "view", "age", "sex", "findings", "side")]
        + [begin],
        **QUIET,
    )
    return part | {"tuning": tuning}


def warm_up() -> None:
    """Load the checkpoint in the background, so that the first visitor need not wait for it."""
    threading.Thread(target=actions.model_state, name="warm-up", daemon=True).start()


def launch(demo: gr.Blocks, **options: Any) -> Any:
    """Serve the page, on this machine only unless `server_name` or GRADIO_SERVER_NAME says else.

    Args:
        demo: See `build_demo`.
        options: Of `gr.Blocks.launch`, over those set here.
    """
    ours: dict[str, Any] = {
        "theme": theme(),
        "css": CSS,
        "ssr_mode": False,
        "run_history": False,
        "footer_links": ["api"],
        "show_error": False,
        "max_file_size": upload.MAX_BYTES,
        "app_kwargs": {"middleware": [Middleware(serving.FrontPage)]},
        "state_session_capacity": SESSIONS,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }
    return demo.launch(**(ours | options))
