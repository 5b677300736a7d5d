"""How the page looks: theme and CSS. Nothing is fetched; fonts are the reader's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")

_ADDRESS = """(link) => {
  try {
    const asked = new URL(link), here = new URL(window.location.href);
    for (const key of [...here.searchParams.keys()])
      if (!key.startsWith("__")) here.searchParams.delete(key);
    for (const [key, value] of asked.searchParams) here.searchParams.set(key, value);
    if (here.href !== window.location.href) window.history.%s({drawn: true}, "", here);
  } catch (error) { /* no link yet */ }
  return [];
}"""
WRITE_LINK = _ADDRESS % "replaceState"
"""Puts the link of the picture into the address bar, beside what Gradio's own keys say."""
FOLLOW = _ADDRESS % "pushState"
"""The same, for another picture than before: the browser's Back then returns to that."""

ON_DRAW = """() => {
  if (window.innerWidth < 900) document.getElementById("ls-status").scrollIntoView({block: "start"});
  return [];
}"""
"""On a phone the status and the picture below it come into view at once."""

SEE = """() => {
  const seen = document.getElementById("ls-viewer").getBoundingClientRect();
  if (window.innerWidth < 900 && (seen.top > window.innerHeight / 2 || seen.bottom < 0))
    document.getElementById("ls-status").scrollIntoView({block: "start"});
  return [];
}"""
"""The finished picture comes into view on a phone, unless it is."""

ON_OPEN = """() => {
  const mac = /Mac|iPhone|iPad/.test(navigator.platform), press = () =>
    document.getElementById("ls-draw").offsetParent && document.getElementById("ls-draw").click();
  if (matchMedia("(pointer: coarse)").matches) document.getElementById("ls-draw").textContent = "Draw";
  else if (mac) document.getElementById("ls-draw").textContent = "Draw (⌘+Enter)";
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); press(); }
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#ls-draw, #ls-sample, #ls-batch-start"))
      document.querySelectorAll("[data-testid=toast-close]").forEach((one) => one.click());
  }, true);
  window.addEventListener("popstate", () => document.getElementById("ls-reopen").click());
  const mend = () => {
    const without = (where, ...names) => document.querySelectorAll(where)
      .forEach((one) => names.forEach((name) => one.removeAttribute(name)));
    without("button.upload-container[aria-label]", "aria-label");
    without(".toast-header[role]", "role", "tabindex");
  };
  new MutationObserver(mend).observe(document.body, {childList: true, subtree: true});
  mend();
  return [];
}"""
"""Ctrl or ⌘ with Enter draws; what begins anew closes the messages about what was before; Back and
Forward move between drawings; the upload button is called by the words on it, as whoever speaks to the
page does; a message is no button around its own button."""


def theme() -> Any:
    """Gradio's default, with contrast of at least 4.5 : 1 for text and the reader's own fonts."""
    return gr.themes.Default(
        primary_hue="blue",
        secondary_hue="blue",
        font=FONTS,
        font_mono=("ui-monospace", "monospace"),
    ).set(
        button_primary_background_fill="#0b5394",
        button_primary_background_fill_hover="#083d6e",
        button_primary_background_fill_dark="#0b5394",
        button_primary_background_fill_hover_dark="#1566ad",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_info_text_color="#52525b",
        block_info_text_color_dark="#d4d4d8",
        block_label_text_color="#3f3f46",
        block_label_text_color_dark="#e4e4e7",
        block_title_text_color="#3f3f46",
        block_title_text_color_dark="#e4e4e7",
        body_text_color_subdued="#52525b",
        body_text_color_subdued_dark="#d4d4d8",
        input_placeholder_color="#5f6168",
        input_placeholder_color_dark="#b4b4bb",
        link_text_color="#0b5394",
        link_text_color_dark="#8cc4ff",
        link_text_color_visited="#0b5394",
        link_text_color_visited_dark="#8cc4ff",
        link_text_color_hover="#083d6e",
        link_text_color_hover_dark="#b5d9ff",
        link_text_color_active="#083d6e",
        link_text_color_active_dark="#b5d9ff",
    )
