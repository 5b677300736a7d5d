"""Blocks of figures in a page that people write: filled from kept results, the words around them kept.

A block is three lines or more, each marker alone on its line:

    <!-- figures: masks-shenzhen masks-kermany -->
    whatever was here is replaced
    <!-- end figures -->

It names files of the folder of kept results. Several results of one kind that can be set side by side
become one table. `<!-- figures: targets NAME … -->` shows the headline figures beside their targets, and
`<!-- figures: plot NAME -->` the plot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from lungsynth.errors import DataError, OutputError
from lungsynth.report.files import Result, read_results
from lungsynth.report.page import draw_result
from lungsynth.report.words import targets_table

START = re.compile(r"<!-- figures: *(.*?) *-->")
END = "<!-- end figures -->"
TARGETS, PLOT = "targets", "plot"
PICTURES = "images"
"""Folder of plots, beside the page."""


def fill(
    text: str, results: Mapping[str, Result], page: Path
) -> tuple[str, list[Result], set[str]]:
    """A page with its blocks made anew.

    Args:
        text: The page.
        results: Kept results by name.
        page: Where the page lies; links lead from there.

    Returns:
        The page; the results whose plot it shows; names of all results it shows.

    Raises:
        DataError: no block, a marker without its other half, or a block that names no result.
    """
    out: list[str] = []
    plots: list[Result] = []
    shown: set[str] = set()
    opened: int | None = None  # line of the marker of the block we are in
    fenced, n_blocks = False, 0
    for number, line in enumerate(text.split("\n"), 1):
        marker = None if fenced else START.fullmatch(line.strip())
        if opened is None:
            fenced ^= line.lstrip().startswith(("```", "~~~"))
            if not fenced and line.strip() == END:
                raise DataError(f"{page}:{number}: `{END}` without its beginning.")
            out.append(line)
            if marker is not None:
                opened, n_blocks = number, n_blocks + 1
                block, used, drawn = _block(marker[1].split(), results, page, f"{page}:{number}")
                out += ["", *block, ""]
                shown |= used
                plots += drawn
        elif marker is not None:
            raise DataError(f"{page}:{number}: a block begins within that of line {opened}.")
        elif line.strip() == END:
            out.append(line)
            opened = None
    if opened is not None:
        raise DataError(f"{page}:{opened}: the block has no `{END}`.")
    if not n_blocks:
        first = next(iter(results))
        raise DataError(
            f"{page}: no block to fill. Add two lines where figures should stand, "
            f"`<!-- figures: {first} -->` and `{END}`; there are {', '.join(results)}."
        )
    return "\n".join(out), plots, shown


def _block(
    words: list[str], results: Mapping[str, Result], page: Path, where: str
) -> tuple[list[str], set[str], list[Result]]:
    """Lines of one block, names of its results, those to be drawn."""
    how = words.pop(0) if words and words[0] in (TARGETS, PLOT) else ""
    missing = [w for w in words if w not in results]
    if missing or not words:
        raise DataError(
            f"{where}: {', '.join(missing) or 'the block'} names no result; there are {', '.join(results)}."
        )
    chosen = {w: results[w] for w in words}
    if how == PLOT:
        lines = [f"![{r.title}]({PICTURES}/{name}.png)" for name, r in chosen.items()]
        return lines, set(chosen), list(chosen.values())
    if how == TARGETS:
        told = [t for r in chosen.values() for t in r.targets]
        if not told:
            raise DataError(
                f"{where}: {', '.join(chosen)} has no headline figure; leave `{TARGETS}` out."
            )
        parts = [targets_table(told)]
    else:
        kinds = {r.kind.name: r.kind for r in chosen.values()}
        together = next(iter(kinds.values())).together if len(kinds) == 1 else None
        if together is not None and len(chosen) > 1:
            parts = [together({name: r.report for name, r in chosen.items()})]
        else:
            parts = [r.text.strip() for r in chosen.values()]
    parts.append("\n".join(about(r, page) for r in chosen.values()))
    return "\n\n".join(parts).splitlines(), set(chosen), []


def about(result: Result, page: Path) -> str:
    """Where the figures come from: the file, n and seeds, the command."""
    link = Path(os.path.relpath(result.path, page.parent)).as_posix()
    return f"- [{result.name}]({link}): {result.how} {command_words(result)}"


def command_words(result: Result) -> str:
    """The command as a sentence, and whether it is all of it."""
    command = "`" + result.command.replace("`", "'") + "`"
    if result.command_is_whole:
        return f"By {command}."
    return f"By {command}; further options, if any, are not in the file."


def write_into(page: Path, folder: Path) -> tuple[bool, list[Path], list[str]]:
    """Fill the blocks of a page from a folder of kept results, and draw the plots it shows.

    Returns:
        Whether the page changed; the plots written; names of results that no block shows.

    Raises:
        DataError: see `fill` and `lungsynth.report.files.read_results`; or the page cannot be read.
        OutputError: it cannot be written.
    """
    results = read_results(folder)
    try:
        before = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{page}: cannot be read ({error}). Write the page first, with blocks."
        ) from error
    after, plots, shown = fill(before, results, page)
    pictures = []
    try:
        for result in plots:
            drawn = draw_result(result)
            if drawn is None:
                raise DataError(f"{page}: {result.name} has no plot; leave its block out.")
            path = page.parent / PICTURES / f"{result.name}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(drawn)
            pictures.append(path)
        if after != before:
            page.write_text(after, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error}).") from error
    return after != before, pictures, [name for name in results if name not in shown]
