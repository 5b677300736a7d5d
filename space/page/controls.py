"""Groups of the page's controls."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr

from lungsynth.permalink import Permalink
from space.draw import actions, compose, tuning
from space.page import opening, text
from space.share import reports

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
PRESET = Permalink("")


def new_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(2**31)


def compose_column() -> dict[str, Any]:
    """What is to be drawn; its parts by name."""
    part: dict[str, Any] = {}
    part["prompt"] = prompt = gr.Textbox(
        label=text.PROMPT_LABEL,
        info=text.PROMPT_HINT,
        lines=3,
        max_length=2000,
        elem_id="ls-prompt",
        value=text.EXAMPLES[0],
    )
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
        part["seed"] = seed = gr.Number(
            0,
            label="Seed",
            info=text.SEED_INFO,
            precision=0,
            minimum=0,
            maximum=actions.MAX_SEED,
            min_width=140,
        )
        dice = gr.Button("New seed", size="md", min_width=100, elem_classes="ls-dice")
    part["steps"] = gr.Slider(
        1, actions.MAX_STEPS, PRESET.steps, step=1, label="Steps", info=text.STEPS_INFO
    )
    part["guidance"] = gr.Slider(
        1,
        actions.MAX_GUIDANCE,
        PRESET.guidance,
        step=0.1,
        label="Guidance",
        info=text.GUIDANCE_INFO,
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
    part["unseen"] = gr.HTML(padding=False)
    part["linked"] = gr.State(None)  # the link the page was opened with, for what no control shows
    prompt.change(opening.report_words, prompt, words, trigger_mode="always_last", **QUIET)
    dice.click(new_seed, None, seed, **QUIET)
    gr.on([one.input for one in controls], opening.write_prompt, controls, prompt, **QUIET)
    return part


def word_controls() -> list[Any]:
    """Which map is shown, in the order of `panels.look`: words, opacity, step, resolution."""
    words = gr.CheckboxGroup([], label="Words of the prompt", info=text.WORDS_INFO)
    opacity = gr.Slider(0, 1, 0.6, step=0.05, label="Opacity of the map")
    with gr.Accordion("Step by step, and by resolution", open=False):
        step = gr.Slider(
            0, PRESET.steps, 0, step=1, label="Step of the drawing", info=text.STEP_INFO
        )
        grid = gr.Radio([("all", "")], value="", label="Layers of the network, by resolution")
    return [words, opacity, step, grid]


def tuning_controls() -> tuple[list[Any], gr.Button]:
    """Controls of the mask, in the order of `tuning.shown`, and the button that puts them back."""
    from lungsynth.masks.refine import RefineConfig

    preset = tuning.shown(RefineConfig())

    def slider(name: str, label: str) -> gr.Slider:
        low, high, step = tuning.RANGES[name]
        return gr.Slider(low, high, preset[name], step=step, label=label)

    with gr.Accordion("Change how the mask is made", open=False):
        gr.Markdown(
            "Every control makes the mask anew from the same X-ray; nothing is drawn again."
        )
        method = gr.Dropdown([preset["method"]], value=preset["method"], label="Method")
        with gr.Row():
            beta = slider("beta", "β of the walk")
            walk = slider("walk_steps", "Steps of the walk")
            levels = slider("n_gammas", "Levels γ that cross tries")
        with gr.Row():
            position = slider("position_width", "CRF position width θα")
            grey = slider("grey_width", "CRF grey width θβ")
            smooth = slider("smooth_width", "CRF smoothness θγ")
            band = slider("ignore_band", "Ignore band")
        back = gr.Button("Back to the defaults", size="sm")
    return [method, beta, walk, position, grey, smooth, levels, band], back


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
        done = gr.HTML(padding=False)
    return [problems, note, with_prompt], button, done


def picture_box(label: str, *, height: int) -> gr.Image:
    """A place for a picture."""
    return gr.Image(
        label=label,
        format="png",
        interactive=False,
        height=height,
        elem_classes="ls-picture",
        alt_text=f"{label}: nothing drawn yet",
        buttons=["download", "fullscreen"],
    )
