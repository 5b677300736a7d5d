"""Text of memorisation and of nearest training films."""

from __future__ import annotations

from typing import Any

from lungsynth.evaluation.tables import markdown
from lungsynth.report.words import Kind, Report, Target, bars, count_of, span, verdict

LEAST_CAUGHT, MOST_ALARMS = 0.95, 0.01  # as `lungsynth.evaluation.copies.memorisation`


def _measures_table(r: Report) -> str:
    """Distances to the nearest training film, of pictures and of unseen real films."""
    rows = [
        [
            name,
            f"{m['synthetic']['median']:.4g}",
            f"{m['real_test']['median']:.4g}",
            f"{m['synthetic']['min']:.4g}",
            f"{m['real_test']['min']:.4g}",
            span(m["below_percentile_of_test"]["0.1"]["share"], digits=2, scale=100),
        ]
        for name, m in r["measures"].items()
    ]
    return markdown(
        [
            "distance",
            "median",
            "of real films",
            "least",
            "of real films",
            "nearer than 99.9 % of real films, %",
        ],
        rows,
    )


def neighbours_draw(axes: Any, r: Report) -> None:
    """Quartiles of every distance, as shares of the median of real films."""
    rows = []
    for name, m in r["measures"].items():
        unit = m["real_test"]["median"] or 1.0
        for key, words in (("synthetic", "pictures"), ("real_test", "unseen real films")):
            value, low, high = (
                m[key].get(k, m[key]["median"]) / unit for k in ("median", "q25", "q75")
            )
            told = {"value": value, "low": low, "high": high}
            rows.append((f"{name}, {words}", told, key == "synthetic"))
    label = "distance to the nearest training film ÷ median of real films (line: quartiles)"
    bars(axes, rows, label)


def neighbours_how(r: Report) -> str:
    """n, seed, what the brackets are."""
    n = r["n"]
    return (
        f"{n['synthetic']} pictures beside {n['test']} unseen real films; nearest of {n['train']} training "
        f"films; seed {r.get('seed', 0)}; brackets: binomial resampling of the share; encoder "
        f"`{r.get('encoder', '?')}`."
    )


def neighbours_targets(r: Report) -> list[Target]:
    """A line a measure."""
    out = []
    for name, m in r["measures"].items():
        share = m["below_percentile_of_test"]["0.1"]["share"]
        out.append(
            Target(
                f"nearest training film, {r['n']['synthetic']} samples, {name} distance",
                "–",
                f"least {m['synthetic']['min']:.4g} (real test films {m['real_test']['min']:.4g}), median "
                f"{m['synthetic']['median']:.4g} ({m['real_test']['median']:.4g}); below the 0.1 % point "
                f"of real test films: {span(share, digits=1, scale=100)} %",
            )
        )
    return out


def memorisation_text(r: Report) -> str:
    """How good the gate is, and what it found."""

    def share(name: str, told: Report) -> list[object]:
        return [name, span(told, digits=1, scale=100), f"{told['count']} of {told['n']}"]

    rows = [share("planted copies caught", r["caught"])]
    rows += [share(f"planted: {kind}", told) for kind, told in r["caught"]["kinds"].items()]
    rows += [share("false alarms on unseen real films", r["false_alarms"])]
    found = f"{count_of(r['copies'])} copies of training films among {r['n']['synthetic']} pictures"
    if "duplicates" in r:  # the publisher keeps copies only
        found += f", {count_of(r['duplicates'])} duplicate pairs"
    if "passed" in r:
        found = f"Gate {'passed' if r['passed'] else 'not passed'}: {found}"
    return (
        f"**{found}**\n\nA picture counts as a copy from a score of {r['threshold']:.3f}.\n\n"
        f"{markdown(['gate', '%', 'count'], rows)}\n\n{_measures_table(r)}"
    )


def memorisation_how(r: Report) -> str:
    """n, seed, what the brackets are."""
    told = {
        "train": "training films",
        "calibration": "unseen films that set the threshold",
        "test": "unseen films that test it",
        "planted": "planted copies",
    }
    sets = ", ".join(f"{r['n'][k]} {words}" for k, words in told.items() if k in r["n"])
    return (
        f"{r['n']['synthetic']} pictures; {sets}; seed {r.get('seed', 0)}; brackets: exact binomial "
        f"(Clopper-Pearson); encoder `{r.get('encoder', '?')}`."
    )


def memorisation_targets(r: Report) -> list[Target]:
    """What the gate catches, its false alarms, and the copies."""
    copies = count_of(r["copies"])
    caught, alarms = r["caught"], r["false_alarms"]
    return [
        Target(
            f"planted copies caught, {caught['n']}",
            f"≥ {100 * LEAST_CAUGHT:g} %",
            f"{span(caught, digits=1, scale=100)} %",
            verdict(caught, least=LEAST_CAUGHT),
        ),
        Target(
            f"false alarms of the gate, {alarms['n']} unseen real films",
            f"≤ {100 * MOST_ALARMS:g} %",
            f"{span(alarms, digits=1, scale=100)} %",
            verdict(alarms, most=MOST_ALARMS),
        ),
        Target(
            "copies of training films",
            "0",
            f"{copies} of {r['n']['synthetic']}",
            "**missed**" if copies else "reached",
        ),
    ]


def memorisation_draw(axes: Any, r: Report) -> None:
    """Likeness to the nearest training film: synthetic, real, planted."""
    for name, counts in r.get("histogram", {}).items():
        total = max(1, sum(counts))
        places = [(i + 0.5) / len(counts) for i in range(len(counts))]
        axes.plot(places, [c / total for c in counts], label=name.replace("_", " "))
    axes.axvline(r["threshold"], color="#333333", linestyle="--", label="threshold")
    axes.set(xlabel="likeness to the training film most alike", ylabel="share", xlim=(0, 1))
    axes.legend(fontsize=8)


MEMORISATION = Kind(
    name="memorisation",
    title=lambda r: "Memorisation",
    how=memorisation_how,
    text=memorisation_text,
    draw=memorisation_draw,
    targets=memorisation_targets,
)
NEIGHBOURS = Kind(
    name="neighbours",
    title=lambda r: "Nearest training films",
    how=neighbours_how,
    text=_measures_table,
    draw=neighbours_draw,
    targets=neighbours_targets,
)
