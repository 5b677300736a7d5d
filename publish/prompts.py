"""Prompts of a dataset: from a seed through a small grammar, or from a file.

The grammar stays inside what the shipped checkpoint was trained on: young children (AP, pneumonia
or normal, sex unknown) and adults. COVID-19, which that checkpoint draws badly, is left out. A choice
is a SHA-256 of (seed, index, name of the choice), so a prompt depends on nothing else: not on its
neighbours, not on a library's random generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lungsynth.errors import ConfigError, DataError

GRAMMAR_VERSION = 2
"""Raised whenever (seed, index) -> prompt changes."""

T = TypeVar("T")

CHILD_FINDINGS = (("normal", 2), ("bacterial pneumonia", 2), ("viral pneumonia", 2))
ADULT_FINDINGS = (("normal", 4), ("pneumonia", 2), ("tuberculosis", 2),
                  ("infiltration", 1), ("effusion", 1))  # fmt: skip
WORDING: dict[str, tuple[str, ...]] = {
    "normal": ("no finding", "clear lungs", "normal"),
    "effusion": ("pleural effusion", "effusion"),
    "tuberculosis": ("tuberculosis", "pulmonary tuberculosis"),
}
AGE_GROUPS = (("young adult", 18, 39), ("middle-aged", 40, 64), ("elderly", 65, 85))
"""Adult groups with their youngest and oldest age in years."""


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """A prompt with what it asks for; a field the prompt does not fix is None."""

    text: str
    view: str | None = None  # "AP" or "PA"
    age_group: str | None = None  # "child", "young adult", "middle-aged", "elderly"
    sex: str | None = None  # "F" or "M"
    finding: str | None = None  # a finding of the grammar, "normal" for none


class Choices:
    """Named choices that depend on (seed, index) only."""

    def __init__(self, seed: int, index: int) -> None:
        self._root = f"lungsynth-publish/{seed}/{index}"

    def number(self, name: str, n: int) -> int:
        """A number in [0, n); n at most 2**53."""
        digest = hashlib.sha256(f"{self._root}/{name}".encode()).digest()
        return int.from_bytes(digest[:16], "big") % n

    def one(self, name: str, values: Sequence[T]) -> T:
        """One of several values, all equally likely."""
        return values[self.number(name, len(values))]

    def weighted(self, name: str, values: Sequence[tuple[str, int]]) -> str:
        """One of several values, each as likely as its weight."""
        left = self.number(name, sum(weight for _, weight in values))
        for value, weight in values:
            if left < weight:
                return value
            left -= weight
        raise ValueError("weights must be positive")


def row_seed(seed: int, index: int) -> int:
    """The seed row `index` is drawn with, in [0, 2**53): exact in every JSON reader."""
    return Choices(seed, index).number("noise", 2**53)


def make_prompt(seed: int, index: int) -> RowPrompt:
    """Prompt `index` of the grammar.

    Args:
        seed: The dataset's seed.
        index: Row number, from 0.
    """
    pick = Choices(seed, index)
    if pick.weighted("group", (("child", 1), ("adult", 1))) == "child":
        view, age_group, sex = "AP", "child", None
        finding = pick.weighted("finding", CHILD_FINDINGS)
        years = 1 + pick.number("age", 5)
        who = pick.one("who", ("young child", f"{years}-year-old child", "child"))
    else:
        finding = pick.weighted("finding", ADULT_FINDINGS)
        view = "PA" if finding == "tuberculosis" else pick.one("view", ("AP", "PA"))
        sex = pick.one("sex", ("F", "M"))
        noun = {"F": "woman", "M": "man"}[sex]
        age_group, youngest, oldest = pick.one("age group", AGE_GROUPS)
        years = youngest + pick.number("age", oldest - youngest + 1)
        who = f"{years}-year-old {noun}"
    words = pick.one("words", WORDING.get(finding, (finding,)))
    joint = "," if finding == "normal" else " with"
    article = "an" if who.startswith(("8", "18-")) else "a"
    text = pick.one("style", (
        f"Frontal {view} chest X-ray of {article} {who}{joint} {words}.",
        f"{view} chest radiograph, {who}, {words}.",
        f"{view} view, {who}, {words}, both lungs visible.",
    ))  # fmt: skip
    return RowPrompt(text, view, age_group, sex, finding)


def read_prompts(path: Path) -> list[str]:
    """Prompts of a UTF-8 file, one a line; empty lines are skipped.

    Raises:
        DataError: the file cannot be read as text.
        ConfigError: it holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--prompts {path}: cannot be read as UTF-8 text ({error}).") from error
    prompts = [" ".join(line.split()) for line in lines if line.strip()]
    if not prompts:
        raise ConfigError(f"--prompts {path}: no prompt in it; expected one a line.")
    return prompts


def prompts_sha256(prompts: Sequence[str]) -> str:
    """SHA-256 of a list of prompts."""
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()
