"""How each evaluation's JSON is written as text: title, n and seeds, plot, headline figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lungsynth.evaluation.tables import markdown
from lungsynth.report.copies import (
    memorisation_draw,
    memorisation_how,
    memorisation_targets,
    memorisation_text,
    neighbours_draw,
    neighbours_how,
    neighbours_targets,
    neighbours_text,
)
from lungsynth.report.masks import (
    masks_draw,
    masks_how,
    masks_targets,
    masks_text,
    masks_together,
    set_title,
)
from lungsynth.report.samples import (
    fidelity_draw,
    fidelity_how,
    fidelity_targets,
    fidelity_text,
    fidelity_title,
    obedience_draw,
    obedience_how,
    obedience_targets,
    obedience_text,
    sides_draw,
    sides_how,
    sides_targets,
    sides_text,
)
from lungsynth.report.words import Report, Target, span, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the JSON of one evaluation is written out."""

    name: str  # of the evaluation
    title: Callable[[Report], str]
    how: Callable[[Report], str]  # n, seeds, what the brackets are
    text: Callable[[Report], str]
    draw: Callable[[Any, Report], None] | None = None  # matplotlib axes, report
    targets: Callable[[Report], list[Target]] = lambda _: []
    together: Callable[[Mapping[str, Report]], str] | None = None  # name -> report; one table


# --- downstream ------------------------------------------------------------------------------

NEEDED_RATIO = {"unet": 0.99, "segformer": 0.97}
"""Dice of a model trained on synthetic pictures only ÷ trained on all real films, per model."""

NEEDED_GAIN = {1: 0.05, 5: 0.03}
"""Dice that synthetic pictures add to so few real films; more films: never less than without."""

NEEDED_DICE = 0.95


def _downstream_text(r: Report) -> str:
    from lungsynth.evaluation.downstream.report import markdown  # deferred: imports torch

    return markdown(r)


def _downstream_how(r: Report) -> str:
    tests = ", ".join(f"{t['name']} {t['n']} films" for t in r["tests"])
    sets = ", ".join(f"{s['name']} {s['n']}" for s in r["synthetic"])
    spent = f" {_duration(r['seconds'])} of training and testing." if "seconds" in r else ""
    return (
        f"{r['real']['n']} real training films; synthetic pictures: {sets}; tests: {tests}; {r['seeds']} "
        "seed(s); brackets: bootstrap over seeds and films, those of a patient together."
        f"{spent}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _downstream_targets(r: Report) -> list[Target]:
    from lungsynth.evaluation.downstream.report import arm_title  # deferred: imports torch

    several, out = len(r["synthetic"]) > 1, []
    for a in r["arms"]:
        if (a["arm"], a["augmentation"], a["model"]) == ("synthetic", "standard", "unet"):
            out.append(
                Target(
                    f"unet, {arm_title(a, several=several)}, Dice on {a['test']}, n = {a['n_films']}",
                    f"≥ {NEEDED_DICE}",
                    span(a["dice"]),
                    verdict(a["dice"], least=NEEDED_DICE),
                )
            )
    for c in r["comparisons"]:
        of, other = c["of"], c["with"]
        if other["arm"] != "real" or of["augmentation"] != "standard":
            continue
        title = f"{of['model']}, {arm_title(of, several=several)}"
        if c["kind"] == "ratio":
            needed = NEEDED_RATIO.get(of["model"])
            words, sign = f"÷ all {other['n_real']} real", False
        else:
            needed = NEEDED_GAIN.get(of["n_real"], 0.0)
            words, sign = f"n = {of['n_real']}, minus real alone", True
        out.append(
            Target(
                f"{title}, {words}, Dice on {c['test']}",
                "–" if needed is None else f"≥ {needed:g}",
                span(c["dice"], sign=sign),
                "" if needed is None else verdict(c["dice"], least=needed),
            )
        )
    return out


# --- autoencoder ---------------------------------------------------------------


def _reconstruction_text(r: Report) -> str:
    gain = span({"value": r["gain"], "low": r["gain_low"], "high": r["gain_high"]}, digits=2)
    head = ["films", "PSNR dB", "PCA dB", "gain dB", "worst film dB"]
    row = [r["n"], f"{r['psnr']:.2f}", f"{r['pca_psnr']:.2f}", gain, f"{r['worst']:.2f}"]
    return markdown(head, [row])


def _reconstruction_targets(r: Report) -> list[Target]:
    gain = {"value": r["gain"], "low": r["gain_low"], "high": r["gain_high"]}
    return [
        Target(
            f"autoencoder on {r['n']} real test films",
            "≥ 35 dB",
            f"{r['psnr']:.2f} dB",
            "reached" if r["psnr"] >= 35 else "**missed**",
        ),
        Target(
            f"autoencoder minus PCA of the same rate ({r['pca_psnr']:.2f} dB)",
            "≥ 2 dB",
            f"{span(gain, digits=2, sign=True)} dB",
            verdict(gain, least=2.0),
        ),
    ]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="downstream",
            title=lambda r: "Models trained on it",
            how=_downstream_how,
            text=_downstream_text,
            targets=_downstream_targets,
        ),
        Kind(
            name="masks",
            title=lambda r: f"Masks: {set_title(r)}",
            how=masks_how,
            text=masks_text,
            draw=masks_draw,
            targets=masks_targets,
            together=masks_together,
        ),
        Kind(
            name="fidelity",
            title=fidelity_title,
            how=fidelity_how,
            text=fidelity_text,
            draw=fidelity_draw,
            targets=fidelity_targets,
        ),
        Kind(
            name="obedience",
            title=lambda r: "Obedience",
            how=obedience_how,
            text=obedience_text,
            draw=obedience_draw,
            targets=obedience_targets,
        ),
        Kind(
            name="sides",
            title=lambda r: "Obedience: sides",
            how=sides_how,
            text=sides_text,
            draw=sides_draw,
            targets=sides_targets,
        ),
        Kind(
            name="memorisation",
            title=lambda r: "Memorisation",
            how=memorisation_how,
            text=memorisation_text,
            draw=memorisation_draw,
            targets=memorisation_targets,
        ),
        Kind(
            name="neighbours",
            title=lambda r: "Nearest training films",
            how=neighbours_how,
            text=neighbours_text,
            draw=neighbours_draw,
            targets=neighbours_targets,
        ),
        Kind(
            name="reconstruction",
            title=lambda r: "Autoencoder",
            how=lambda r: f"n = {r['n']} films; brackets: bootstrap over films, seed 0.",
            text=_reconstruction_text,
            targets=_reconstruction_targets,
        ),
    )
}
"""Name of an evaluation, which its file's name is or begins with -> how it is written out; page order."""


def kind_of(stem: str) -> str | None:
    """`masks` or `masks-shenzhen` -> `masks`; None where the name is no evaluation's."""
    return next((k for k in KINDS if stem == k or stem.startswith(f"{k}-")), None)
