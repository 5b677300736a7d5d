"""How the page looks: theme and CSS. Nothing is fetched; fonts are the reader's own."""

from __future__ import annotations

from typing import Any

import gradio as gr

CSS = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important;
  overflow: clip !important; }
#ls-banner { position: sticky; top: 0; z-index: 50; background: #fff4d6; color: #3d2c00;
  border: 1px solid #b07900; border-radius: 6px; padding: .45rem .8rem; }
#ls-banner * { color: #3d2c00; }
#ls-banner a { text-decoration: underline; }
.ls-chips { list-style: none !important; display: flex; flex-wrap: wrap; gap: .3rem;
  margin: .2rem 0 .5rem !important; padding: 0 !important; }
.ls-chips li { border-radius: 4px; padding: 0 .45rem; margin: 0; border: 1px solid; }
.ls-known { border-color: #007a5a !important; }
.ls-unknown { border-color: #b34700 !important; border-style: dashed !important; font-weight: 600; }
.ls-problem { border-left: 4px solid #b34700; padding-left: .6rem; overflow-wrap: anywhere; }
.ls-progress { display: flex; gap: .8rem; align-items: center; min-height: 1.6rem; flex-wrap: wrap; }
.ls-progress progress { flex: 1; min-width: 120px; height: .7rem; accent-color: #0072b2; }
.ls-scroll { overflow-x: auto; contain: inline-size; }
.ls-table { width: 100%; border-collapse: collapse; border: 0 !important; }
.ls-table tr { border: 0 !important; }
.ls-table th, .ls-table td { text-align: right !important; padding: .25rem .4rem !important;
  border: 0 !important; border-bottom: 1px solid var(--border-color-primary) !important; }
.ls-table th:first-child { text-align: left !important; white-space: nowrap; }
.ls-picture img { width: 100% !important; height: 100% !important; object-fit: contain; }
.ls-dice { align-self: end; }
.ls-strip { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: .5rem;
  margin: 0 !important; }
.ls-strip figure, .ls-film figure { margin: 0 !important; }
.ls-strip img, .ls-film img { width: 100%; height: auto; display: block; border-radius: 4px;
  margin: 0 !important; }
.ls-strip figcaption { font-size: .85rem; padding-top: .15rem; }
.ls-film img { max-height: 640px; object-fit: contain; background: #000; }
.ls-case { border-top: 1px solid var(--border-color-primary); padding: .6rem 0; }
.ls-legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 0; }
.ls-swatch { display: inline-block; width: .9rem; height: .9rem; margin-right: .45rem;
  border: 1px solid #444; vertical-align: -.1rem; }
.ls-links a, .ls-case a, .ls-film a { text-decoration: underline; color: var(--link-text-color); }
.token { color: inherit !important; }
.tab-wrapper { contain: inline-size; overflow-x: clip; }
@media (max-width: 640px) {
  .ls-strip { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #ls-banner { font-size: .85rem; line-height: 1.25; padding: .3rem .5rem; }
  .ls-table th, .ls-table td { font-size: .8rem !important; padding: .2rem !important; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important;
  scroll-behavior: auto !important; } }
"""

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")

WRITE_LINK = """(link) => {
  try {
    const asked = new URL(link), here = new URL(window.location.href);
    for (const key of [...here.searchParams.keys()])
      if (!key.startsWith("__")) here.searchParams.delete(key);
    for (const [key, value] of asked.searchParams) here.searchParams.set(key, value);
    window.history.replaceState(null, "", here);
  } catch (error) { /* no link yet */ }
  return [];
}"""
"""Puts the link of the picture into the address bar, beside what Gradio's own keys say."""

SAY_LABEL = """() => {
  const mend = () => document.querySelectorAll("#ls-film button.upload-container[aria-label]")
    .forEach((one) => one.removeAttribute("aria-label"));
  mend(); setTimeout(mend, 300); setTimeout(mend, 1500);
  return [];
}"""
"""Lets the upload button be called by the words on it, as whoever speaks to the page does."""

NAME_EMPTY = """() => {
  const mend = () => document.querySelectorAll("div.empty[aria-label]:not([role])")
    .forEach((one) => one.setAttribute("role", "img"));
  mend(); for (const after of [300, 1500, 4000]) setTimeout(mend, after);
  return [];
}"""
"""Gives what stands for a picture not yet drawn a role, without which it may not have a name."""


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
