"""Strangers' text in Markdown: nothing in a prompt can become markup, HTML or a marker."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\`*_\[\]()#!|~$^@]|(?<=:)//)")


def plain_text(text: str, *, limit: int = 300) -> str:
    """Text on one line without control or direction-changing characters, cut at `limit`."""
    kept = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c in " \t\n")
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def markdown_text(text: str, *, limit: int = 300) -> str:
    """Text that Markdown and HTML show as it is, also within a table."""
    escaped = SPECIAL.sub(r"\\\1", plain_text(text, limit=limit))
    return html.escape(escaped, quote=True).replace("&#x27;", "&#39;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; its cells are Markdown already."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def bibtex_text(text: str) -> str:
    """Text of a BibTeX field and of a code block: no brace, backslash or fence."""
    return re.sub(r"[{}\\`%]", "", plain_text(text))


def contact_link(text: str) -> str:
    """An address of the web or of e-mail as a link that shows it unchanged; other text as it is."""
    plain = plain_text(text)
    if re.fullmatch(r"https?://[^\s<>\"]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", plain):
        return f"<{plain}>"
    return markdown_text(text)
