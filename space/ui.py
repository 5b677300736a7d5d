"""The page's layout and wiring; its events call `space.handlers`."""

from __future__ import annotations

import importlib.util
import secrets
import threading
from typing import Any

import gradio as gr

from space import actions, api, compose, handlers, text, upload
from space.style import CSS, SAY_LABEL, WRITE_LINK, theme

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
SESSIONS = 48
"""Visitors whose pictures are kept at once; each keeps at most 4 pictures, about 12 MB."""
KEEP_SECONDS = 1800


def new_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(2**31)


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
            with gr.Tab("Your X-ray", id="film") as film_tab:
                film_tab.select(None, None, None, js=SAY_LABEL, api_visibility="private")
                _film_tab(draw["convention"])
            with gr.Tab("Compare", id="compare"):
                _compare_tab(draw)
            with gr.Tab("Gallery", id="gallery") as gallery_tab:
                cases = gr.HTML(padding=False)
                gr.Markdown("## This browser’s pictures")
                before = gr.HTML(padding=False)
            with gr.Tab("Model", id="about") as about_tab:
                card = gr.Markdown()
        about_tab.select(actions.model_card, None, card, **QUIET)
        fields = [draw[name] for name in ("prompt", "seed", "steps", "guidance")]
        demo.load(
            handlers.opened, None,
            [line, *fields, begin, tabs, draw["method"], draw["convention"]], **QUIET,
        )  # fmt: skip
        demo.load(handlers.report_words, draw["prompt"], draw["words"], **QUIET)
        for event in (demo.load, gallery_tab.select):
            event(handlers.show_gallery, history, [cases, before], **QUIET)
        api.add_endpoints()
    return demo.queue(max_size=24)


def _draw_tab(studies: gr.State, history: gr.BrowserState, begin: gr.State) -> dict[str, Any]:
    """The main panel; its parts by name."""
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            part = _compose_column()
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML(text.status(text.EMPTY_RESULT), label="Status", elem_id="ls-status")
            image = _picture("Synthetic X-ray", height=420)
            which = gr.Radio([], label="Picture", visible=False, type="value")
            gr.Markdown("## Where each word acted")
            words = gr.CheckboxGroup([], label="Words of the prompt", info=text.WORDS_INFO)
            opacity = gr.Slider(0, 1, 0.6, step=0.05, label="Opacity of the map")
            heat = _picture("Map over the X-ray", height=380)
            legend = gr.HTML(padding=False)
    with gr.Column():
        gr.Markdown("## How the mask is made")
        strip = gr.HTML(text.status(text.EMPTY_RESULT), padding=False)
        tuning = _tuning_controls()
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                pair = gr.ImageSlider(label="sequential and cross", format="png", interactive=False)
                note = gr.HTML(padding=False)
            with gr.Column(scale=6, min_width=320):
                table = gr.HTML(padding=False)
                summary = gr.Textbox(label="In words", interactive=False, lines=2)
                gr.Markdown(text.MASK_INFO)
        gr.Markdown("## Take it away")
        archive = gr.File(label="Everything (ZIP): image, mask, maps, record", interactive=False)
        link = gr.Textbox(label="Link that draws the same pixels", interactive=False,
                          buttons=["copy"], max_lines=3)  # fmt: skip
        with gr.Accordion("The same by program", open=False):
            python = gr.Textbox(label="Python", interactive=False, buttons=["copy"], lines=9)
            curl = gr.Textbox(label="Shell", interactive=False, buttons=["copy"], lines=3)
    stopped = gr.State(False)
    masks, fused = [strip, table, summary], [pair, note]
    made_of = [studies, which, *tuning]
    taken = [archive, link, python, curl]

    def wire(triggers: list[Any]) -> None:
        asked = [
            part[name] for name in ("prompt", "seed", "steps", "guidance", "pictures", "convention")
        ]
        drawn = gr.on(
            triggers, handlers.gpu(handlers.draw), [*asked, *tuning],
            [status, image, which, studies, part["words"]], concurrency_id="model",
            concurrency_limit=1, show_progress="full", show_progress_on=[status],
            api_visibility="private", trigger_mode="multiple",
        )  # fmt: skip
        drawn.failure(_not_drawn, stopped, [status, stopped], **QUIET)
        part["cancel"].click(_stop, None, [status, stopped], cancels=[drawn], **QUIET)
        shown = [image, words, heat, legend, *masks]
        asked_for = [studies, which, words, opacity, *tuning]
        panels = drawn.success(handlers.show, asked_for, shown, **QUIET)
        taking = panels.success(handlers.take_away, [studies, which], taken, **QUIET)
        taking.success(None, link, None, js=WRITE_LINK, api_visibility="private")
        taking.success(handlers.remember, [history, link, studies], history, **QUIET)
        taking.success(handlers.fuse, made_of, fused, concurrency_id="mask", **QUIET)
        other = which.input(handlers.show, asked_for, shown, **QUIET)
        other = other.success(handlers.take_away, [studies, which], taken, **QUIET)
        other.success(handlers.fuse, made_of, fused, concurrency_id="mask", **QUIET)
        for control in (words, opacity):
            control.input(handlers.look, [studies, which, words, opacity], [heat, legend],
                          trigger_mode="always_last", concurrency_id="look", **QUIET)  # fmt: skip
        tuned = gr.on(
            [control.input for control in tuning], handlers.remask, made_of, masks,
            trigger_mode="always_last", concurrency_id="mask", concurrency_limit=2, **QUIET,
        )  # fmt: skip
        tuned = tuned.success(handlers.fuse, made_of, fused, concurrency_id="mask", **QUIET)
        tuned.success(handlers.take_away, [studies, which], taken, **QUIET)

    part["surprise"].click(
        handlers.surprise, None,
        [part[name] for name in ("prompt", "seed", "view", "age", "sex", "findings", "side")] + [begin],
        **QUIET,
    )  # fmt: skip
    wire([part["button"].click, part["prompt"].submit, begin.change])
    return part | {"method": tuning[0]}


