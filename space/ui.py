"""The page's layout and wiring; it acts through `space.actions` and speaks through `space.text`."""

from __future__ import annotations

import logging
import secrets
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import spaces  # on a ZeroGPU Space; wants to be imported before torch
except ImportError:
    spaces = None

import gradio as gr

from lungsynth.errors import LungSynthError
from space import actions, text

log = logging.getLogger("lungsynth.space")

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important;
  overflow: clip !important; }
#ls-banner { position: sticky; top: 0; z-index: 50; background: #fff4d6; color: #3d2c00;
  border: 1px solid #b07900; border-radius: 6px; padding: .5rem .8rem; }
#ls-banner * { color: #3d2c00; }
.ls-chips { list-style: none !important; display: flex; flex-wrap: wrap; gap: .3rem;
  margin: .2rem 0 .5rem !important; padding: 0 !important; }
.ls-chips li { border-radius: 4px; padding: 0 .45rem; margin: 0; border: 1px solid; }
.ls-known { border-color: #007a5a !important; }
.ls-unknown { border-color: #b34700 !important; border-style: dashed !important; font-weight: 600; }
.ls-problem { border-left: 4px solid #b34700; padding-left: .6rem; overflow-wrap: anywhere; }
.ls-progress { display: flex; gap: .8rem; align-items: center; min-height: 1.6rem; }
.ls-progress progress { flex: 1; height: .7rem; accent-color: #0072b2; }
.ls-scroll { overflow-x: auto; contain: inline-size; }
.ls-table { width: 100%; border-collapse: collapse; border: 0 !important; }
.ls-table tr { border: 0 !important; }
.ls-table th, .ls-table td { text-align: right !important; padding: .25rem .4rem !important;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.ls-table th:first-child { text-align: left !important; white-space: nowrap; }
.ls-picture img { width: 100% !important; height: 100% !important; object-fit: contain; }
.ls-maps .grid-wrap { max-height: none !important; overflow: visible !important; }
.ls-dice { align-self: end; }
@media (max-width: 640px) { .ls-maps .grid-container {
  grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
  #ls-banner { font-size: .85rem; line-height: 1.25; padding: .3rem .5rem; }
  .ls-table th, .ls-table td { font-size: .8rem !important; padding: .2rem !important; } }
.ls-swatch { display: inline-block; width: .9rem; height: .9rem; margin-right: .45rem;
  border: 1px solid #444; vertical-align: -.1rem; }
"""


def gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Borrow a GPU for a call on a ZeroGPU Space; nothing elsewhere."""
    return spaces.GPU(function) if spaces is not None else function


def shown(error: Exception) -> gr.Error:
    """An error as the page shows it: ours in its own words, any other bland and logged.

    The log gets the kind and the place, not the message: that could hold what a visitor typed.
    """
    if isinstance(error, LungSynthError):
        return gr.Error(str(error), title="Not drawn", duration=None, print_exception=False)
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected %s\n%s", type(error).__name__, where)
    return gr.Error(text.BLAND_ERROR, title="Not drawn", duration=None, print_exception=False)


@gpu
def generate(prompt: str, seed: float, steps: float, guidance: float) -> Iterator[tuple[Any, ...]]:
    """Draw a synthetic chest X-ray from a sentence, with attention maps and masks.

    Synthetic image, research only, not for diagnosis.

    Args:
        prompt: What the X-ray should show, such as "Frontal chest X-ray of a 60-year-old man".
        seed: Whole number; the same seed draws the same picture.
        steps: Denoising steps, 1 to 100.
        guidance: How strictly the prompt is followed, 1 to 20; 1 = off.

    Returns:
        Status (HTML), X-ray (PNG), maps (PNG, word as caption), coarse and refined mask over the
        X-ray (PNG), table of the classes (HTML), a sentence on the masks, a ZIP of every file, and
        which words are known (HTML).
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lungsynth-") as folder:
            for event in actions.draw(prompt, seed, steps, guidance):
                if isinstance(event, actions.Progress):
                    yield (text.progress(event.step, event.steps), *[gr.skip()] * 9)
                else:
                    yield _outputs(event, prompt, Path(folder))
    except Exception as error:  # noqa: BLE001 - shown() logs what is not ours
        raise shown(error) from None


def _outputs(drawing: actions.Drawing, prompt: str, folder: Path) -> tuple[Any, ...]:
    """A drawing as the values of the page's outputs; files go into `folder` first."""

    def file(name: str, data: bytes) -> str:
        path = folder / name
        path.write_bytes(data)
        return str(path)

    return (
        text.status(f"Done: seed {drawing.seed}."),
        file("xray.png", drawing.image),
        [(file(f"map-{i}.png", data), word) for i, (word, data) in enumerate(drawing.maps)],
        file("coarse.png", drawing.coarse),
        file("refined.png", drawing.refined),
        text.region_table(drawing.regions),
        text.summary(drawing),
        file(drawing.archive_name, drawing.archive),
        text.word_report(drawing.words),
        text.alt_texts(drawing, prompt),
    )


def report_words(prompt: str) -> str:
    """Which words of the prompt the model knows; HTML, "" when there is no model."""
    try:
        return text.word_report(actions.check_words(prompt or ""))
    except LungSynthError:
        return ""  # the line about the model already says why


def new_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(2**31)


def build_demo() -> gr.Blocks:
    """The page; nothing is loaded until it is opened."""
    with gr.Blocks(title=text.TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.HTML(text.BANNER, elem_id="ls-banner", padding=False)
        gr.Markdown(f"# {text.TITLE}\n{text.SUBTITLE}")
        line = gr.HTML(padding=False)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                prompt = gr.Textbox(label=text.PROMPT_LABEL, info=text.PROMPT_HINT, lines=3,
                                    max_length=2000, value=text.EXAMPLES[0])  # fmt: skip
                words = gr.HTML(f"<p>{text.EMPTY_WORDS}</p>", label="Words")
                gr.Examples([[one] for one in text.EXAMPLES], [prompt], label="Examples")
                with gr.Row():
                    seed = gr.Number(0, label="Seed", info=text.SEED_INFO, precision=0, minimum=0,
                                     maximum=actions.MAX_SEED, min_width=140)  # fmt: skip
                    dice = gr.Button("New seed", size="md", min_width=100, elem_classes="ls-dice")
                steps = gr.Slider(1, actions.MAX_STEPS, 20, step=1, label="Steps",
                                  info=text.STEPS_INFO)  # fmt: skip
                guidance = gr.Slider(1, actions.MAX_GUIDANCE, 1.5, step=0.1, label="Guidance",
                                     info=text.GUIDANCE_INFO)  # fmt: skip
                button = gr.Button("Draw", variant="primary")
            with gr.Column(scale=6, min_width=320):
                state = gr.HTML(text.status(text.EMPTY_RESULT), label="Status")
                image = _picture("Synthetic X-ray", height=420)
                maps = gr.Gallery(label="Attention maps", format="png", columns=3, height="auto",
                                  object_fit="contain", interactive=False,
                                  elem_classes="ls-maps")  # fmt: skip
                gr.Markdown(text.MAPS_INFO)
                with gr.Row():
                    coarse = _picture("Coarse mask", height=300)
                    refined = _picture("Refined mask", height=300)
                table = gr.HTML(label="Classes", padding=False)
                summary = gr.Textbox(label="In words", interactive=False, lines=4)
                gr.Markdown(text.MASK_INFO)
                archive = gr.File(label="All files (ZIP)")
        alts = gr.State(("", "", ""))

        drawn = gr.on(
            [button.click, prompt.submit], generate, [prompt, seed, steps, guidance],
            [state, image, maps, coarse, refined, table, summary, archive, words, alts],
            api_name="generate", concurrency_id="draw", concurrency_limit=1,
            show_progress="minimal", show_progress_on=[state],
        )  # fmt: skip
        drawn.failure(lambda: text.status(text.NOT_DRAWN), None, state, api_visibility="private")
        drawn.success(_set_alts, alts, [image, coarse, refined], api_visibility="private")
        prompt.change(report_words, prompt, words, trigger_mode="always_last",
                      show_progress="hidden", api_visibility="private")  # fmt: skip
        dice.click(new_seed, None, seed, api_visibility="private")
        demo.load(lambda: text.model_line(actions.model_state()), None, line,
                  api_visibility="private")  # fmt: skip
        demo.load(report_words, prompt, words, show_progress="hidden", api_visibility="private")
    return demo.queue(max_size=16)


def _picture(label: str, *, height: int) -> gr.Image:
    return gr.Image(label=label, format="png", interactive=False, height=height,
                    elem_classes="ls-picture", alt_text=f"{label}: nothing drawn yet",
                    buttons=["download", "fullscreen"])  # fmt: skip


def _set_alts(alts: tuple[str, str, str]) -> tuple[Any, ...]:
    return tuple(gr.update(alt_text=one) for one in alts)


def launch(demo: gr.Blocks, **options: Any) -> Any:
    """Serve the page, on this machine only unless `server_name` or GRADIO_SERVER_NAME says else.

    Args:
        demo: See `build_demo`.
        options: Of `gr.Blocks.launch`, over those set here.
    """
    ours: dict[str, Any] = {
        "theme": gr.themes.Default(), "css": CSS, "ssr_mode": False, "run_history": False,
        "footer_links": ["api"], "show_error": False,
    }  # fmt: skip
    return demo.launch(**(ours | options))
