"""What a card tells of the checkpoint behind it: how good it is, what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from lungsynth.about.figures import KINDS as FIGURE_KINDS
from lungsynth.about.figures import TITLES, Figure
from lungsynth.about.sources import Source
from lungsynth.report.files import Result
from lungsynth.report.kept import figures_of_results
from lungsynth.report.sections import KINDS
from publish.card.evaluation import kind_of_report
from publish.card.markup import contact_link, markdown_text, table
from publish.data.manifest import PROCESSOR, Manifest
from publish.data.settings import CardSettings, LookSettings

NOT_MEASURED = {
    "memorisation": "whether its pictures repeat training films",
    "obedience": "how well prompts are obeyed",
    "masks": "how good masks are on real films",
}
"""Of `publish.data.settings.MEASURED`, in words."""


def figures_for(manifest: Manifest, reports: Mapping[str, dict[str, Any]]) -> list[Figure]:
    """What was measured of the checkpoint; results given to this release win over those kept with it."""
    results = []
    for name, report in reports.items():
        kind = kind_of_report(report)
        if kind in ("obedience", "masks"):
            results.append(Result(name, Path(name), KINDS[kind], report))
    own = figures_of_results(results)
    told = {one.kind for one in own}
    return [*own, *(one for one in manifest.measured if one.kind not in told)]


def measured_section(figures: Sequence[Figure], model_hash: str) -> str:
    """Tables of obedience, masks and copies with the commands that measured them; `model_hash` is
    of the weights that the card is about.
    """
    lines: list[str] = []
    others = dict.fromkeys(one.kind for one in figures if one.kind not in FIGURE_KINDS)
    for kind in (*FIGURE_KINDS, *others):
        held = [one for one in figures if one.kind == kind]
        title = TITLES.get(kind, kind.capitalize())
        if not held:
            lines += [f"**{title}**: not measured.", ""]
            continue
        rows = [(markdown_text(one.name), _told(one, model_hash)) for one in held]
        lines += table((title.lower(), "value"), rows)
        by = "; ".join(dict.fromkeys(f"`{one.command.replace('`', '')}`" for one in held))
        lines += ["", f"By {by}.", ""]
    lines += [
        "In brackets 95 % intervals; obedience is the balanced accuracy of a judge trained on",
        "real films, who is asked what the prompt asked for.",
    ]
    return "\n".join(lines)


def _told(one: Figure, model_hash: str) -> str:
    other = f" (on the weights {one.weights})" if one.weights not in ("", model_hash) else ""
    return markdown_text(one.text() + other)


def obeyed(column: str, figures: Iterable[Figure]) -> str:
    """How well a prompt's entries of a column (view, age_group, sex or finding) are obeyed, for a
    cell of a table.
    """
    held = [one for one in figures if one.kind == "obedience" and one.about == column]
    return "; ".join(f"{one.name}: {one.text()}" for one in held) or "not measured"


def unmeasured_note(card: CardSettings) -> str:
    """That something was released without having been measured; "" when nothing was."""
    if not card.unmeasured:
        return ""
    told = "; ".join(NOT_MEASURED[name] for name in card.unmeasured)
    return f"> **Released without having been measured, by the maintainer's decision: {told}.**\n"


def by_eye(look: LookSettings | None) -> str:
    """What people saw who looked at published pairs."""
    if look is None:
        return "Nobody has looked at a sample of the published pairs and counted bad ones."
    ends = binomtest(look.bad, look.n).proportion_ci(0.95, method="exact")
    by = f" ({markdown_text(look.by)})" if look.by else ""
    return (
        f"By eye{by}: {look.bad:,} of {look.n:,} published pairs were bad "
        f"({100 * look.bad / look.n:.1f} %, 95 % interval {100 * ends.low:.1f} – {100 * ends.high:.1f} %)."
    )


def sources_table(sources: Sequence[Source]) -> str:
    """Everything the checkpoint and the release were made from, with whose terms hold."""
    if not sources:
        return "What the model was trained on is not stated; its owners' terms apply.\n"
    rows = []
    for one in sources:
        link = f" ({contact_link(one.url)})" if one.url else ""
        title = markdown_text(f"{one.name}: {one.title}" if one.title else one.name)
        used_for, licence, terms = map(markdown_text, (one.used_for, one.licence, one.terms))
        rows.append((title + link, used_for, f"{one.n:,}" if one.n else "", licence, terms))
    head = ("source", "used for", "films", "licence", "terms, and whom to name")
    return "\n".join(["", *table(head, rows), ""])


def replay_section(manifest: Manifest) -> str:
    """What drawing a row again gives, and where."""
    kind = manifest.environment.get(PROCESSOR, "")
    where = f" (here {markdown_text(kind)})" if kind else ""
    return (
        "`python -m publish replay DIR --row ID` draws a row again and compares its pixels. Promised are "
        "equal\npixels with the same weights, library versions and batch on the same kind of processor"
        f"{where}, all\nnamed in `manifest.json`. On another kind sums are rounded otherwise, so that "
        "grey levels and single\npixels of a mask may differ: there give `--tolerance`."
    )
