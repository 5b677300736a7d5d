"""The tables and paragraphs of the card that depend on the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lungsynth.about.figures import Figure
from lungsynth.masks.classes import CONVENTIONS
from publish.card.checkpoint import obeyed
from publish.card.evaluation import masks_lines
from publish.card.markup import markdown_text, table
from publish.data.manifest import Manifest
from publish.data.rows import ASKED, Summary
from publish.data.schema import COLUMNS, column_name


def columns_table(manifest: Manifest) -> str:
    """A line a column."""
    kept = {kind: manifest.config[f"keep_{kind}"] for kind in ("attention", "probability")}
    columns = [one for one in COLUMNS if kept.get(one.name, True)]
    lines = [f"| `{one.name}` | {one.meaning} |" for one in columns if not one.is_per_class]
    for one in columns:
        for name in manifest.named_classes.values() if one.is_per_class else ():
            told = one.meaning.format(markdown_text(name))
            lines.append(f"| `{column_name(one.name, name)}` | {told} |")
    return "\n".join(lines)


def class_table(manifest: Manifest, summary: Summary) -> str:
    """A line a class."""
    return "\n".join(
        f"| {value} | {markdown_text(name)} | {summary.mean_area[name]:.3f} | "
        f"{summary.present[name]:,} |"
        for value, name in manifest.named_classes.items()
    )


def masks_note(manifest: Manifest) -> str:
    """What else is to be known of mask values."""
    names = [name.lower() for name in manifest.classes.values()]
    told = "."
    band = manifest.config["refine"]["ignore_band"]
    if band:
        told = (
            f", 255 is to be ignored: the most probable class has a probability under {0.5 + band:g} "
            "there."
        )
    if any(name.startswith("left ") for name in names):
        told += (
            '\n"Left" and "right" are the patient\'s sides: the right lung is on the left of the '
            "picture.\n`mask` tells them apart already, so there is no second mask of sides."
        )
    convention = str(manifest.config["convention"])
    if convention:
        rule = CONVENTIONS.get(convention)
        told += (
            f"\n\nMasks follow the convention **{markdown_text(convention)}**"
            f"{': ' + rule if rule else ''}. Never train or test across conventions without saying so."
        )
    return told


def asked_table(summary: Summary, figures: Sequence[Figure]) -> str:
    """How often each value was asked for, and how well that is obeyed; "" when no prompt says."""
    rows = []
    for column in ASKED:
        counted = sorted(summary.asked[column].items())
        told = ", ".join(f"{markdown_text(value)} {n:,}" for value, n in counted)
        if told:
            rows.append((f"`{column}`", told, markdown_text(obeyed(column, figures))))
    if not rows:
        return ""
    head = ("asked for", "rows", "how well that is obeyed")
    return "\n".join(["", *table(head, rows), ""])


def _own_areas(limits: Mapping[str, Any]) -> str:
    told = [f"{name} {low:g} to {high:g}" for name, (low, high) in sorted(limits["areas"].items())]
    return f" ({', '.join(told)})" if told else ""


def filter_section(manifest: Manifest, summary: Summary) -> str:
    """What was kept out."""
    limits = manifest.config["filter"]
    told = (
        f"a class's area {limits['min_area']:g} to {limits['max_area']:g} of the picture"
        f"{_own_areas(limits)}, trust (predicted IoU) at least {limits['min_trust']:g}, stability at "
        f"least {limits['min_stability']:g}, plausibility of the shape at least "
        f"{limits['min_plausibility']:g}, grey levels with a standard deviation of at least "
        f"{limits['min_contrast']:g}, as many parts as a class may have"
        f"{', sides not swapped' if limits['sides'] else ''}, left and right at most "
        f"{limits['max_ratio']:g} times as large as each other"
    )
    drawn = max(1, manifest.n_drawn)
    if limits["apply"]:
        missed, reasons = summary.n_rejected, summary.reasons
        where = "are listed in `rejected.jsonl`"
    else:
        missed, reasons = summary.n_flagged, summary.flags
        where = "are published all the same: nothing was filtered out, see `qc_flags`"
    lines = [
        f"Of {manifest.n_drawn:,} rows drawn, {missed:,} ({100 * missed / drawn:.1f} %) missed the "
        f"limits ({told}) and {where}."
    ]
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join([*lines, *_reasons("rows", "those drawn", counted, drawn)])


def _reasons(what: str, of: str, counted: Iterable[tuple[str, int]], n: int) -> list[str]:
    """A line a reason, with its share of `n`; none without reasons."""
    rows = [(markdown_text(why), f"{k:,}", f"{100 * k / n:.1f} %") for why, k in counted]
    return ["", *table(("reason", what, f"share of {of}"), rows)] if rows else []


def redraw_section(manifest: Manifest) -> str:
    """What a verifier rejected and how often; "" where nobody rejects."""
    told = manifest.redrawn
    if not told:
        return ""
    who, n = manifest.config["verifier"], max(1, int(told["drawings"]))
    kept = "kept out" if manifest.config["filter"]["apply"] else "published, see `qc_flags`"
    lines = [
        "",
        "",
        "**Rejected and drawn again.** A network judged each picture against its prompt and by its "
        f"distance to real films (verifier `{who['verifier']}`, trained with seed {who['seed']} on one "
        f"half of the patients, {markdown_text(str(who['patients']))}). What it rejected was drawn again "
        f"with another seed, at most {who['redraws']} times. Of {told['drawings']:,} drawings "
        f"{told['rejected']:,} ({100 * told['rejected'] / n:.1f} %) were rejected; of {told['rows']:,} "
        f"rows {told['first_rejected']:,} needed more than one drawing and {told['unmet']:,} were rejected "
        f"every time and {kept}. Each rejection is a line of `redrawn.jsonl`. The verifier chooses and "
        "does not measure: obedience is measured by another network, and stated apart for pictures "
        "before and after this choice.",
    ]
    counted = told["by_reason"].items()
    return "\n".join([*lines, *_reasons("drawings", "all drawings", counted, n)])


def evaluation_section(reports: Mapping[str, dict[str, Any]]) -> str:
    """Mask accuracy on real films, from the results in the folder."""
    lines = []
    for name, report in reports.items():
        if "stages" in report:
            lines += masks_lines(name, report)
    if not lines:
        lines = [
            "",
            "Not measured anew for this release; what is known of the checkpoint is below.",
        ]
    return "\n".join(lines) + "\n"


def memorisation_section(reports: Mapping[str, dict[str, Any]]) -> str:
    """How near the pictures are to training films, from the result in the folder."""
    report = reports.get("evaluation/memorisation.json")
    if report is None:
        return "**Not measured for this release**: a picture may repeat a training film."
    n = report["n"]
    lines = gate_lines(report) if "copies" in report else []
    lines += [
        f"Distance of {n['synthetic']:,} pictures to the nearest of {n['train']:,} training films, "
        f"beside that of {n['test']:,} real films the model never saw (`python -m lungsynth evaluate "
        f"{'memorisation' if 'copies' in report else 'neighbours'}`). A model that does not copy has "
        "about 0.1 % of its pictures below the 0.1 % quantile of real films.",
        "",
    ]
    rows = []
    for measure, told in report["measures"].items():
        medians = [f"{told[which]['median']:.4g}" for which in ("synthetic", "real_test")]
        share = told["below_percentile_of_test"]["0.1"]["share"]["value"]
        rows.append((markdown_text(measure), *medians, f"{100 * share:.2f} %"))
    lines += table(("measure", "median", "of real films", "nearer than 99.9 % of real films"), rows)
    n_listed = len(report["closer_than_test_0.1"])
    lines.append(f"\n{n_listed} picture(s) nearer than that by any measure.")
    return "\n".join(lines)


def gate_lines(report: Mapping[str, Any]) -> list[str]:
    """What the test for copies found, and how surely it would have found one."""
    caught, alarms, copies = report["caught"], report["false_alarms"], len(report["copies"])
    return [
        f"**Copies of training films: {copies} of {report['n']['synthetic']:,}** pictures at or above the "
        f"likeness {report['threshold']:.3f}. At that threshold the test caught {caught['count']} of "
        f"{caught['n']} copies planted on purpose ({100 * caught['value']:.1f} %: flipped, turned, "
        f"cropped, noised, re-exposed, blurred, compressed) and raised {alarms['count']} false alarms on "
        f"{alarms['n']} real films the model never saw. Pairs alike within the set: "
        f"{len(report['duplicates'])}.",
        "",
    ]


def withdrawn_section(manifest: Manifest) -> str:
    """Rows taken out; "" without any."""
    if not manifest.withdrawn:
        return ""
    rows = [(markdown_text(row), markdown_text(why)) for row, why in manifest.withdrawn.items()]
    return "\n".join(["## Withdrawn rows", "", *table(("row", "why"), rows), "", ""])
