"""Results of `lungsynth evaluate` in a dataset: which are taken, and their sections of the card."""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.downstream.report import arm_title
from lungsynth.images import slug
from lungsynth.report.files import read_result, small
from lungsynth.report.masks import ordered_stages, stage_title
from lungsynth.report.sections import KINDS
from lungsynth.report.words import span
from publish.card.markup import markdown_text, table

SIGNS = {"downstream": "arms", "masks": "stages", "fidelity": "groups", "obedience": "tasks"}
"""Evaluation -> the key that only its JSON has; the evaluations a card can hold."""


def kind_of_report(report: Mapping[str, Any]) -> str | None:
    """Which evaluation a result is of; None for one that no card holds."""
    return next((k for k, sign in SIGNS.items() if report.get(sign)), None)


def taken(place: Path, report: Mapping[str, Any], model_hash: str) -> tuple[str, dict[str, Any]]:
    """A result as it goes into a dataset: its name there, and its JSON without names of films.

    Raises:
        ConfigError: it is no such result, of another version, or of another checkpoint.
    """
    kind = kind_of_report(report)
    if kind is None:
        raise ConfigError(
            f"{place}: no `{'`, `'.join(SIGNS.values())}` in it; expected what `lungsynth evaluate` "
            f"{', '.join(SIGNS)} writes."
        )
    try:
        read_result(place, kind, kind)
    except DataError as error:
        raise ConfigError(str(error)) from error
    if kind == "masks" and report.get("model_hash") != model_hash:
        raise ConfigError(
            f"{place}: measured on the weights {report.get('model_hash')!r}, not on this dataset's "
            f"{model_hash!r}. Measure this checkpoint."
        )
    kept = small(dict(report))
    if kind == "masks":
        kept["source"] = Path(str(report["source"])).name
        return f"masks-{slug(kept['source'])}-{slug(str(report['split']))}", kept
    if kind == "downstream":
        return f"downstream-{slug('-'.join(t['name'] for t in report['tests']))}", kept
    if report.get("verifier"):
        return f"{kind}-redrawn", kept
    return kind, kept


def free_name(name: str, held: Container[str]) -> str:
    """A file name that is not held yet: "masks.json", then "masks-2.json", and so on."""
    stem, dot, suffix = name.rpartition(".")
    numbered = (f"{stem}-{n}{dot}{suffix}" for n in count(2))
    return next(one for one in chain([name], numbered) if one not in held)


def masks_lines(name: str, report: Mapping[str, Any]) -> list[str]:
    """Mask accuracy on one set of real films."""
    rows = []
    for stage in ordered_stages(report):
        e = report["stages"][stage]["regions"]["all"]
        title = markdown_text(stage_title(stage, report).strip("*"))
        interval = f"{e['iou']['low']:.3f} – {e['iou']['high']:.3f}"
        rows.append((title, f"{e['iou']['value']:.3f}", interval, f"{e['dice']['value']:.3f}"))
    return [
        "",
        f"The same checkpoint, tokens and refinement on **real X-rays** with expert masks: "
        f"{markdown_text(str(report['source']))}, split {markdown_text(str(report['split']))}, "
        f"n = {int(report['n'])} (`{name}`, by `python -m lungsynth evaluate masks`).",
        "",
        *table(("stage", "IoU", "95 % interval", "Dice"), rows),
        f"\nLeft and right swapped: {int(report['swapped'])} of {int(report['n'])}.",
    ]


def further_sections(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Segmentation models trained on the set, fidelity and obedience; "" where none was measured."""
    lines: list[str] = []
    told = {name: (kind_of_report(report), report) for name, report in reports.items()}
    for name, (kind, report) in told.items():
        if kind == "downstream":
            lines += [] if lines else ["## Trained on this set, tested on real films"]
            lines += _downstream_lines(name, report)
    for wanted, title in (("fidelity", "Fidelity"), ("obedience", "Obedience")):
        heading = [f"## {title}", ""]
        for name, (kind, report) in told.items():
            if kind == wanted:
                rows = [
                    (markdown_text(t.figure), markdown_text(t.here))
                    for t in KINDS[wanted].targets(report)
                ]
                lines += [
                    *heading,
                    f"`{name}`, by `python -m lungsynth evaluate {wanted}`; 95 % intervals."
                    f"{_choice(wanted, report)}",
                    "",
                    *table(("figure", "value"), rows),
                    "",
                ]
                heading = []
    return "\n".join(lines) + "\n" if lines else ""


def _choice(kind: str, report: Mapping[str, Any]) -> str:
    """Whether obedience was measured before or after a verifier chose."""
    if kind != "obedience":
        return ""
    chosen = report.get("verifier")
    if chosen:
        return f" **After** reject and redraw by the verifier `{markdown_text(str(chosen))}`."
    return " **Before** any choice: every first drawing counts."


def _downstream_lines(name: str, report: Mapping[str, Any]) -> list[str]:
    preset, several = report["preset"], len(report["synthetic"]) > 1
    sets = ", ".join(f"{s['name']} ({s['n']:,})" for s in report["synthetic"])
    conventions = " and ".join(c or "unknown" for c in report["conventions"])
    lines = [
        "",
        f"Segmentation models trained on synthetic pictures ({markdown_text(sets)}), on "
        f"{report['real']['n']:,} real films, and on both, and tested on **real films** neither had seen. "
        f"Every arm: {preset['steps']:,} steps of {preset['batch']} films of {preset['pixels']} px; "
        f"{report['seeds']} seed(s); masks by the convention {markdown_text(conventions)}; 95 % intervals "
        f"over films and seeds (`{name}`, by `python -m lungsynth evaluate downstream`).",
        "",
    ]
    rows = []
    for a in report["arms"]:
        words = (f"{a['test']} (n = {a['n_films']})", a["model"], arm_title(a, several=several))
        figures = (str(a["n_real"]), span(a["dice"]), span(a["iou"]))
        rows.append((*map(markdown_text, words), *figures))
    lines += table(("tested on", "model", "trained on", "real films", "Dice", "IoU"), rows)
    rows = []
    for c in report["comparisons"]:
        if c["with"]["arm"] != "real":
            continue
        ratio = c["kind"] == "ratio"
        told = (
            c["test"],
            c["of"]["model"],
            f"{arm_title(c['of'], several=several)}, n = {c['of']['n_real']}",
            f"{'divided by' if ratio else 'minus'} real, n = {c['with']['n_real']}",
        )
        rows.append((*map(markdown_text, told), span(c["dice"], sign=not ratio)))
    if rows:
        lines += ["", "Against real films alone, film by film (Dice):", ""]
        lines += table(("tested on", "model", "trained on", "against", "value"), rows)
    notes = [markdown_text(str(note)) for note in report["notes"]]
    return [*lines, *(f"\n{note}" for note in notes), ""]
