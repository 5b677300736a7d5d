"""The browser's own pictures as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


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
