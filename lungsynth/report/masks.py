"""Text of mask accuracy on real films: one set as a table of figures, several sets side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungsynth.evaluation.tables import markdown
from lungsynth.report.words import Kind, Report, Target, bars, span

DISTANCES = {"hd95_percent": 1, "mean_distance_percent": 2}  # figure -> digits


def set_title(r: Report) -> str:
    """`shenzhen, NLM, n = 103`."""
    names = [c.partition(":")[0].upper() for c in r["convention"] if c]
    if r.get("refine", {}).get("student_weight") == 0:
        names.append("tokens alone")
    return f"{', '.join([Path(r['source']).stem, *names])}, n = {r['n']}"


def ordered_stages(*reports: Report) -> list[str]:
    """Stages of all reports: coarse masks, refinements (the first one first), then rivals."""
    found: dict[str, tuple[bool, int, str]] = {}
    for r in reports:
        for name, about in r["stages"].items():
            rank = 0 if name.startswith("raw") else 1 if name == "student alone" else 3
            rank = 2 if name == r.get("first_refinement") else rank
            found.setdefault(name, (bool(about["rival"]), rank, name))
    return sorted(found, key=found.__getitem__)


def stage_title(name: str, *reports: Report) -> str:
    """A stage's name; rivals are called so, the mask that is shipped is bold."""
    about = [r["stages"][name] for r in reports if name in r["stages"]]
    if any(a["rival"] for a in about):
        return f"rival: {name}"
    if name.startswith("raw: "):
        return "tokens alone: " + name.removeprefix("raw: ")
    return f"**{name}**" if any(name == r.get("main") for r in reports) else name


def masks_text(r: Report) -> str:
    """Every stage of one set: IoU, Dice, distances, and the paired difference from the first
    refinement."""
    first, rows = r.get("first_refinement"), []
    for stage in ordered_stages(r):
        e = r["stages"][stage]["regions"]["all"]
        gap = e.get(f"iou minus {first}")
        rows.append(
            [
                stage_title(stage, r),
                span(e["iou"]),
                span(e["dice"]),
                *(span(e[m], digits=d) for m, d in DISTANCES.items()),
                *([span(gap, sign=True) if gap else ""] if first else []),
            ]
        )
    head = ["mask", "IoU", "Dice", "HD95 % of side", "surface %"]
    told = markdown([*head, *([f"IoU minus {first}"] if first else [])], rows)
    sides = f"Left and right on swapped sides: {r['swapped']} of {r['n']} films."
    return f"{told}\n\n{sides}{_trust_words(r)}"


def _trust(r: Report) -> Mapping[str, Any]:
    told = r.get("trust", {}).get(r.get("main"), {})
    return told if isinstance(told, dict) and "best_minus_all" in told else {}


def _trust_words(r: Report) -> str:
    told = _trust(r)
    if not told:
        return ""
    rank = f"Spearman with IoU {span(told['spearman'], digits=2)}; " if "spearman" in told else ""
    return (
        f" Trust: {rank}IoU of the best {100 * told['best_share']:.0f} % minus all "
        f"{span(told['best_minus_all'], sign=True)}."
    )


def masks_together(reports: Mapping[str, Report]) -> str:
    """Several sets side by side: IoU of every stage, and its paired difference from the first
    refinement; more about the mask that is shipped."""
    told = list(reports.values())
    rows: list[list[str]] = []
    for stage in ordered_stages(*told):
        cells = [_cell(r, stage) for r in told]
        rows.append([stage_title(stage, *told), *cells])
    if any("raw" in r.get("auroc", {}) for r in told):
        areas = [r.get("auroc", {}).get("raw") for r in told]
        rows.append(["area under ROC of the tokens' map", *(span(a) if a else "" for a in areas)])
    rows.append(["left and right swapped", *(f"{r['swapped']} of {r['n']}" for r in told)])
    if any(_trust(r) for r in told):
        rows.append(
            [
                "trust: Spearman with IoU",
                *(
                    span(_trust(r)["spearman"], digits=2) if "spearman" in _trust(r) else ""
                    for r in told
                ),
            ]
        )
        share = next(100 * _trust(r)["best_share"] for r in told if _trust(r))
        rows.append(
            [
                f"trust: IoU of the best {share:.0f} % minus all",
                *(span(_trust(r)["best_minus_all"], sign=True) if _trust(r) else "" for r in told),
            ]
        )
    firsts = {str(r["first_refinement"]) for r in told if r.get("first_refinement")}
    head = f"IoU; minus that of {' or '.join(sorted(firsts))}" if firsts else "IoU"
    return markdown([head, *map(set_title, told)], rows)


def _cell(r: Report, stage: str) -> str:
    if stage not in r["stages"]:
        return ""
    e, main = r["stages"][stage]["regions"]["all"], stage == r.get("main")
    if main:
        return (
            f"**{span(e['iou'])}**, Dice {e['dice']['value']:.3f}, "
            f"HD95 {e['hd95_percent']['value']:.1f} %"
        )
    gap = e.get(f"iou minus {r.get('first_refinement')}")
    return span(e["iou"]) + (f"; {span(gap, sign=True)}" if gap else "")


def masks_draw(axes: Any, r: Report) -> None:
    """IoU of every stage."""
    rows = []
    for name in ordered_stages(r):
        told = r["stages"][name]
        iou = told["regions"]["all"]["iou"]
        rows.append((stage_title(name, r).replace("*", ""), iou, not told["rival"]))
    bars(axes, rows, "IoU, 95 % interval over films (grey: rivals)", most=1)


def masks_how(r: Report) -> str:
    """n, seed, what the brackets are."""
    weights = f"; weights `{r['model_hash']}`" if "model_hash" in r else ""
    conventions = ", ".join(c for c in r["convention"] if c) or "no convention"
    return (
        f"n = {r['n']} films of {r['n_patients']} patients, {conventions}; seed {r['seed']}, "
        f"{r.get('n_noise', 1)} noise draw(s) a film; brackets: bootstrap over films, those of a patient "
        f"together{weights}."
    )


def masks_targets(r: Report) -> list[Target]:
    """The mask that is shipped, in one line."""
    if r.get("main") not in r["stages"]:
        return []
    e = r["stages"][r["main"]]["regions"]["all"]
    return [
        Target(
            f"masks on real films, {r['main']}, {set_title(r)}",
            "–",
            f"IoU {span(e['iou'])}, Dice {span(e['dice'])}",
        )
    ]


MASKS = Kind(
    name="masks",
    title=lambda r: f"Masks: {set_title(r)}",
    how=masks_how,
    text=masks_text,
    draw=masks_draw,
    targets=masks_targets,
    together=masks_together,
)
