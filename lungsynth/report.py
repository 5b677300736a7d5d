"""Every measured figure below a folder on one page: HTML that needs no other file, and Markdown."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lungsynth.errors import DataError, OutputError
from lungsynth.images import slug
from lungsynth.report_sections import KINDS, Kind, Report

PICTURES = "report"
"""Folder of the Markdown page's plots, beside it."""

SKIPPED = ("cells", PICTURES)


@dataclass(frozen=True, slots=True)
class Section:
    """One measured file."""

    title: str
    place: str  # of the JSON file, below the folder
    command: str  # that makes it
    text: str  # Markdown: paragraphs, bold lines, tables
    plot: bytes | None  # PNG


def _plot(name: str, kind: Kind, report: Report) -> bytes | None:
    buffer = io.BytesIO()
    if name == "downstream.json":
        from lungsynth.evaluation.downstream_report import draw_plot

        draw_plot(report, buffer)
        return buffer.getvalue()
    if kind.draw is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_bars = len(report.get("stages", report.get("tasks", ())))
    figure = Figure(figsize=(8, max(3.2, 0.26 * n_bars + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    kind.draw(figure.subplots(), report)
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()


def gather(folder: Path) -> tuple[list[Section], list[str]]:
    """Sections of all known JSON files below a folder, and what was left out with the reason.

    Raises:
        DataError: no such folder, or no file with figures in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give where the evaluations were written.")
    sections: list[Section] = []
    left_out: list[str] = []
    for name, kind in KINDS.items():
        for path in sorted(folder.rglob(name)):
            inside = path.relative_to(folder)
            if any(part.startswith(".") or part in SKIPPED for part in inside.parts[:-1]):
                continue
            try:
                report = json.loads(path.read_text(encoding="utf-8"))
                command = ["python", "-m", "lungsynth", *kind.command(report)]
                command += ["--out", f"OUT/{inside.parent.as_posix()}".removesuffix("/.")]
                sections.append(Section(
                    kind.title(report), inside.as_posix(), shlex.join(command), kind.text(report),
                    _plot(name, kind, report),
                ))  # fmt: skip
            except OSError as error:
                left_out.append(f"{inside.as_posix()}: cannot be read ({error}).")
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                left_out.append(
                    f"{inside.as_posix()}: not a result of this version ({type(error).__name__}: {error})."
                )
    if not sections:
        why = f" Left out: {' '.join(left_out)}" if left_out else ""
        raise DataError(
            f"{folder}: no figures here. Expected one of {', '.join(KINDS)}, which `lungsynth evaluate …` "
            f"writes.{why}"
        )
    return sections, left_out


def to_markdown(sections: Sequence[Section], left_out: Sequence[str]) -> str:
    """The page as Markdown; plots are files in `report/`."""
    lines = ["# Results", "", "Values in brackets are 95 % intervals."]
    for section in sections:
        lines += ["", f"## {section.title}", "", "```bash", section.command, "```", "",
                  section.text.strip()]  # fmt: skip
        if section.plot is not None:
            lines += ["", f"![{section.title}]({PICTURES}/{picture_name(section)})"]
        lines += ["", f"From `{section.place}`."]
    if left_out:
        lines += ["", "## Left out", "", *(f"- {why}" for why in left_out)]
    return "\n".join(lines) + "\n"


def picture_name(section: Section) -> str:
    """File name of a section's plot."""
    return f"{slug(section.place.removesuffix('.json').replace('/', '-'))}.png"


def to_html(sections: Sequence[Section], left_out: Sequence[str]) -> str:
    """The page as HTML that needs no other file."""
    body = ["<h1>Results</h1>", "<p>Values in brackets are 95 % intervals.</p>", "<ul>"]
    body += [f'<li><a href="#s{i}">{html.escape(s.title)}</a></li>' for i, s in enumerate(sections)]
    body.append("</ul>")
    for i, section in enumerate(sections):
        title = html.escape(section.title)
        body += [f'<h2 id="s{i}">{title}</h2>', f"<pre>{html.escape(section.command)}</pre>"]
        body.append(_render(section.text))
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
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap }
pre { background: #f4f4f4; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere }
img { max-width: 100% } .from { color: #666; font-size: 85% }
</style></head><body>
BODY
</body></html>
"""


def _render(text: str) -> str:
    """Markdown of paragraphs, bold and tables -> HTML; everything else is shown as it is."""

    def inline(words: str) -> str:
        return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(words))

    out: list[str] = []
    rows: list[list[str]] = []

    def close() -> None:
        if rows:
            head = "".join(f"<th>{inline(c)}</th>" for c in rows[0])
            inner = "".join(
                "<tr>" + "".join(f"<td>{inline(c)}</td>" for c in row) + "</tr>\n"
                for row in rows[2:]
            )
            out.append(f"<table><thead><tr>{head}</tr></thead><tbody>\n{inner}</tbody></table>")
            rows.clear()

    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
            continue
        close()
        if line.strip():
            out.append(f"<p>{inline(line)}</p>")
    close()
    return "\n".join(out)


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
