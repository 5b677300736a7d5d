"""The page's endpoints for programs: typed, documented, also as tools for language models (MCP)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gradio as gr

from lungsynth.errors import DataError
from lungsynth.images import png_bytes
from lungsynth.model.options import SampleOptions
from space.draw import actions, compose, study, upload
from space.draw.model import convention_of
from space.draw.tuning import Tuning
from space.page import text
from space.page.files import kept
from space.page.handlers import count, errors_shown, gpu
from space.share import links
from space.share.archive import archive, archive_name, record_of


@gpu
def generate(
    prompt: str,
    seed: float = 0,
    steps: float = SampleOptions.steps,
    guidance: float = SampleOptions.guidance,
    method: str = "",
    settings: str = "",
    request: gr.Request | None = None,
) -> tuple[Any, ...]:
    """Draw a synthetic chest X-ray from a sentence, with attention maps and a lung mask.

    Synthetic image, research only, not for diagnosis.

    Args:
        prompt: What it should show: "Frontal chest X-ray of a 60-year-old man". At most 2000 characters.
        seed: Whole number, 0 to 2**53 - 1; the same seed draws the same picture.
        steps: Denoising steps, 1 to 100.
        guidance: How strictly the prompt is followed, 1 to 20; 1 = off.
        method: Refinement of the mask: "" = default, crf, none; with a network sequential, cross, affinity.
        settings: What else a link can say, as "size=320&classes=v7&crf.theta_beta=8"; "" for the defaults.
        request: Who asks; filled in by the server.

    Returns:
        X-ray (PNG)
        mask (PNG of class numbers: 0 background, 1 left lung, 2 right lung)
        mask over the X-ray (PNG)
        record (every parameter, hash and score)
        ZIP of every file
        summary in words
    """
    with errors_shown():
        more = links.read_settings(settings)
        whole, n_steps, scale, _ = actions.check_numbers(seed, steps, guidance)
        count(request)
        asked = replace(
            more,
            prompt=prompt,
            seed=whole,
            steps=n_steps,
            guidance=scale,
            classes=convention_of(more.classes),
        )
        tuning = Tuning(method=method or None, base=more.refine)
        *_, drawn = actions.draw(asked, tuning=tuning, previews=False)
        assert isinstance(drawn, actions.Drawing)
        one = drawn.study
        assert one.made is not None
        return (
            kept("image.png", png_bytes(one.image)),
            kept("mask.png", png_bytes(one.made.mask)),
            kept("overlay.png", png_bytes(study.final_overlay(one))),
            record_of(one),
            kept(archive_name(one), archive(one)),
            text.summary(one.made.regions),
        )


def segment(film: str | None, request: gr.Request | None = None) -> tuple[str, str, str, list[str]]:
    """Mark the lungs on a frontal chest film of your own. Research only, not for diagnosis.

    De-identified pictures only. The upload is deleted as soon as it is read and never logged; of a
    DICOM file only the pixels are read. The answer's files are deleted within the hour.

    Args:
        film: PNG, JPEG, TIFF, BMP or DICOM file, at most 50 MB and 50 million pixels.
        request: Who asks; filled in by the server.

    Returns:
        mask (PNG of class numbers, the film's own size)
        ZIP (mask, overlay, record)
        summary in words
        warnings (what was put right, and why the picture may be no frontal film)
    """
    with errors_shown("Not segmented"):
        count(request)
        if not film:
            raise DataError("No file was sent; expected PNG, JPEG, TIFF, BMP or DICOM.")
        reading = upload.segment(film)
        return (
            kept("mask.png", reading.files["mask.png"]),
            kept("lungsynth-film.zip", upload.archive([reading])),
            text.summary(reading.regions),
            [*(f"put right: {one}" for one in reading.done), *reading.warnings],
        )


def words(prompt: str) -> dict[str, Any]:
    """Which words of a prompt the model has learnt, before anything is drawn.

    Args:
        prompt: What the X-ray should show.

    Returns:
        known and unknown words, dropped (what is beyond the model's limit), problem ("" when none)
    """
    with errors_shown("Not checked"):
        found = actions.check_words(str(prompt))
    return {
        "known": list(found.known),
        "unknown": list(found.unknown),
        "dropped": found.dropped,
        "problem": found.problem,
    }


def write(
    view: str = "", age: float = -1, sex: str = "", findings: str = "", side: str = ""
) -> str:
    """Write a prompt in the words the model was trained on.

    Args:
        view: AP, PA or "".
        age: Years, 0 to 110; below 0 for not said.
        sex: woman, man or "".
        findings: Separated by commas, such as "pneumonia, pleural effusion".
        side: right lung, left lung, both lungs or "".

    Returns:
        The prompt.
    """
    asked = tuple(one.strip() for one in str(findings).split(",") if one.strip())
    with errors_shown("Not written"):
        years = None if age is None or age < 0 else age
        return compose.sentence(compose.Controls(view, years, sex, asked, side))


def add_endpoints() -> None:
    """Put the endpoints into the page that is being built; nothing of them is seen on it."""
    with gr.Column(visible=False):
        asked = [
            gr.Textbox(label="prompt"),
            gr.Number(0, label="seed", precision=0),
            gr.Number(SampleOptions.steps, label="steps", precision=0),
            gr.Number(SampleOptions.guidance, label="guidance"),
            gr.Textbox("", label="method"),
            gr.Textbox("", label="settings"),
        ]
        drawn = [
            gr.Image(label="image", format="png"),
            gr.Image(label="mask", format="png"),
            gr.Image(label="overlay", format="png"),
            gr.JSON(label="record"),
            gr.File(label="archive"),
            gr.Textbox(label="summary"),
        ]
        film = gr.File(label="film", file_types=list(upload.ENDINGS))
        read = [
            gr.Image(label="mask", format="png"),
            gr.File(label="archive"),
            gr.Textbox(label="summary"),
            gr.JSON(label="warnings"),
        ]
        gr.Button().click(
            generate, asked, drawn, api_name="generate", concurrency_id="model", concurrency_limit=1
        )
        gr.Button().click(gpu(segment), film, read, api_name="segment", concurrency_id="model")
    for function in (words, write):
        gr.api(function, api_name=function.__name__)  # type: ignore[attr-defined]


def plain_answers(demo: Any) -> None:
    """Have the MCP server of a launched page answer the same whether progress is asked for or not.

    Gradio gives a client that asks for no progress one text with everything in it, and values as
    Python writes them.
    """
    server = demo.mcp_server_obj
    if server is None:
        return
    original = server.postprocess_output_data

    def answer(data: Any, root_url: str) -> list[Any]:
        if len(data) == 1 and isinstance(data[0], tuple):
            data = list(data[0])
        content: list[Any] = []
        for one in data:
            if isinstance(one, dict | list) and not (isinstance(one, dict) and "path" in one):
                text = json.dumps(one, ensure_ascii=False, indent=2)
                content.append(server.types.TextContent(type="text", text=text))
            else:
                content += original([one], root_url)
        return content

    server.postprocess_output_data = answer
