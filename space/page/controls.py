"""Groups of the page's controls."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr

from lungsynth.masks.refine import RefineConfig
from lungsynth.permalink import MAX_GUIDANCE, MAX_STEPS, Permalink
from space.draw import actions, compose, tuning
from space.page import gallery, opening, text
from space.share import reports

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PRESET = Permalink("")
COMPOSED = ("view", "age", "sex", "findings", "side")


def new_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(2**31)


def asking() -> dict[str, Any]:
    """Prompt, buttons and status: what stands above the picture; its parts by name."""
    part: dict[str, Any] = {}
    part["prompt"] = prompt = gr.Textbox(
        label=text.PROMPT_LABEL,
        info=text.PROMPT_HINT,
        lines=2,
        max_length=2000,
        elem_id="ls-prompt",
        value=gallery.CHOSEN[0][0],
    )
    with gr.Row(elem_classes="ls-buttons"):
        part["button"] = gr.Button(text.DRAW, variant="primary", elem_id="ls-draw", min_width=150)
        part["cancel"] = gr.Button("Cancel", elem_id="ls-cancel", min_width=80)
        part["surprise"] = gr.Button("Surprise me", min_width=110)
    part["status"] = gr.HTML(text.status(text.READY), label="Status", elem_id="ls-status")
    part["words"] = words = gr.HTML(f"<p>{text.EMPTY_WORDS}</p>", label="Words", elem_id="ls-words")
    prompt.change(opening.report_words, prompt, words, trigger_mode="always_last", **QUIET)
    return part


def composing(prompt: gr.Textbox) -> dict[str, Any]:
    """A sentence from controls; which of them are offered is set when the page is opened."""
    part: dict[str, Any] = {}

    def one_of(name: str, label: str, values: tuple[str, ...], **more: Any) -> None:
        choices = [("any", ""), *((one, one) for one in values)]
        part[name] = gr.Radio(choices, value="", label=label, **more)

    with gr.Accordion("Build the sentence", open=False):
        one_of("view", "View", compose.VIEWS)
        part["age"] = gr.Number(
            0,  # Gradio makes an empty one 0 when it is unfolded
            label="Age in years",
            info="0 = any",
            minimum=0,
            maximum=110,
            precision=0,
        )
        one_of("sex", "Sex", compose.SEXES)
        part["findings"] = gr.CheckboxGroup(list(compose.FINDINGS), label="Findings")
        one_of("side", "Side", compose.SIDES, visible=False)
    controls = [part[name] for name in COMPOSED]
    gr.on([one.input for one in controls], opening.write_prompt, controls, prompt, **QUIET)
    return part


def drawing() -> dict[str, Any]:
    """How a picture is drawn: seed, steps, guidance, how many, size, convention of its mask."""
    part: dict[str, Any] = {}
    with gr.Row():
        part["seed"] = gr.Number(
            0, label="Seed", info=text.SEED_INFO, precision=0, min_width=140, elem_id="ls-seed"
        )
        dice = gr.Button("New seed", size="md", min_width=100, elem_classes="ls-dice")
        dice.click(new_seed, None, part["seed"], **QUIET)
    part["steps"] = gr.Slider(
        1, MAX_STEPS, PRESET.steps, step=1, label="Steps", info=text.STEPS_INFO
    )
    part["guidance"] = gr.Slider(
        1, MAX_GUIDANCE, PRESET.guidance, step=0.1, label="Guidance", info=text.GUIDANCE_INFO
    )
    with gr.Row():
        part["pictures"] = gr.Slider(
            1,
            actions.MAX_PICTURES,
            1,
            step=1,
            label="Pictures",
            info=text.PICTURES_INFO,
            min_width=180,
        )
        part["size"] = gr.Dropdown(
            [("trained at", "")],
            value="",
            label="Size in pixels",
            info=text.SIZE_INFO,
            min_width=180,
        )
    part["convention"] = gr.Dropdown(
        [("the checkpoint's own", "")], value="", visible=False, label="Whose rule the mask follows"
    )
    return part


def tuning_controls() -> tuple[list[Any], gr.Button]:
    """Controls of the mask, in the order of `tuning.shown`, and the button that puts them back.

    Only those the chosen method uses are seen.
    """
    preset = tuning.shown(RefineConfig())
    seen = tuning.used(str(preset["method"]))
    gr.Markdown(text.TUNING_INFO)
    method = gr.Dropdown([preset["method"]], value=preset["method"], label="Method of the mask")
    sliders = [
        gr.Slider(low, high, preset[name], step=step, label=label, visible=name in seen)
        for name, label in text.TUNED.items()
        for low, high, step in [tuning.RANGES[name]]
    ]
    back = gr.Button("Back to the defaults", size="sm")
    method.change(opening.sliders_of, method, sliders, **QUIET)
    return [method, *sliders], back


def take_home() -> dict[str, Any]:
    """What is taken away of a picture."""
    part: dict[str, Any] = {}
    with gr.Row(elem_classes="ls-buttons"):
        part["archive"] = gr.DownloadButton(
            "Save everything (ZIP)", interactive=False, min_width=150, elem_id="ls-zip"
        )
        part["pin"] = gr.Button(
            "Pin to compare", interactive=False, min_width=120, elem_id="ls-pin"
        )
    part["link"] = gr.Textbox(
        label="Link that draws the same pixels",
        interactive=False,
        buttons=["copy"],
        max_lines=1,
        visible=False,
        elem_id="ls-link",
    )
    return part


def program() -> list[gr.Textbox]:
    """The same by program: Python with the library, Python over the API, JavaScript, shell."""
    with gr.Accordion("The same by program", open=False):
        gr.Markdown(text.PROGRAM_INFO)
        return [
            gr.Textbox(
                label=label,
                interactive=False,
                buttons=["copy"],
                lines=lines,
                elem_classes="ls-code",
            )
            for label, lines in text.PROGRAMS.items()
        ]


def report_controls() -> tuple[list[Any], gr.Button, gr.HTML]:
    """What is wrong, the visitor's note, whether to add the prompt; the button; what became of it."""
    with gr.Accordion("Report a bad mask", open=False):
        gr.Markdown(text.REPORT_INFO)
        problems = gr.CheckboxGroup(
            [(said, name) for name, said in reports.PROBLEMS.items()], label="What is wrong"
        )
        note = gr.Textbox(label="In your words (optional)", max_length=reports.MAX_NOTE, lines=2)
        with_prompt = gr.Checkbox(
            False, label="Add my prompt, so that the picture can be drawn again"
        )
        button = gr.Button("Send the report" if reports.keeps() else "Make the report", size="sm")
        became = gr.HTML(padding=False)
    return [problems, note, with_prompt], button, became
