"""A prompt from controls."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from lungsynth.errors import ConfigError
from lungsynth.model.measured import Measured

VIEWS = ("AP", "PA")
SEXES = ("woman", "man")
FINDINGS = (
    "no finding",
    "pneumonia",
    "bacterial pneumonia",
    "viral pneumonia",
    "tuberculosis",
    "pleural effusion",
    "infiltration",
    "atelectasis",
    "consolidation",
    "cardiomegaly",
)
SIDES = ("right lung", "left lung", "both lungs")
WHOLE = ("no finding", "cardiomegaly")
"""Findings that have no side."""
CHILD_YEARS = 18


@dataclass(frozen=True, slots=True)
class Controls:
    """What the controls say; what is empty is not said."""

    view: str = ""  # of VIEWS
    age: float | None = None  # years, 0-110
    sex: str = ""  # of SEXES
    findings: tuple[str, ...] = ()  # of FINDINGS
    side: str = ""  # of SIDES


def sentence(controls: Controls) -> str:
    """The controls as a prompt in the words the model was trained on; the heart is in no lung.

    Raises:
        ConfigError: a value that is none of the choices, or an age out of range.
    """
    for name, value, there in (
        ("view", controls.view, VIEWS),
        ("sex", controls.sex, SEXES),
        ("side", controls.side, SIDES),
        *(("finding", one, FINDINGS) for one in controls.findings),
    ):
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
        if controls.side and not set(ill) & set(WHOLE):
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


def surprise(measured: Measured | None = None) -> tuple[Controls, int]:
    """Controls nobody chose, within what the model was trained on and obeys, and a seed."""
    seed, known = secrets.randbelow(2**31), measured or Measured()

    def one_of(*findings: str) -> tuple[str, ...]:
        return (secrets.choice(("no finding", *known.findings(findings))),)

    if secrets.randbelow(3) == 0:
        finding = one_of("bacterial pneumonia", "viral pneumonia")
        return Controls("AP", 1 + secrets.randbelow(5), "", finding), seed
    finding = one_of("pneumonia", "tuberculosis", "pleural effusion", "infiltration")
    side = ""
    if known.offers("side") and finding[0] not in WHOLE:
        side = secrets.choice(("", *SIDES))
    age = 20 + secrets.randbelow(66)
    return Controls(secrets.choice(VIEWS), age, secrets.choice(SEXES), finding, side), seed
