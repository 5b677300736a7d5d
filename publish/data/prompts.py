"""Prompts of a dataset: from a seed through a small grammar, or from a file.

The grammar stays inside what the shipped checkpoint was trained on: young children (AP, pneumonia
or normal, sex unknown) and adults. COVID-19, which that checkpoint draws badly, is left out. A choice
is a SHA-256 of (seed, index, name of the choice), so a prompt depends on nothing else: not on its
neighbours, not on a library's random generator.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from lungsynth.errors import ConfigError, DataError

GRAMMAR_VERSION = 2
"""Raised whenever (seed, index) -> prompt changes."""

T = TypeVar("T")

CHILD_FINDINGS = (("normal", 2), ("bacterial pneumonia", 2), ("viral pneumonia", 2))
ADULT_FINDINGS = (
    ("normal", 4),
    ("pneumonia", 2),
    ("tuberculosis", 2),
    ("infiltration", 1),
    ("effusion", 1),
)
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
        return self.one(name, [value for value, weight in values for _ in range(weight)])


def row_seed(seed: int, index: int) -> int:
    """The seed row `index` is drawn with, in [0, 2**53): exact in every JSON reader."""
    return Choices(seed, index).number("noise", 2**53)


def make_prompt(seed: int, index: int) -> RowPrompt:
    """Prompt `index`, from 0, of the grammar, by the dataset's seed."""
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
    text = pick.one(
        "style",
        (
            f"Frontal {view} chest X-ray of {article} {who}{joint} {words}.",
            f"{view} chest radiograph, {who}, {words}.",
            f"{view} view, {who}, {words}, both lungs visible.",
        ),
    )
    return RowPrompt(text, view, age_group, sex, finding)


def prompt_group(text: str) -> str:
    """16 hex digits that prompts share when they differ in case, signs and white space only."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"[^\W_]+", plain)
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def split_of(group: str, seed: int, shares: Mapping[str, float]) -> str:
    """The split of a `prompt_group`, by split -> its share of the groups, adding up to 1.

    Adding rows or groups never moves another group.
    """
    digest = hashlib.sha256(f"lungsynth-split/{seed}/{group}".encode()).digest()
    place = int.from_bytes(digest[:6], "big") / 2**48
    edge, name = 0.0, ""
    for name, share in shares.items():
        edge += share
        if place < edge:
            return name
    return name


def read_prompts(path: Path, column: str = "prompt") -> list[str]:
    """Prompts of a file: a column of .csv, .jsonl or .parquet, else UTF-8 text with one a line.

    Empty prompts are skipped.

    Raises:
        DataError: the file cannot be read as what it is.
        ConfigError: it has no such column, or holds no prompt.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".jsonl", ".parquet"):
        lines = _column(path, kind, column)
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--prompts {path}: cannot be read as UTF-8 text ({error}).") from error
    return check_prompts(lines, f"--prompts {path}")


def check_prompts(lines: Sequence[str], where: str) -> list[str]:
    """Prompts with single spaces, without empty ones.

    Raises:
        ConfigError: none is left.
    """
    prompts = [" ".join(line.split()) for line in lines if line.strip()]
    if not prompts:
        raise ConfigError(f"{where}: no prompt in it; expected one a line.")
    return prompts


def _column(path: Path, kind: str, column: str) -> list[str]:
    """A text column of a table; nulls are left out."""
    try:
        if kind == ".csv":
            table = pyarrow.csv.read_csv(path)
        elif kind == ".jsonl":
            table = pyarrow.json.read_json(path)
        else:
            table = pyarrow.parquet.read_table(path, columns=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"--prompts {path}: cannot be read ({error}).") from error
    if column not in table.column_names:
        raise ConfigError(
            f"--prompts {path}: no column {column!r}; it has {', '.join(table.column_names)}. "
            "Name one with --prompt-column."
        )
    return [str(value) for value in table[column].to_pylist() if value is not None]
