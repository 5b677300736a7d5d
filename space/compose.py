"""A prompt from controls, links that draw it again, and code that does the same elsewhere."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from lungsynth.errors import ConfigError
from space.actions import MAX_GUIDANCE, MAX_SEED, MAX_STEPS, check_numbers

VIEWS = ("AP", "PA")
SEXES = ("woman", "man")
FINDINGS = ("no finding", "pneumonia", "bacterial pneumonia", "viral pneumonia", "tuberculosis",
            "pleural effusion", "infiltration", "atelectasis", "consolidation", "cardiomegaly")  # fmt: skip
SIDES = ("right lung", "left lung", "both lungs")
CHILD_YEARS = 18
DEFAULT_STEPS, DEFAULT_GUIDANCE = 20, 1.5
LOCAL = "http://127.0.0.1:7860"


@dataclass(frozen=True, slots=True)
class Controls:
    """What the controls say; what is empty is not said."""

    view: str = ""  # of VIEWS
    age: float | None = None  # years, 0-110
    sex: str = ""  # of SEXES
    findings: tuple[str, ...] = ()  # of FINDINGS
    side: str = ""  # of SIDES


def sentence(controls: Controls) -> str:
    """The controls as a prompt in the words the model was trained on.

    Raises:
        ConfigError: a value that is none of the choices, or an age out of range.
    """
    for name, value, there in (("view", controls.view, VIEWS), ("sex", controls.sex, SEXES),
                               ("side", controls.side, SIDES),
                               *(("finding", one, FINDINGS) for one in controls.findings)):  # fmt: skip
        if value and value not in there:
            raise ConfigError(
                f"`{name}` is {str(value)[:40]!r}; expected one of {', '.join(there)}."
            )
    age = controls.age
    if age is not None and not (isinstance(age, int | float) and 0 <= age <= 110):
        raise ConfigError(f"`age` is {str(age)[:40]}; expected 0 to 110 years.")
    view = f" {controls.view}" if controls.view else ""
    text = f"Frontal{view} chest X-ray"
    if who := _patient(age, controls.sex):
        article = "an" if re.match(r"8\d?-|11-|18-|a|e", who) else "a"
        text += f" of {article} {who}"
    ill = [one for one in controls.findings if one != "no finding"]
    if ill:
        told = ", ".join(ill[:-1]) + (" and " if len(ill) > 1 else "") + ill[-1]
        text += f" with {told}" if who else f", {told}"
        if controls.side:
            text += f" in {'the ' if controls.side != 'both lungs' else ''}{controls.side}"
    elif controls.findings:
        text += ", no finding"
    elif controls.side:
        text += f", {controls.side}"
    return text


def _patient(age: float | None, sex: str) -> str:
    if age is None:
        return sex
    years = int(age)
    if years < 6:
        return f"{years}-year-old child" if years else "young child"
    if years < CHILD_YEARS:
        young = {"woman": "girl", "man": "boy"}.get(sex, "child")
        return f"{years}-year-old {young}"
    return f"{years}-year-old {sex or 'patient'}"


def surprise() -> tuple[Controls, int]:
    """Controls nobody chose, within what the model was trained on, and a seed."""
    seed = secrets.randbelow(2**31)
    if secrets.randbelow(3) == 0:
        finding = secrets.choice(("no finding", "bacterial pneumonia", "viral pneumonia"))
        return Controls("AP", 1 + secrets.randbelow(5), "", (finding,)), seed
    finding = secrets.choice(("no finding", "pneumonia", "tuberculosis", "pleural effusion",
                              "infiltration"))  # fmt: skip
    side = secrets.choice(("", *SIDES)) if finding != "no finding" else ""
    age = 20 + secrets.randbelow(66)
    return Controls(secrets.choice(VIEWS), age, secrets.choice(SEXES), (finding,), side), seed


@dataclass(frozen=True, slots=True)
class Request:
    """A drawing that can be asked for again."""

    prompt: str
    seed: int = 0
    steps: int = DEFAULT_STEPS
    guidance: float = DEFAULT_GUIDANCE
    weights: str = ""  # hash of the checkpoint it was drawn with; "" = any


def link(request: Request, origin: str = "") -> str:
    """An address that opens the page and draws the same pixels.

    Args:
        request: What to draw.
        origin: Of the page, such as https://lab-page.hf.space; anything else gives `LOCAL`.
    """
    fine = re.fullmatch(r"https?://[\w.\-]+(:\d{1,5})?", origin or "")
    query = {"prompt": request.prompt, "seed": request.seed, "steps": request.steps,
             "guidance": f"{request.guidance:g}", "weights": request.weights}  # fmt: skip
    return f"{origin if fine else LOCAL}/?{urlencode({k: v for k, v in query.items() if v != ''})}"


def read_link(query: str | Mapping[str, str]) -> Request | None:
    """What a link asks for; None when it names no prompt.

    Raises:
        ConfigError: a number in it is none, or out of range.
    """
    if isinstance(query, str):
        query = {key: values[-1] for key, values in parse_qs(query.lstrip("?")).items()}
    prompt = str(query.get("prompt", "")).strip()[:2000]
    if not prompt:
        return None
    numbers: list[float] = []
    for name, default, high in (("seed", 0, MAX_SEED), ("steps", DEFAULT_STEPS, MAX_STEPS),
                                ("guidance", DEFAULT_GUIDANCE, MAX_GUIDANCE)):  # fmt: skip
        given = str(query.get(name, default))
        try:
            numbers.append(float(given) if name == "guidance" else int(given))
        except ValueError as error:
            raise ConfigError(
                f"`{name}` in the link is {given[:40]!r}; expected a number up to {high:g}."
            ) from error
    seed, steps, guidance, _ = check_numbers(*numbers)
    weights = re.sub(r"[^0-9a-f]", "", str(query.get("weights", "")).lower())[:64]
    return Request(prompt, seed, steps, guidance, weights)


def python_snippet(request: Request, config: Any = None, *, model: str = "mini") -> str:
    """Python that draws the same, and refines the mask in the same way, with the library.

    Args:
        request: What to draw.
        config: `RefineConfig` of the mask; None for the defaults.
        model: Name or folder of the checkpoint.
    """
    refining = _differences(config)
    more = ", refine_config=config" if refining else ""
    return (
        "from pathlib import Path\n"
        + ("from lungsynth.crf import CrfConfig\n" if "CrfConfig" in refining else "")
        + "from lungsynth.output import write_result\n"
        "from lungsynth.pipeline import Synthesizer\n"
        + ("from lungsynth.refine import RefineConfig\n" if refining else "")
        + "from lungsynth.sampling import SampleOptions\n\n"
        f"options = SampleOptions(steps={request.steps}, guidance={request.guidance:g})\n"
        + (f"config = {refining}\n" if refining else "")
        + f"synthesizer = Synthesizer({model!r})\n"
        f"[result] = synthesizer.generate([{request.prompt!r}], [{request.seed}], options=options{more})\n"
        'write_result(result, Path("out"))\n'
    )


def _differences(config: Any) -> str:
    """A configuration as the call that makes it, with what is not the default; "" for the defaults."""
    if config is None or config == type(config)():
        return ""
    default = type(config)()
    told = []
    for one in fields(config):
        value = getattr(config, one.name)
        if value != getattr(default, one.name):
            told.append(f"{one.name}={_differences(value) if is_dataclass(value) else repr(value)}")
    return f"{type(config).__name__}({', '.join(told)})"


def curl_snippet(request: Request, origin: str = "") -> str:
    """A shell command that has this page draw the same, over its API."""
    base = link(request, origin).split("/?")[0]
    data = json.dumps({"data": [request.prompt, request.seed, request.steps, request.guidance]},
                      ensure_ascii=False)  # fmt: skip
    call = f"{base}/gradio_api/call/generate"
    return (
        f"id=$(curl -s {call} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(data)} | cut -d'\"' -f4)\n"
        f"curl -sN {call}/$id\n"
    )
