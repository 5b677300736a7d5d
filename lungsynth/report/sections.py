"""Every evaluation whose JSON is written as text; here that of downstream models and the autoencoder."""

from __future__ import annotations

from lungsynth.evaluation.downstream.report import arm_title
from lungsynth.evaluation.downstream.report import markdown as downstream_text
from lungsynth.evaluation.tables import markdown
from lungsynth.report.copies import MEMORISATION, NEIGHBOURS
from lungsynth.report.masks import MASKS
from lungsynth.report.samples import FIDELITY, OBEDIENCE, SIDES
from lungsynth.report.words import Kind, Report, Target, span, verdict

# --- downstream ------------------------------------------------------------------------------

NEEDED_RATIO = {"unet": 0.99, "segformer": 0.97}
"""Dice of a model trained on synthetic pictures only ÷ trained on all real films, per model."""

NEEDED_GAIN = {1: 0.05, 5: 0.03}
"""Dice that synthetic pictures add to so few real films; more films: never less than without."""

NEEDED_DICE = 0.95


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


DOWNSTREAM = Kind(
    name="downstream",
    title=lambda r: "Models trained on it",
    how=_downstream_how,
    text=downstream_text,
    targets=_downstream_targets,
)
RECONSTRUCTION = Kind(
    name="reconstruction",
    title=lambda r: "Autoencoder",
    how=lambda r: f"n = {r['n']} films; brackets: bootstrap over films, seed 0.",
    text=_reconstruction_text,
    targets=_reconstruction_targets,
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(DOWNSTREAM, MASKS, FIDELITY, OBEDIENCE, SIDES),
        *(MEMORISATION, NEIGHBOURS, RECONSTRUCTION),
    )
}
"""Name of an evaluation, which its file's name is or begins with -> how it is written out; page order."""


def kind_of(stem: str) -> str | None:
    """`masks` or `masks-shenzhen` -> `masks`; None where the name is no evaluation's."""
    return next((k for k in KINDS if stem == k or stem.startswith(f"{k}-")), None)
