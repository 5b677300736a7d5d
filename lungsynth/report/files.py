"""Results of evaluations as files: found below a folder, written out, kept small."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungsynth.errors import DataError, OutputError
from lungsynth.images import slug
from lungsynth.report.sections import KINDS, kind_of
from lungsynth.report.words import Kind, Report, Target

SKIPPED = ("cells", "report")
"""Folders within a result's folder that hold its parts, or pictures of the page."""

LONGEST = 60
"""Entries of a list that a small copy keeps; of a longer one its length."""

NAMES = ("film", "films", "pictures", "ids")
"""Last words of keys that name films or pictures one by one."""

DIGITS = 6  # significant, as the evaluations themselves write intervals


class UnfitError(DataError):
    """A file that is named as a result but is none of this version."""


@dataclass(frozen=True, slots=True)
class Result:
    """One measured file."""

    name: str  # `masks-shenzhen`: the evaluation, then which one of its results
    path: Path
    kind: Kind
    report: Report

    @property
    def title(self) -> str:
        """Its heading."""
        return self.kind.title(self.report)

    @property
    def how(self) -> str:
        """n, seeds, what the brackets are."""
        return self.kind.how(self.report)

    @property
    def text(self) -> str:
        """Markdown: paragraphs, bold lines, tables."""
        return self.kind.text(self.report)

    @property
    def targets(self) -> list[Target]:
        """Headline figures."""
        return self.kind.targets(self.report)

    @property
    def command(self) -> str:
        """The command that made it, as far as the file says."""
        return str(self.report.get("command", f"python -m lungsynth evaluate {self.kind.name}"))

    @property
    def command_is_whole(self) -> bool:
        """Whether the file holds its command; if not, it had options besides."""
        return "command" in self.report


def found_below(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(evaluation, name, path) of every file named as a result, at any depth; in page order.

    A name is the evaluation's with the folders between, such as `masks-shenzhen` of
    `shenzhen/masks.json`, or the file's own, such as `masks-shenzhen.json`.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give where the evaluations were written.")
    found = []
    for inner, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED)
        for file in files:
            path = Path(inner, file)
            kind = kind_of(path.stem) if path.suffix == ".json" else None
            if kind is not None:
                between = path.parent.relative_to(folder).parts
                name = "-".join(
                    [path.stem, *(slug(part) for part in between if slug(part) != kind)]
                )
                found.append((list(KINDS).index(kind), path.as_posix(), kind, name, path))
    for _, _, kind, name, path in sorted(found):
        yield kind, name, path


def read_result(path: Path, kind: str, name: str) -> Result:
    """One file.

    Raises:
        UnfitError: it cannot be read, or lacks what this version reports of such a result.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnfitError(f"{path}: cannot be read ({error}).") from error
    except ValueError as error:
        raise UnfitError(f"{path}: broken JSON ({error}). Make it again.") from error
    try:
        if kind == "memorisation" and "caught" not in report:
            kind = "neighbours"  # which the publisher keeps under this name too
        result = Result(name, path, KINDS[kind], report)
        _ = result.title, result.text, result.how, result.targets
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        ZeroDivisionError,
    ) as error:
        raise UnfitError(
            f"{path}: not a result of this version of `{kind}` ({type(error).__name__}: {error}). Measure "
            "again."
        ) from error
    return result


def read_results(folder: Path) -> dict[str, Result]:
    """Every JSON file directly in a folder of kept results: name -> result.

    Raises:
        DataError: no such folder, nothing in it, or a file that is no result; it is named.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder. Make it with `lungsynth report RUNS --keep {folder}`."
        )
    results = {}
    for path in sorted(folder.glob("*.json")):
        kind = kind_of(path.stem)
        if kind is None:
            raise DataError(
                f"{path}: unknown result. Expected a name that begins with {', '.join(KINDS)}, such as "
                "masks-shenzhen.json; rename or remove it."
            )
        results[path.stem] = read_result(path, kind, path.stem)
    if not results:
        raise DataError(
            f"{folder}: no result here. Put some with `lungsynth report RUNS --keep {folder}`."
        )
    return results


def small(value: Any) -> Any:
    """A result without its values film by film.

    Lists under `NAMES` and lists of more than `LONGEST` entries become their length; numbers keep
    `DIGITS` significant digits. What the report shows stays the same.
    """
    if isinstance(value, dict):
        named = {k for k in value if k.rpartition(" ")[2] in NAMES}
        return {
            k: len(v) if k in named and isinstance(v, list) else small(v)
            for k, v in value.items()
            if not (k in named and isinstance(v, str))
        }
    if isinstance(value, list):
        return len(value) if len(value) > LONGEST else [small(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value


def keep(folder: Path, out: Path) -> list[Path]:
    """Small copies of every result below a folder, in `out`: `masks-shenzhen.json` and so on.

    Args:
        folder: Where evaluations were written.
        out: Made if missing; files of the same name are replaced.

    Returns:
        What was written.

    Raises:
        DataError: no result, one that is not of this version, or two of one name.
        OutputError: the place cannot be written.
    """
    results: dict[str, Result] = {}
    for kind, name, path in found_below(folder):
        if name in results:
            raise DataError(
                f"{path}: would be kept as {name}.json, and so would {results[name].path}."
            )
        results[name] = read_result(path, kind, name)
    if not results:
        raise DataError(
            f"{folder}: no result here. Expected {', '.join(f'{k}.json' for k in KINDS)}."
        )
    written = []
    for name, result in results.items():
        path = out / f"{name}.json"
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.write_text(compact(small(result.report)) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error}). Choose another --keep."
            ) from error
        written.append(path)
    return written


def compact(value: Any, indent: str = "") -> str:
    """JSON with sorted keys, a line each for what holds only numbers and words."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(v, dict | list) for v in value.values()):
        lines = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {compact(inside, inner)}"
            for key, inside in sorted(value.items())
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        lines = [f"{inner}{compact(v, inner)}" for v in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
