"""The gallery and the browser's own pictures as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from lungsynth import RESEARCH_NOTICE
from space.page.text import strip

if TYPE_CHECKING:
    from space.page.gallery import Shown


def cases(shown: Sequence[Shown], links: Sequence[str], weights: str) -> str:
    """The gallery; HTML.

    Args:
        shown: Its pictures.
        links: An address that draws each again.
        weights: Hash of the checkpoint in use, "" when there is none.
    """
    if not shown:
        return (
            "<h2>Drawn beforehand</h2><p>No gallery was built. <code>python -m space.page.gallery</code> "
            "draws it.</p>"
        )
    parts = []
    for one, address in zip(shown, links, strict=True):
        again = f'<a href="{escape(address)}">Draw it again</a>'
        if weights and weights != one.weights:
            again += " (drawn with other weights than those in use, so it will differ)"
        parts.append(
            f'<section class="ls-case"><h3>{escape(one.prompt)}, seed {one.seed}</h3>'
            f"{strip(one.pictures, about='Synthetic, ' + one.prompt)}<p>{escape(one.summary)} {again}</p>"
            "</section>"
        )
    head = f"<h2>Drawn beforehand</h2><p>By this very program. {RESEARCH_NOTICE}</p>"
    return head + "".join(parts)


def history(entries: Sequence[object]) -> str:
    """Links to what this browser drew before; HTML."""
    items = "".join(
        f'<li><a href="{escape(str(one["link"]))}">{escape(str(one["prompt"]))}, seed '
        f"{escape(str(one['seed']))}</a></li>"
        for one in entries or []
        if isinstance(one, dict)
        and str(one.get("link", "")).startswith(("http://", "https://"))
        and {"prompt", "seed"} <= one.keys()
    )
    if not items:
        return "<p>What you draw is listed here, and only in this browser.</p>"
    return f'<p>Drawn here before; kept in this browser only.</p><ul class="ls-links">{items}</ul>'
