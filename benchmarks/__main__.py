"""`python -m benchmarks latency | capture | refine | compare | relabel | outlines | samplers | curve`."""

from __future__ import annotations

import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.curve import curve
from benchmarks.outlines import outlines
from benchmarks.refine import refine_command
from benchmarks.relabel import relabel
from benchmarks.samplers import samplers

PROMPTS = (
    "Frontal chest X-ray of a 60-year-old man with pneumonia in the right lower lung",
    "PA chest X-ray of a 35-year-old woman, clear lungs",
    "AP chest X-ray of a young child with bacterial pneumonia",
    "Normal chest X-ray of a 3-year-old child",
    "AP chest X-ray of a male patient with COVID-19 pneumonia",
)
COMPARED = ("iou", "dice", "hd95_percent", "mean_distance_percent")
"""Columns of masks.csv that `compare` compares."""


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95 of some durations in seconds."""
    ordered = sorted(values)
    at = min(len(ordered) - 1, int(0.95 * len(ordered)))
    return {"p50": statistics.median(ordered), "p95": ordered[at]}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result) of a call."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def read_stage(path: Path, stage: str) -> dict[str, list[float]]:
    """Film -> its figures at a stage, for all counted classes together."""
    with path.open(newline="", encoding="utf-8") as handle:
        return {
            row["film"]: [float(row[c]) for c in COMPARED]
            for row in csv.DictReader(handle)
            if row["stage"] == stage and row["region"] == "all"
        }


@click.group()
def main() -> None:
    """Measure lungsynth on this machine."""


@main.command()
@click.option("--model", default=None)
@click.option("--n", default=20, show_default=True, help="Prompts.")
@click.option("--steps", default=20, show_default=True)
def latency(model: str | None, n: int, steps: int) -> None:
    """p50 and p95 of each stage, prompt to written files, the model loaded."""
    from lungsynth.masks.chain import run
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.model.sampling import SampleOptions, draw
    from lungsynth.output import write_result
    from lungsynth.pipeline import Synthesizer

    load, synthesizer = timed(lambda: Synthesizer(model))
    options = SampleOptions(steps=steps)
    rows: dict[str, list[float]] = {
        "draw": [],
        "read class tokens": [],
        "refine": [],
        "everything": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for k in range(n + 1):
            prompt = PROMPTS[k % len(PROMPTS)]

            def everything(prompt: str = prompt, k: int = k) -> Any:
                result = next(iter(synthesizer.generate([prompt], [k], options=options)))
                write_result(result, Path(folder) / str(k))
                return result

            total, result = timed(everything)
            drawing, drawn = timed(lambda p=prompt, k=k: draw(synthesizer.pipe, [p], [k], options))
            reading, _ = timed(
                lambda d=drawn, k=k: synthesizer.read_tokens(d.latents, d.embeddings, [k])
            )
            specs = synthesizer.class_specs(result.prompt)
            refining, _ = timed(
                lambda r=result, s=specs: run(
                    r.probability,
                    r.image,
                    s,
                    RefineConfig(),
                    synthesizer.aids(r.image, RefineConfig()),
                )
            )
            if k == 0:
                continue  # the first one warms caches up
            for name, value in zip(rows, (drawing, reading, refining, total), strict=True):
                rows[name].append(value)
    table = {"load": {"p50": load}, **{name: quantiles(values) for name, values in rows.items()}}
    print(f"{'stage':20} {'p50 s':>8} {'p95 s':>8}   {n} prompts, {steps} steps")
    for name, row in table.items():
        print(f"{name:20} {row['p50']:8.3f} {row.get('p95', float('nan')):8.3f}")


@main.command()
@click.option("--model", default=None)
@click.option("--n", default=10, show_default=True, help="Pairs of drawings, on and off in turn.")
@click.option("--steps", default=20, show_default=True)
@click.option("--batch-size", default=1, show_default=True)
def capture(model: str | None, n: int, steps: int, batch_size: int) -> None:
    """Time of drawing with attention capture on, divided by off; paired, in alternating order."""
    from lungsynth.model.sampling import SampleOptions, draw
    from lungsynth.pipeline import Synthesizer

    pipe = Synthesizer(model).pipe
    options = SampleOptions(steps=steps)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(batch_size)]
    seeds = list(range(batch_size))
    for on in (True, False):
        draw(pipe, prompts, seeds, options, capture=on)
    ratios, times = [], {True: [], False: []}
    for k in range(n):
        pair = {}
        for on in (True, False) if k % 2 else (False, True):
            pair[on], _ = timed(lambda on=on: draw(pipe, prompts, seeds, options, capture=on))
            times[on].append(pair[on])
        ratios.append(pair[True] / pair[False])
    off, on_time = (statistics.median(times[k]) for k in (False, True))
    print(
        f"off p50 {off:.3f} s, on p50 {on_time:.3f} s, "
        f"on / off: median {statistics.median(ratios):.3f}, {min(ratios):.3f}-{max(ratios):.3f}, "
        f"{n} pairs, batch {batch_size}"
    )


@main.command()
@click.argument("one", type=click.Path(path_type=Path, exists=True))
@click.argument("other", type=click.Path(path_type=Path, exists=True))
@click.option("--stage", default="crf + clean-up", show_default=True)
@click.option("--other-stage", default=None, help="[default: the same]")
@click.option("--seed", type=int, default=0, show_default=True)
def compare(one: Path, other: Path, stage: str, other_stage: str | None, seed: int) -> None:
    """ONE minus OTHER (each a masks.csv), with a paired 95 % bootstrap interval over films."""
    a, b = read_stage(one, stage), read_stage(other, other_stage or stage)
    films = sorted(a.keys() & b.keys())
    if not films:
        raise click.ClickException(f"no film of both has the stage {stage!r}")
    picks = np.random.default_rng(seed).integers(0, len(films), (2000, len(films)))
    click.echo(f"{len(films)} films: {one} [{stage}] minus {other} [{other_stage or stage}]")
    for k, name in enumerate(COMPARED):
        mine, theirs = (np.array([side[f][k] for f in films]) for side in (a, b))
        gap = mine - theirs
        low, high = np.percentile(gap[picks].mean(1), [2.5, 97.5])
        click.echo(
            f"{name:22} {mine.mean():7.4f} {theirs.mean():7.4f}   {gap.mean():+.4f} "
            f"[{low:+.4f}, {high:+.4f}]"
        )


main.add_command(refine_command)
main.add_command(relabel)
main.add_command(outlines)
main.add_command(samplers)
main.add_command(curve)

if __name__ == "__main__":
    main()
