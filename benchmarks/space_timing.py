"""`python -m benchmarks.space_timing`: the page's times as a visitor in a browser has them.

Chromium (Debian's), driven by Playwright, against a page of its own with the shipped checkpoint.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.space_client import served

PROMPTS = (
    "Frontal AP chest X-ray of a young child with bacterial pneumonia",
    "Frontal PA chest X-ray of a 60-year-old man, no finding",
    "PA view, 45-year-old woman, tuberculosis",
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SLIDERS = {
    "crf": ("CRF grey width θβ", 4, 40),
    "affinity": ("β of the walk", 2, 24),
    "sequential": ("β of the walk", 2, 24),
    "cross": ("CRF grey width θβ", 4, 40),
    "cross-product": ("CRF grey width θβ", 4, 40),
    "cross-mutual": ("CRF grey width θβ", 4, 40),
    "none": ("Ignore band", 0.05, 0.4),
}
"""Method -> the slider that its mask depends on, and between which values it is moved."""
TARGETS = {
    "page: a picture is there": 1.0,
    "page: Draw can be clicked": 2.0,
    "click: first picture": 0.5,
    "click: final mask": 2.5,
    "slider": 0.5,
}
"""p50 in seconds."""
MASK = """(() => { const one = document.querySelector("#ls-viewer button[data-group=Mask] canvas");
    return one ? one.toDataURL() : null; })()"""
"""The mask as the browser shows it, small; null while there is none."""
FORMING = """() => document.querySelector("#ls-viewer canvas").getAttribute("aria-label")
    .includes("as it forms")"""
FIRST = "#ls-first img, #ls-viewer canvas"


def seconds(begin: Callable[[], Any], *ends: Callable[[], Any]) -> list[float]:
    """Seconds from the moment before `begin` until each of `ends`, waited for in turn."""
    begun, found = time.perf_counter(), []
    begin()
    for end in ends:
        end()
        found.append(time.perf_counter() - begun)
    return found


def load_times(browser: Any, address: str, n: int) -> dict[str, list[float]]:
    """Opening the page with an empty cache, `n` times: until Draw can be clicked; until it answers."""
    times: dict[str, list[float]] = {
        "page: a picture is there": [],
        "page: Draw can be clicked": [],
        "page: words marked": [],
    }
    for _ in range(n):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.set_default_timeout(120_000)
        found = seconds(
            lambda page=page: page.goto(address, wait_until="commit"),
            lambda page=page: page.locator(FIRST).first.wait_for(),
            lambda page=page: page.locator("#ls-draw").click(trial=True),
            lambda page=page: page.get_by_text("Words the model knows:").wait_for(),
        )
        for name, value in zip(times, found, strict=True):
            times[name].append(value)
        context.close()
    return times


def draw_times(page: Any, n: int, steps: int) -> dict[str, list[float]]:
    """From the click on Draw to the first picture that can be seen, and to the final mask."""
    times: dict[str, list[float]] = {"click: first picture": [], "click: final mask": []}
    page.get_by_role("button", name="Advanced").click()
    _set_number(page, "number input for Steps", steps)
    for k in range(n + 1):
        page.get_by_label("Describe the X-ray").fill(PROMPTS[k % len(PROMPTS)])
        _set_number(page, "Seed", k)
        page.wait_for_timeout(1500)  # the words are marked
        before = page.evaluate(MASK)
        found = seconds(
            lambda: page.locator("#ls-draw").click(),
            lambda: page.wait_for_function(FORMING),
            lambda before=before: page.wait_for_function(
                f"b => ![b, null].includes({MASK})", arg=before
            ),
        )
        page.get_by_text(re.compile(rf"Done: seed {k}\b")).wait_for()
        page.wait_for_function(f"location.search.includes('seed={k}')")
        page.wait_for_timeout(1500)  # what follows a drawing
        if k:  # the first one warms caches up
            for name, value in zip(times, found, strict=True):
                times[name].append(value)
    return times


def slider_times(page: Any, n: int) -> dict[str, list[float]]:
    """From moving a slider to the new mask, for each method the checkpoint can do."""
    times = {}
    field = page.get_by_label("Method of the mask", exact=True).first
    field.click()
    methods = [one.inner_text().strip("✓ \n") for one in page.get_by_role("option").all()]
    field.press("Tab")
    for method in methods:
        name, low, high = SLIDERS[method]
        if field.input_value() != method:
            before = page.evaluate(MASK)
            field.click()
            # Gradio listens for the press; a click waits for the list to stand still, and it is gone then
            page.get_by_role("option", name=method, exact=True).dispatch_event("mousedown")
            page.wait_for_function(f"b => ![b, null].includes({MASK})", arg=before)
        times[f"slider: {method}"] = found = []
        for value in np.linspace(low, high, n + 1).round(2):
            page.wait_for_timeout(1500)  # the ZIP follows
            before = page.evaluate(MASK)
            control = page.get_by_label(f"number input for {name}", exact=True).first
            control.fill(f"{value:g}")
            found += seconds(
                lambda control=control: control.press("Tab"),
                lambda before=before: page.wait_for_function(
                    f"b => ![b, null].includes({MASK})", arg=before
                ),
            )
        del found[0]
    return times


def tabs_drawn(browser: Any, address: str, n: int, steps: int) -> tuple[int, float]:
    """How many of `n` tabs of one browser, opened at once, show the picture of their own seed; seconds.

    A browser has six connections a server over HTTP/1.1.
    """
    context, begun = browser.new_context(), time.perf_counter()
    tabs = [context.new_page() for _ in range(n)]
    for seed, tab in enumerate(tabs):
        tab.set_default_timeout(600_000)
        tab.goto(f"{address}?prompt=chest&seed={seed}&steps={steps}", wait_until="commit")
    good = 0
    for seed, tab in enumerate(tabs):
        tab.get_by_text(f"Done: seed {seed}.").wait_for()
        tab.wait_for_function(f"location.search.includes('seed={seed}&')")
        said = tab.locator("#ls-viewer canvas").first.get_attribute("aria-label")
        good += f"seed {seed}." in said
    return good, time.perf_counter() - begun


def _set_number(page: Any, label: str, value: float) -> None:
    field = page.get_by_label(label, exact=True).first
    field.fill(f"{value:g}")
    field.press("Tab")


def summary(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, greatest, number."""
    return {
        "p50": float(np.quantile(values, 0.5)),
        "p95": float(np.quantile(values, 0.95)),
        "max": max(values),
        "n": len(values),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--n", default=20, show_default=True, help="Drawings; sliders and openings are 10 each."
)
@click.option("--steps", default=20, show_default=True)
@click.option("--checkpoint", default="mini", show_default=True, help="Shipped name or folder.")
@click.option("--sliders/--no-sliders", default=True, show_default=True, help="Masks made anew.")
@click.option("--tabs", default=0, help="Instead: so many tabs of one browser, each a drawing.")
def main(n: int, steps: int, checkpoint: str, sliders: bool, tabs: int) -> None:
    """Measure the page in a browser. Exit code 1 where a target is missed."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise click.ClickException("no chromium: apt-get install chromium")
    few = min(10, n)
    with (
        tempfile.TemporaryDirectory(prefix="space-timing-") as folder,
        served(Path(folder), checkpoint) as (_, address),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        if tabs:
            good, taken = tabs_drawn(browser, address, tabs, steps)
            browser.close()
            print(
                f"{good} of {tabs} tabs drew their own picture, {steps} steps each, in {taken:.0f} s"
            )
            sys.exit(good != tabs)
        times = load_times(browser, address, few)
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(300_000)
        page.goto(address)
        page.get_by_text("Words the model knows:").wait_for()
        times |= draw_times(page, n, steps)
        if sliders:
            times |= slider_times(page, few)
        browser.close()
    figures, good = {name: summary(values) for name, values in times.items()}, True
    print(f"{'':28} {'p50 s':>7} {'p95 s':>7} {'max s':>7} {'n':>4} {'target p50':>11}")
    for name, row in figures.items():
        target = TARGETS.get(name, TARGETS["slider"] if name.startswith("slider") else None)
        good &= target is None or row["p50"] <= target
        print(
            f"{name:28} {row['p50']:7.2f} {row['p95']:7.2f} {row['max']:7.2f} {row['n']:4.0f} "
            f"{'' if target is None else format(target, '.1f'):>11}"
        )
    print(f"{checkpoint}, {steps} steps, {os.cpu_count()} cores")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
