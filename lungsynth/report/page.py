"""Every measured figure below a folder on one page: HTML that needs no other file, and Markdown."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lungsynth.errors import DataError, OutputError
from lungsynth.evaluation.downstream.report import draw_plot
from lungsynth.images import slug
from lungsynth.report.files import Result, UnfitError, found_below, read_result
from lungsynth.report.sections import KINDS
from lungsynth.report.words import targets_table

PICTURES = "report"
"""Folder of the Markdown page's plots, beside it."""

LONG = 36  # letters of a table's cell that may be broken into lines

BRACKETS = "Values in brackets are 95 % intervals; each section says of what."


@dataclass(frozen=True, slots=True)
class Section:
    """One measured file."""

    result: Result
    place: str  # of the JSON file, below the folder
    plot: bytes | None  # PNG


def draw_result(result: Result) -> bytes | None:
    """The plot of a result as PNG; None where its kind has none."""
    buffer = io.BytesIO()
    if result.kind.name == "downstream":
        draw_plot(result.report, buffer)
        return buffer.getvalue()
    if result.kind.draw is None:
        return None
    n_bars = len(result.report.get("stages", ())) or 2 * len(result.report.get("tasks", ()))
    figure = Figure(figsize=(8, max(3.2, 0.26 * n_bars + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    result.kind.draw(figure.subplots(), result.report)
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()


def gather(folder: Path) -> tuple[list[Section], list[str]]:
    """Sections of all known JSON files below a folder, and what was left out with the reason.

    Raises:
        DataError: no such folder, or no file with figures in it.
    """
    sections: list[Section] = []
    left_out: list[str] = []
    for kind, name, path in found_below(folder):
        place = path.relative_to(folder).as_posix()
        try:
            result = read_result(path, kind, name)
            sections.append(Section(result, place, draw_result(result)))
        except (UnfitError, KeyError, TypeError, ValueError) as error:
            left_out.append(f"{place}: {str(error).removeprefix(f'{path}: ')}")
    if not sections:
        why = f" Left out: {' '.join(left_out)}" if left_out else ""
        raise DataError(
            f"{folder}: no figures here. Expected one of {', '.join(f'{k}.json' for k in KINDS)}, which "
            f"`lungsynth evaluate …` writes.{why}"
        )
    return sections, left_out


def _targets(sections: Sequence[Section]) -> str:
    """Figures that have a target, with the name of the result where titles repeat."""
    titles = [s.result.title for s in sections]
    told = []
    for s in sections:
        note = f" ({s.result.name})" if titles.count(s.result.title) > 1 else ""
        told += [replace(t, figure=t.figure + note) for t in s.result.targets if t.met]
    return targets_table(told) if told else ""


def _command(result: Result) -> str:
    missing = "" if result.command_is_whole else "\n# further options, if any, are not in the file"
    return result.command + missing


def to_markdown(sections: Sequence[Section], left_out: Sequence[str]) -> str:
    """The page as Markdown; plots are files in `report/`."""
    lines = ["# Results", "", BRACKETS]
    if targets := _targets(sections):
        lines += ["", "## Targets", "", targets]
    for section in sections:
        result = section.result
        lines += [
            "",
            f"## {result.title}",
            "",
            "```bash",
            _command(result),
            "```",
            "",
            result.how,
            "",
            result.text.strip(),
        ]
        if section.plot is not None:
            lines += ["", f"![{result.title}]({PICTURES}/{picture_name(section)})"]
        lines += ["", f"From `{section.place}`."]
    if left_out:
        lines += ["", "## Left out", "", *(f"- {why}" for why in left_out)]
    return "\n".join(lines) + "\n"


def picture_name(section: Section) -> str:
    """File name of a section's plot."""
    return f"{slug(section.place.removesuffix('.json').replace('/', '-'), limit=120)}.png"


def to_html(sections: Sequence[Section], left_out: Sequence[str]) -> str:
    """The page as HTML that needs no other file."""
    body = ["<h1>Results</h1>", f"<p>{BRACKETS}</p>", "<ul>"]
    body += [
        f'<li><a href="#s{i}">{html.escape(s.result.title)}</a> '
        f'<span class="from">{html.escape(s.place)}</span></li>'
        for i, s in enumerate(sections)
    ]
    body.append("</ul>")
    if targets := _targets(sections):
        body += ["<h2>Targets</h2>", _render(targets)]
    for i, section in enumerate(sections):
        result, title = section.result, html.escape(section.result.title)
        body += [f'<h2 id="s{i}">{title}</h2>', f"<pre>{html.escape(_command(result))}</pre>"]
        body += [_render(result.how), _render(result.text)]
        if section.plot is not None:
            data = base64.b64encode(section.plot).decode()
            body.append(f'<img alt="{title}" src="data:image/png;base64,{data}">')
        body.append(f'<p class="from">From <code>{html.escape(section.place)}</code>.</p>')
    if left_out:
        body += [
            "<h2>Left out</h2>",
            "<ul>",
            *(f"<li>{html.escape(w)}</li>" for w in left_out),
            "</ul>",
        ]
    return _PAGE.replace("BODY", "\n".join(body))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>lungsynth results</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: 90%;
        font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap }
td.long { white-space: normal; min-width: 12rem }
pre { background: #f4f4f4; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere }
img { max-width: 100% } .from { color: #666; font-size: 85% }
</style></head><body>
BODY
</body></html>
"""


_MARKDOWN = MarkdownIt("zero").enable(["table", "emphasis", "backticks", "escape"])


def _render(text: str) -> str:
    """Markdown of paragraphs, bold, code and tables -> HTML; everything else is shown as it is."""
    long = rf"<td>(?=[^<]{{{LONG + 1},}}</td>)"
    return re.sub(long, '<td class="long">', str(_MARKDOWN.render(text)))


def write_page(folder: Path, out: Path | None = None) -> tuple[list[Section], list[str]]:
    """Write `report.html`, `report.md` and the plots of the latter.

    Args:
        folder: Searched for figures, to any depth.
        out: Where the page goes; None is `folder`.

    Returns:
        What `gather` found.

    Raises:
        DataError: no figures.
        OutputError: the place cannot be written.
    """
    sections, left_out = gather(folder)
    place = out or folder
    try:
        (place / PICTURES).mkdir(parents=True, exist_ok=True)
        for section in sections:
            if section.plot is not None:
                (place / PICTURES / picture_name(section)).write_bytes(section.plot)
        (place / "report.md").write_text(to_markdown(sections, left_out), encoding="utf-8")
        (place / "report.html").write_text(to_html(sections, left_out), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error}). Choose another --out.") from error
    return sections, left_out
