"""The page's HTML before its script runs: a picture at once, and what link previews show."""

from __future__ import annotations

import json
import re
from html import escape

from lungsynth.errors import LungSynthError
from space.page import gallery, text

_GRADIOS = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*', re.DOTALL)

FIRST = """<div id="ls-first" style="position:fixed;inset:0;z-index:99;overflow:hidden;padding:0 1rem;
background:inherit;text-align:center"><p>{banner}</p><p><strong>{title}</strong>: {subtitle}</p>
<img src="{image}" alt="{alt}" style="width:min(92vw,58vh);border-radius:6px"></div>
<script>(() => {{
  const done = () => document.querySelector("#ls-viewer canvas") &&
    document.querySelector("#ls-draw") && (document.getElementById("ls-first")?.remove(), true);
  const watch = new MutationObserver(() => done() && watch.disconnect());
  watch.observe(document.documentElement, {{childList: true, subtree: true}});
  setTimeout(() => document.getElementById("ls-first")?.remove(), 15000);
}})();</script>"""
"""Seen until the page itself is there."""


def dressed(html: str, origin: str) -> str:
    """The page's HTML, as Gradio renders it, with our own tags for link previews, and the first
    picture.

    `origin` is where the page is opened, such as https://lab-page.hf.space.
    """
    told = {
        "og:type": "website",
        "og:site_name": text.TITLE,
        "og:title": f"{text.TITLE}: synthetic chest X-rays with masks, from a sentence",
        "og:description": f"{text.SUBTITLE} Research only, not for diagnosis.",
        "og:url": f"{origin}/",
        "og:image": f"{origin}/{gallery.CARD}",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "A synthetic chest X-ray, where a word of its prompt looks, and its lung mask",
        "twitter:card": "summary_large_image",
    }
    tags = "".join(
        f'<meta {"name" if name.startswith("twitter") else "property"}="{name}" '
        f'content="{escape(value)}" />\n'
        for name, value in told.items()
    )
    tags += f'<meta name="description" content="{escape(told["og:description"])}" />\n'
    head, mark, rest = _GRADIOS.sub("", html).partition("</head>")
    if not mark:
        return html
    return f"{head}{tags}{mark}" + re.sub(r"<body[^>]*>", lambda m: m[0] + _first(), rest, count=1)


def _first() -> str:
    """The first picture of the gallery, or nothing where none was built."""
    try:
        value = gallery.value()
    except (LungSynthError, OSError, json.JSONDecodeError):
        return ""
    if value is None:
        return ""
    item = value["items"][0]
    return FIRST.format(
        banner=text.BANNER,
        title=text.TITLE,
        subtitle=text.SUBTITLE,
        image=item["image"],
        alt=escape(item["alt"]),
    )


def card() -> bytes | None:
    """JPEG that link previews show; None where no gallery was built."""
    path = gallery.FOLDER / gallery.CARD
    return path.read_bytes() if path.is_file() else None