def _compose_column() -> dict[str, Any]:
    part: dict[str, Any] = {}
    part["prompt"] = prompt = gr.Textbox(
        label=text.PROMPT_LABEL, info=text.PROMPT_HINT, lines=3, max_length=2000, elem_id="ls-prompt",
        value=text.EXAMPLES[0],
    )  # fmt: skip
    part["words"] = words = gr.HTML(f"<p>{text.EMPTY_WORDS}</p>", label="Words", elem_id="ls-words")
    with gr.Row():
        part["button"] = gr.Button("Draw", variant="primary", elem_id="ls-draw")
        part["cancel"] = gr.Button("Cancel", elem_id="ls-cancel")
        part["surprise"] = gr.Button("Surprise me")
    gr.Examples([[one] for one in text.EXAMPLES], [prompt], label="Examples")
    with gr.Accordion("Build the sentence", open=False):
        part["view"] = gr.Radio(
            [("any", ""), *((v, v) for v in compose.VIEWS)], value="", label="View"
        )
        part["age"] = gr.Number(None, label="Age in years", minimum=0, maximum=110, precision=0)
        part["sex"] = gr.Radio(
            [("any", ""), *((s, s) for s in compose.SEXES)], value="", label="Sex"
        )
        part["findings"] = gr.CheckboxGroup(list(compose.FINDINGS), label="Findings")
        part["side"] = gr.Radio(
            [("any", ""), *((s, s) for s in compose.SIDES)], value="", label="Side"
        )
    controls = [part[name] for name in ("view", "age", "sex", "findings", "side")]
    with gr.Row():
        part["seed"] = seed = gr.Number(0, label="Seed", info=text.SEED_INFO, precision=0, minimum=0,
                                        maximum=actions.MAX_SEED, min_width=140)  # fmt: skip
        dice = gr.Button("New seed", size="md", min_width=100, elem_classes="ls-dice")
    part["steps"] = gr.Slider(1, actions.MAX_STEPS, compose.DEFAULT_STEPS, step=1, label="Steps",
                              info=text.STEPS_INFO)  # fmt: skip
    part["guidance"] = gr.Slider(1, actions.MAX_GUIDANCE, compose.DEFAULT_GUIDANCE, step=0.1,
                                 label="Guidance", info=text.GUIDANCE_INFO)  # fmt: skip
    part["pictures"] = gr.Slider(1, actions.MAX_PICTURES, 1, step=1, label="Pictures",
                                 info=text.PICTURES_INFO)  # fmt: skip
    part["convention"] = gr.Dropdown([("the checkpoint's own", "")], value="", visible=False,
                                     label="Whose rule the mask follows")  # fmt: skip
    prompt.change(handlers.report_words, prompt, words, trigger_mode="always_last", **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    gr.on([one.input for one in controls], handlers.write_prompt, controls, prompt, **QUIET)
    return part


def _tuning_controls() -> list[Any]:
    """Controls of the mask, in the order of `handlers.tuning_of`."""
    from lungsynth.refine import RefineConfig

    preset = RefineConfig()
    crf = preset.crf
    with gr.Accordion("Change how the mask is made", open=False):
        gr.Markdown(
            "Every control makes the mask anew from the same X-ray; nothing is drawn again."
        )
        method = gr.Dropdown([preset.method], value=preset.method, label="Method")
        with gr.Row():
            beta = gr.Slider(0.5, 32, preset.beta, step=0.5, label="β of the walk")
            walk = gr.Slider(0, 512, preset.n_steps, step=8, label="Steps of the walk")
            levels = gr.Slider(1, 13, 7, step=1, label="Levels γ that cross tries")
        with gr.Row():
            position = gr.Slider(
                0.01, 0.3, crf.theta_alpha, step=0.01, label="CRF position width θα"
            )
            grey = gr.Slider(1, 60, crf.theta_beta, step=1, label="CRF grey width θβ")
            smooth = gr.Slider(0.002, 0.05, crf.theta_gamma, step=0.002,
                               label="CRF smoothness θγ")  # fmt: skip
            band = gr.Slider(0, 0.45, 0, step=0.05, label="Ignore band")
    return [method, beta, walk, position, grey, smooth, levels, band]


def _film_tab(convention: gr.Dropdown) -> None:
    gr.Markdown(text.UPLOAD_NOTICE)
    film = gr.File(
        label="Your X-ray", file_types=list(upload.ENDINGS), height=160, elem_id="ls-film"
    )
    status = gr.HTML(text.status("Nothing read yet."), padding=False)
    out = gr.HTML(padding=False)
    read = film.upload(
        handlers.gpu(handlers.read_film), [film, convention], [film, status, out],
        concurrency_id="model", show_progress="minimal", show_progress_on=[status],
        api_visibility="private",
    )  # fmt: skip
    read.failure(lambda: (None, text.status("Not read: the message says why."), ""), None,
                 [film, status, out], **QUIET)  # fmt: skip


def _compare_tab(draw: dict[str, Any]) -> None:
    gr.Markdown(
        "Two prompts, or one prompt under two seeds, with the steps and guidance set under Draw."
    )
    sides = []
    with gr.Row():
        for name, seed in (("First", 0), ("Second", 1)):
            with gr.Column(min_width=320):
                words = gr.Textbox(
                    text.EXAMPLES[seed], label=f"{name} prompt", lines=2, max_length=2000
                )
                number = gr.Number(seed, label=f"{name} seed", precision=0, minimum=0,
                                   maximum=actions.MAX_SEED)  # fmt: skip
                sides.append((words, number, gr.HTML(padding=False)))
    with gr.Row():
        button = gr.Button("Draw both", variant="primary")
        stop = gr.Button("Cancel")
    status = gr.HTML(text.status(text.EMPTY_RESULT), padding=False)
    told = gr.HTML(padding=False)
    (first, first_seed, one), (second, second_seed, two) = sides
    drawn = button.click(
        handlers.gpu(handlers.compare),
        [first, first_seed, second, second_seed, draw["steps"], draw["guidance"], draw["convention"]],
        [status, one, two, told], concurrency_id="model", show_progress="full",
        show_progress_on=[status], api_visibility="private",
    )  # fmt: skip
    stopped = gr.State(False)
    drawn.failure(_not_drawn, stopped, [status, stopped], **QUIET)
    stop.click(_stop, None, [status, stopped], cancels=[drawn], **QUIET)


def _stop() -> tuple[str, bool]:
    return text.status(text.STOPPED), True


def _not_drawn(stopped: bool) -> tuple[str, bool]:
    """A stopped drawing ends as a failed one does; it is told apart by who ended it."""
    return text.status(text.STOPPED if stopped else text.NOT_DRAWN), False


def _picture(label: str, *, height: int) -> gr.Image:
    return gr.Image(label=label, format="png", interactive=False, height=height,
                    elem_classes="ls-picture", alt_text=f"{label}: nothing drawn yet",
                    buttons=["download", "fullscreen"])  # fmt: skip


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
        "theme": theme(), "css": CSS, "ssr_mode": False, "run_history": False,
        "footer_links": ["api"], "show_error": False, "max_file_size": upload.MAX_BYTES,
        "state_session_capacity": SESSIONS, "mcp_server": importlib.util.find_spec("mcp") is not None,
    }  # fmt: skip
    return demo.launch(**(ours | options))
