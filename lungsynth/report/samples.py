"""Text of fidelity, obedience and sides."""

from __future__ import annotations

from typing import Any

from lungsynth.evaluation.tables import markdown
from lungsynth.report.words import Kind, Report, Target, bars, span, verdict

MEASURES = {
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "ms_ssim": "MS-SSIM of pairs",
}
MOST_OF_FLOOR = 3.0
"""Fréchet distance of synthetic pictures ÷ the floor."""

LEAST_POINTS = -10.0
"""Balanced accuracy on samples minus that on real films."""

DIGITS = {"frechet": 2}  # of a headline figure; 3 of the others


def _floor(told: Report) -> Report:
    """The same measure of real films against real films."""
    return told["floor"] if "floor" in told else told["real"]


def _features(r: Report) -> str:
    about = r.get("extractor")
    if about is None:
        return f"features of the encoder `{r.get('encoder', '?')}`"
    return f"{about['features']} features of {about['name']} `{about['checksum']}`"


def fidelity_text(r: Report) -> str:
    """Every measure beside its floor."""
    rows = [
        [name, g["n"], title, span(g[measure]["synthetic"]), span(_floor(g[measure]))]
        for name, g in r["groups"].items()
        for measure, title in MEASURES.items()
        if measure in g
    ]
    return (
        "Lower distances are nearer to real films; a lower MS-SSIM is more varied.\n\n"
        + markdown(["films", "n", "measure", "synthetic", "real against real"], rows)
    )


def fidelity_how(r: Report) -> str:
    """n, seed, what the brackets are."""
    halves = f"{r['n_subsamples']} random halves" if "n_subsamples" in r else "random halves"
    balance = "balanced where ages are known" if r.get("match", True) else "as they come"
    return (
        f"n synthetic pictures, n real training and n real test films, adults and children {balance}; "
        f"seed {r.get('seed', 0)}; brackets: {halves} of both sets, and resampled pairs (MS-SSIM); "
        f"{_features(r)}."
    )


def fidelity_draw(axes: Any, r: Report) -> None:
    """Fréchet distances beside their floors."""
    rows = [
        (f"{name}, {label}", g["frechet"][key], key == "synthetic")
        for name, g in r["groups"].items()
        for label, key in (("synthetic", "synthetic"), ("real against real", "floor"))
    ]
    bars(axes, rows, "Fréchet distance (lower is nearer to real films)")


def fidelity_targets(r: Report) -> list[Target]:
    """Every measure of every group; only the Fréchet distance has a target."""
    by = f" by {r['extractor']['name']}" if "extractor" in r else ""
    out = []
    for name, g in r["groups"].items():
        for measure, title in MEASURES.items():
            if measure not in g:
                continue
            ours, floor = g[measure]["synthetic"], _floor(g[measure])
            digits, target, met = DIGITS.get(measure, 3), "–", ""
            here = f"{span(ours, digits=digits)}; real {span(floor, digits=digits)}"
            if measure == "frechet" and floor["value"] > 0:
                ratio = ours["value"] / floor["value"]
                target = f"≤ {MOST_OF_FLOOR:g} × real train to real test"
                here += f": {ratio:.1f} ×"
                met = "reached" if ratio <= MOST_OF_FLOOR else "**missed**"
            whose = "" if measure == "ms_ssim" else by  # which needs no features
            out.append(Target(f"{title}{whose}, {name}, n = {g['n']}", target, here, met))
    return out


def obedience_text(r: Report) -> str:
    """Balanced accuracy of every task, and its confusion matrices."""
    rows, matrices = [], []
    for task, t in r["tasks"].items():
        title = task.replace("_", " ")
        both = [
            span(t[k]["balanced_accuracy"], digits=1, scale=100) if k in t else ""
            for k in ("synthetic", "real")
        ]
        gap = t.get("balanced_accuracy_points")
        rows.append(
            [title, t["synthetic"]["n"], *both, span(gap, digits=1, sign=True) if gap else ""]
        )
        for side, asked in (("synthetic", "asked for"), ("real", "real film is")):
            told = t.get(side, {})
            for name, counts in zip(
                told.get("classes", ()), told.get("confusion", ()), strict=True
            ):
                judged = ", ".join(f"{c} {n}" for c, n in zip(told["classes"], counts, strict=True))
                matrices.append([title, f"{asked} {name}", judged])
    head = ["asked for", "n", "obeyed %", "judge on real films %", "difference, points"]
    text = "Balanced accuracy of a judge trained on real films.\n\n" + markdown(head, rows)
    return text + ("\n\n" + markdown(["task", "films", "judged"], matrices) if matrices else "")


