"""Pairs of prompts equal but for left ↔ right, in the style of the training texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lungsynth.errors import ConfigError

FINDINGS = (
    ("tuberculosis", "pulmonary tuberculosis in the {side} upper field"),
    ("tuberculosis", "{side} pulmonary tuberculosis"),
    ("tuberculosis", "secondary pulmonary tuberculosis in the {side} upper field"),
    ("infiltration", "infiltration in the {side} upper lung"),
    ("tuberculosis", "pulmonary tuberculosis in the {side} lower field"),
    ("tuberculosis", "{side} upper pulmonary tuberculosis"),
    ("tuberculosis", "{side} secondary pulmonary tuberculosis"),
    ("pneumonia", "pneumonia in the {side} lower lung"),
)
"""Finding, and how it is said: tuberculosis as training texts say it; the others have no side there."""


@dataclass(frozen=True, slots=True)
class SidePrompt:
    """A prompt that names a side, in three versions."""

    finding: str
    left: str
    right: str
    normal: str  # of the same patient, without finding

    def texts(self) -> dict[str, str]:
        """Version -> prompt."""
        return {"left": self.left, "right": self.right, "normal": self.normal}


def side_prompts(n: int) -> list[SidePrompt]:
    """`n` prompts in the style of the training texts; the first m of n are those of m."""
    out = []
    for k in range(n):
        finding, words = FINDINGS[k % len(FINDINGS)]
        sex = ("male", "female")[(k // len(FINDINGS) + k) % 2]
        who = f"Frontal PA chest X-ray of a {22 + (k * 7) % 55}-year-old {sex}."

        def told(side: str, who: str = who, words: str = words) -> str:
            said = words.format(side=side)
            return f"{who} {said[0].upper()}{said[1:]}."

        out.append(SidePrompt(finding, told("left"), told("right"), f"{who} Normal."))
    return out


def given_prompts(texts: Sequence[str], normal: str, n: int) -> list[SidePrompt]:
    """`n` prompts from texts with `{side}` in them, in turn.

    Raises:
        ConfigError: a text without `{side}`.
    """
    for text in texts:
        if "{side}" not in text:
            raise ConfigError(
                f"--prompt {text!r}: has no {{side}}, such as in 'Chest X-ray with {{side}} effusion'."
            )
    versions = [
        SidePrompt("given", text.replace("{side}", "left"), text.replace("{side}", "right"), normal)
        for text in texts
    ]
    return [versions[k % len(versions)] for k in range(n)]
