"""How each evaluation's JSON is told: title, command, Markdown and plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a JSON file of one name is told."""

    title: Callable[[Report], str]
    command: Callable[[Report], list[str]]
    text: Callable[[Report], str]
    draw: Callable[[Any, Report], None] | None  # matplotlib axes, report


def span(told: Report, *, digits: int = 3, scale: float = 1.0) -> str:
    """`0.912 [0.900, 0.921]`."""
    value, low, high = (f"{scale * told[k]:.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; what could break it is escaped."""

    def line(cells: Sequence[object]) -> str:
        return (
            "| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
        )

    return "\n".join([line(head), "| " + " | ".join(["---"] * len(head)) + " |", *map(line, rows)])


def _bars(axes: Any, names: Sequence[str], told: Sequence[Report], colours: Sequence[str]) -> None:
    """Horizontal bars with intervals, the first on top."""
    value = [t["value"] for t in told]
    errors = [[max(0.0, t["value"] - t["low"]) for t in told],
              [max(0.0, t["high"] - t["value"]) for t in told]]  # fmt: skip
    axes.barh(range(len(names)), value, xerr=errors, color=colours, ecolor="#333333")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()


# --- masks -----------------------------------------------------------------------------------


def _masks_text(r: Report) -> str:
    rows = []
    for stage, about in r["stages"].items():
        e = about["regions"]["all"]
        distances = [span(e["hd95_percent"], digits=1), span(e["mean_distance_percent"], digits=2)]
        name = ("rival: " if about["rival"] else "") + stage
        rows.append([name, span(e["iou"]), span(e["dice"]), *distances])
    told = table(["mask", "IoU", "Dice", "HD95 % of side", "surface %"], rows)
    return (
        f"{r['n']} films of {r['n_patients']} patients, {', '.join(r['convention']) or 'no convention'}; "
        f"left and right on swapped sides: {r['swapped']}.\n\n{told}"
    )


def _masks_draw(axes: Any, r: Report) -> None:
    names = list(r["stages"])
    _bars(axes, names, [r["stages"][n]["regions"]["all"]["iou"] for n in names],
          ["#999999" if r["stages"][n]["rival"] else "#0072b2" for n in names])  # fmt: skip
    axes.set(xlim=(0, 1), xlabel="IoU, 95 % interval over films (grey: rivals)")


def _masks_command(r: Report) -> list[str]:
    convention = r["convention"][0].partition(":")[0] if r["convention"] else ""
    return ["evaluate", "masks", "--data", r["source"], "--split", r["split"],
            *(["--convention", convention] if convention else []), "--seed", str(r["seed"])]  # fmt: skip


# --- fidelity, obedience, neighbours ---------------------------------------------------------

FLOOR = {"frechet": "floor", "kernel": "floor", "ms_ssim": "real"}
DRAWN = ["--data", "FILMS.parquet", "--synthetic", "DRAWN"]


def _fidelity_text(r: Report) -> str:
    rows = [
        [name, g["n"], measure, span(g[measure]["synthetic"]), span(g[measure][floor])]
        for name, g in r["groups"].items() for measure, floor in FLOOR.items() if measure in g
    ]  # fmt: skip
    return table(["films", "n", "measure", "synthetic", "real against real"], rows)


def _fidelity_draw(axes: Any, r: Report) -> None:
    names, told, colours = [], [], []
    for name, g in r["groups"].items():
        for label, key, colour in (
            ("synthetic", "synthetic", "#0072b2"), ("real against real", "floor", "#999999"),
        ):  # fmt: skip
            names.append(f"{name}, {label}")
            told.append(g["frechet"][key])
            colours.append(colour)
    _bars(axes, names, told, colours)
    axes.set(xlabel="Fréchet distance (lower is nearer to real films)")


def _obedience_text(r: Report) -> str:
    rows = [
        [task, t["synthetic"]["n"], *(span(t[k]["balanced_accuracy"], digits=1, scale=100)
                                      for k in ("synthetic", "real")),
         span(t["balanced_accuracy_points"], digits=1)]
        for task, t in r["tasks"].items()
    ]  # fmt: skip
    head = ["asked for", "n", "obeyed %", "judge on real films %", "difference, points"]
    return "Balanced accuracy of a judge trained on real films.\n\n" + table(head, rows)


def _obedience_draw(axes: Any, r: Report) -> None:
    names = [f"{t}, {k}" for t in r["tasks"] for k in ("synthetic", "real")]
    told = [
        r["tasks"][t][k]["balanced_accuracy"] for t in r["tasks"] for k in ("synthetic", "real")
    ]
    _bars(axes, names, told, ["#0072b2", "#999999"] * len(r["tasks"]))
    axes.set(xlim=(0, 1), xlabel="balanced accuracy")
    axes.axvline(0.5, color="#333333", linestyle=":")


def _measures_table(r: Report) -> str:
    rows = [
        [name, f"{m['synthetic']['median']:.4g}", f"{m['real_test']['median']:.4g}",
         f"{m['synthetic']['min']:.4g}", f"{m['real_test']['min']:.4g}",
         span(m["below_percentile_of_test"]["0.1"]["share"], digits=2, scale=100)]
        for name, m in r["measures"].items()
    ]  # fmt: skip
    return table(["distance", "median", "of real films", "least", "of real films",
                  "nearer than 99.9 % of real films, %"], rows)  # fmt: skip


def _neighbours_text(r: Report) -> str:
    n = r["n"]
    return (
        f"Nearest of {n['train']} training films: {n['synthetic']} pictures beside {n['test']} unseen real "
        f"films.\n\n{_measures_table(r)}"
    )


# --- memorisation, downstream, judge, autoencoder --------------------------------------------


def _memorisation_text(r: Report) -> str:
    def share(name: str, told: Report) -> list[object]:
        return [name, span(told, digits=1, scale=100), f"{told['count']} of {told['n']}"]

    rows = [share("planted copies caught", r["caught"])]
    rows += [share(f"planted: {kind}", told) for kind, told in r["caught"]["kinds"].items()]
    rows += [share("false alarms on unseen real films", r["false_alarms"])]
    return (
        f"**Gate {'passed' if r['passed'] else 'not passed'}: {len(r['copies'])} copies of training films "
        f"among {r['n']['synthetic']} pictures, {len(r['duplicates'])} duplicate pairs**\n\nA picture "
        f"counts as a copy from a score of {r['threshold']:.3f}.\n\n"
        f"{table(['gate', '%', 'count'], rows)}\n\n{_measures_table(r)}"
    )


def _memorisation_draw(axes: Any, r: Report) -> None:
    for name, counts in r["histogram"].items():
        total = max(1, sum(counts))
        places = [(i + 0.5) / len(counts) for i in range(len(counts))]
        axes.plot(places, [c / total for c in counts], label=name.replace("_", " "))
    axes.axvline(r["threshold"], color="#333333", linestyle="--", label="threshold")
    axes.set(xlabel="likeness to the training film most alike", ylabel="share", xlim=(0, 1))
    axes.legend(fontsize=8)


def _memorisation_command(r: Report) -> list[str]:
    data = [word for source in r.get("sources", ["FILMS.parquet"]) for word in ("--data", source)]
    return ["evaluate", "memorisation", *data, "--synthetic", r.get("synthetic", "DRAWN"),
            "--seed", str(r["seed"])]  # fmt: skip


def _downstream_text(r: Report) -> str:
    from lungsynth.evaluation.downstream_report import markdown

    return markdown(r)


def _judge_text(r: Report) -> str:
    rows = [
        [
            title,
            told["n"],
            span(told["dice"]),
            span(told["iou"]),
            span(told["hd95_percent"], digits=1),
        ]
        for title, told in (
            ("judge on real test films", r["judge_on_real_test_films"]),
            ("generated masks, agreement with the judge", r["agreement_with_the_judge"]),
        )
    ]
    return (
        "Agreement is no accuracy: on generated pictures there is no truth.\n\n"
        + table(["", "n", "Dice", "IoU", "HD95 % of side"], rows)
    )  # fmt: skip


def _judge_command(r: Report) -> list[str]:
    data = [word for source in r["sources"] for word in ("--data", source)]
    return ["evaluate", "judge", *data, "--synthetic", r["synthetic"], "--steps", str(r["steps"])]


def _reconstruction_text(r: Report) -> str:
    gain = span({"value": r["gain"], "low": r["gain_low"], "high": r["gain_high"]}, digits=2)
    head = ["films", "PSNR dB", "PCA dB", "gain dB", "worst film dB"]
    row = [r["n"], f"{r['psnr']:.2f}", f"{r['pca_psnr']:.2f}", gain, f"{r['worst']:.2f}"]
    return table(head, [row])


KINDS: dict[str, Kind] = {
    "downstream.json": Kind(
        lambda r: "Models trained on it", lambda r: ["evaluate", "downstream", *r["arguments"]],
        _downstream_text, None,
    ),
    "masks.json": Kind(lambda r: f"Masks: {r['source']} {r['split']}", _masks_command, _masks_text,
                       _masks_draw),
    "judge.json": Kind(lambda r: "Generated masks and a judge", _judge_command, _judge_text, None),
    "fidelity.json": Kind(lambda r: "Fidelity", lambda r: ["evaluate", "fidelity", *DRAWN],
                          _fidelity_text, _fidelity_draw),
    "obedience.json": Kind(
        lambda r: "Obedience", lambda r: ["evaluate", "obedience", *DRAWN, "--seed", str(r["seed"])],
        _obedience_text, _obedience_draw,
    ),
    "memorisation.json": Kind(lambda r: "Memorisation", _memorisation_command, _memorisation_text,
                              _memorisation_draw),
    "neighbours.json": Kind(
        lambda r: "Nearest training films",
        lambda r: ["evaluate", "neighbours", *DRAWN, "--seed", str(r["seed"])], _neighbours_text, None,
    ),
    "reconstruction.json": Kind(
        lambda r: "Autoencoder", lambda r: ["evaluate", "reconstruction", "--data", "FILMS.parquet"],
        _reconstruction_text, None,
    ),
}  # fmt: skip
"""File name -> how it is told, in the order of the page."""