def obedience_how(r: Report) -> str:
    """n, seed, what the brackets are."""
    sets = (
        f"{r['n_synthetic']} samples beside {r['n_real']} real test films; "
        if "n_real" in r
        else ""
    )
    return (
        f"{sets}seed {r['seed']}; brackets: bootstrap over pictures, real films of a patient together; "
        f"judge `{r.get('encoder', '?')}`."
        + (f" **After** reject and redraw by `{r['verifier']}`." if r.get("verifier") else "")
    )


def obedience_draw(axes: Any, r: Report) -> None:
    """Balanced accuracy on samples and on real films."""
    rows = [
        (f"{task.replace('_', ' ')}, {key}", told[key]["balanced_accuracy"], key == "synthetic")
        for task, told in r["tasks"].items()
        for key in ("synthetic", "real")
        if key in told
    ]
    bars(axes, rows, "balanced accuracy (dotted: chance)", most=1, chance=0.5)


def obedience_targets(r: Report) -> list[Target]:
    """A line a task."""
    out = []
    for task, t in r["tasks"].items():
        ours = t["synthetic"]["balanced_accuracy"]
        here = f"{span(ours, digits=1, scale=100)} %"
        chance = 1 / len(t["synthetic"].get("classes", (0, 1)))
        met = ""
        if "balanced_accuracy_points" in t:
            gap = t["balanced_accuracy_points"]
            real = span(t["real"]["balanced_accuracy"], digits=1, scale=100)
            here += f", real {real} %: {span(gap, digits=1, sign=True)} points"
            met = verdict(gap, least=LEAST_POINTS)
        if ours["low"] <= chance <= ours["high"]:
            here += "; chance"
        out.append(
            Target(
                f"{task.replace('_', ' ')} obeyed, {t['synthetic']['n']} samples (balanced accuracy)",
                f"within {-LEAST_POINTS:g} points of real films" if met else "–",
                here,
                met,
            )
        )
    return out


def _percent(told: Report) -> str:
    return span(told, digits=1, scale=100)


def sides_text(r: Report) -> str:
    """How often the asked side is the one that changes."""
    change, opacity = r["difference"], r["opacity"]
    rows = [["swap: asked lung brighter", r["swap"]["n"], _percent(r["swap"])]]
    rows += [[f"swap, {name}", t["n"], _percent(t)] for name, t in r["findings"].items()]
    rows.append(
        ["opacity: brighter, against the normal picture", opacity["n"], _percent(opacity["share"])]
    )
    return (
        f"{r['n_differ']} of {r['n_pairs']} pairs differ when left and right are swapped, by "
        f"{change['swap']:.2f} grey levels (finding against normal {change['finding']:.2f}, another seed "
        f"{change['other_seed']:.2f}). **Side: {r['verdict']}** (chance is 50 %).\n\n"
        + markdown(["measure", "n", "on the asked side, %"], rows)
    )


def sides_how(r: Report) -> str:
    """n, seeds, what the brackets are."""
    weights = f"; weights `{r['model_hash']}`" if "model_hash" in r else ""
    return (
        f"{r['n_pairs']} pairs of prompts, one seed each from {r['seed']} on, {r['n_measured']} with both "
        f"lungs; brackets: exact binomial (swap), bootstrap over pairs (others){weights}."
    )


def sides_draw(axes: Any, r: Report) -> None:
    """Share on the asked side, of all and by finding."""
    rows = [("all", r["swap"], True), *((name, t, True) for name, t in r["findings"].items())]
    bars(axes, rows, "pairs whose asked lung turns brighter (dotted: chance)", most=1, chance=0.5)


def sides_targets(r: Report) -> list[Target]:
    """One line."""
    return [
        Target(
            f"side obeyed, {r['swap']['n']} pairs of prompts (asked lung brighter)",
            "–",
            f"{_percent(r['swap'])} %: {r['verdict']}",
        )
    ]


FIDELITY = Kind(
    name="fidelity",
    title=lambda r: f"Fidelity by {r['extractor']['name']}" if r.get("extractor") else "Fidelity",
    how=fidelity_how,
    text=fidelity_text,
    draw=fidelity_draw,
    targets=fidelity_targets,
)
OBEDIENCE = Kind(
    name="obedience",
    title=lambda r: "Obedience",
    how=obedience_how,
    text=obedience_text,
    draw=obedience_draw,
    targets=obedience_targets,
)
SIDES = Kind(
    name="sides",
    title=lambda r: "Obedience: sides",
    how=sides_how,
    text=sides_text,
    draw=sides_draw,
    targets=sides_targets,
)
