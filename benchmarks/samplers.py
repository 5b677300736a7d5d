"""`python -m benchmarks samplers`: steps × scheduler × guidance × interval, by figures."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from lungsynth.evaluation.common import ImageSet, read_films
from lungsynth.evaluation.drawing import balanced_prompts
from lungsynth.evaluation.fidelity.distances import frechet_distance
from lungsynth.evaluation.words.judgement import balanced_accuracy, score_tasks
from lungsynth.evaluation.words.labels import asked_labels, film_labels
from lungsynth.model.encoder import DEFAULT_FOLDER, Embedding, checksum, embed, load_encoder
from lungsynth.model.sampling import SampleOptions, draw

GROUPS = ("adults", "children")


def grid(
    steps: Sequence[int],
    schedulers: Sequence[str],
    guidances: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    precision: str = "auto",
) -> Iterator[SampleOptions]:
    """Every combination once; without guidance there is no interval."""
    for n, scheduler, guidance, interval in itertools.product(
        steps, schedulers, guidances, intervals
    ):
        if guidance > 1 or interval is None:
            yield SampleOptions(
                steps=n,
                scheduler=scheduler,
                guidance=guidance,
                guidance_interval=interval,
                precision=precision,
            )


def is_child(fields: Sequence[Mapping[str, str]]) -> np.ndarray:
    """(N,) bool, from `age_group`."""
    return np.array([one.get("age_group") == "child" for one in fields])


def real_side(films: ImageSet, encoder: Any) -> tuple[Embedding, np.ndarray, dict[str, float]]:
    """Features of real test films, which are children's, and the judge's accuracy on them."""
    seen, labels = embed(encoder, films.images), film_labels(films.fields)
    scores = score_tasks(seen, labels, films.clusters(), n_resamples=2)
    return (
        seen,
        labels[:, 0] == 1,
        {k: float(balanced_accuracy(v.counts)) for k, v in scores.items()},
    )


def floor_of(features: np.ndarray, seed: int) -> float:
    """Fréchet distance of two random halves of real films: what a perfect model of that size gets."""
    order = np.random.default_rng(seed).permutation(len(features))
    return frechet_distance(features[order[: len(order) // 2]], features[order[len(order) // 2 :]])


def measure(
    pipe: Any,
    options: SampleOptions,
    n: int,
    encoder: Any,
    real: tuple[Embedding, np.ndarray, dict[str, float]],
    *,
    seed: int = 0,
    batch: int = 8,
) -> dict[str, Any]:
    """One row of the table: the same prompts and seeds for every sampler."""
    asked = balanced_prompts(n)
    images, seconds, scheduler = [], 0.0, pipe.scheduler
    for start in range(0, n, batch):
        part = range(start, min(start + batch, n))
        begun = time.perf_counter()
        drawn = draw(
            pipe,
            [asked[k].prompt for k in part],
            [seed + k for k in part],
            options,
            capture=False,
        )
        seconds += time.perf_counter() - begun
        images.append(drawn.images)
    pipe.scheduler = scheduler
    fields = [one.fields for one in asked]
    seen, child = embed(encoder, np.concatenate(images)), is_child(fields)
    films, real_child, accuracy = real
    scores = score_tasks(seen, asked_labels(fields), [str(k) for k in range(n)], n_resamples=2)
    points = {
        name: round(100 * (float(balanced_accuracy(score.counts)) - accuracy[name]), 1)
        for name, score in scores.items()
        if name in accuracy
    }
    frechet = {
        group: round(
            frechet_distance(seen.features[child == one], films.features[real_child == one]), 2
        )
        for group, one in zip(GROUPS, (False, True), strict=True)
        if (child == one).sum() > 1 and (real_child == one).sum() > 1
    }
    return {
        **{k: v for k, v in asdict(options).items() if k in COLUMNS},
        "seconds": round(seconds / n, 4),
        "frechet": frechet,
        "points": points,
        "mean_points": round(float(np.mean(list(points.values()))), 1) if points else None,
    }


COLUMNS = ("steps", "scheduler", "guidance", "guidance_interval")


def line(row: Mapping[str, Any]) -> str:
    """A row as text."""
    interval = row["guidance_interval"]
    told = "-" if interval is None else f"{interval[0]:g}-{interval[1]:g}"
    frechet = " ".join(f"{row['frechet'].get(group, float('nan')):>9.2f}" for group in GROUPS)
    points = ", ".join(f"{name} {value:+.1f}" for name, value in row["points"].items())
    return (
        f"{row['steps']:>5} {row['scheduler']:<9}{row['guidance']:>5g} {told:<10}{row['seconds']:>7.3f} "
        f"{frechet}  {points}"
    )


def parse_intervals(texts: Sequence[str]) -> list[tuple[float, float] | None]:
    """`all` or `200,800` -> None or (200.0, 800.0)."""
    out: list[tuple[float, float] | None] = []
    for text in texts:
        if text == "all":
            out.append(None)
            continue
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError as error:
            raise click.BadParameter(
                f"{text!r}: expected all, or two timesteps as 200,800"
            ) from error
        out.append((low, high))
    return out


@click.command()
@click.option("--data", "sources", multiple=True, required=True, metavar="SOURCE")
@click.option("--model", default=None)
@click.option("--n", default=200, show_default=True, help="Pictures a sampler.")
@click.option("--steps", multiple=True, type=int, default=(10, 20), show_default=True)
@click.option(
    "--scheduler", "schedulers", multiple=True, default=("default", "dpm"), show_default=True
)
@click.option(
    "--guidance", "guidances", multiple=True, type=float, default=(1.5, 3.0), show_default=True
)
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    default=("all", "200,800"),
    show_default=True,
    help="Timesteps where guidance is on, or all; repeat.",
)
@click.option("--encoder", "folder", type=click.Path(path_type=Path), default=None, metavar="DIR")
@click.option("--batch-size", default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="JSON"
)
def samplers(
    sources: tuple[str, ...],
    model: str | None,
    n: int,
    steps: tuple[int, ...],
    schedulers: tuple[str, ...],
    guidances: tuple[float, ...],
    intervals: tuple[str, ...],
    folder: Path | None,
    batch_size: int,
    seed: int,
    out: Path,
) -> None:
    """Table of samplers: seconds, Fréchet distance, obedience in points below real films. Resumes.

    Fréchet distances of few pictures are high for every sampler alike: compare rows, and with the
    floor, of two halves of the real films.
    """
    from lungsynth.model.checkpoint import load_pipeline, name_and_hash

    encoder_folder = folder or DEFAULT_FOLDER
    encoder = load_encoder(encoder_folder)
    films = read_films(sources, split="test", seed=seed)
    real = real_side(films, encoder)
    pipe, _ = load_pipeline(model)
    told = {**name_and_hash(model), "encoder": checksum(encoder_folder), "n": n, "seed": seed}
    held = json.loads(out.read_text()) if out.is_file() else {}
    rows = held.get("rows", []) if {k: held.get(k) for k in told} == told else []
    told["floor"] = {
        group: round(floor_of(real[0].features[real[1] == one], seed), 2)
        for group, one in zip(GROUPS, (False, True), strict=True)
        if (real[1] == one).sum() > 3
    }
    print(
        "steps scheduler  scale interval  s/image    adults  children  balanced accuracy - real, points"
    )
    for options in grid(steps, schedulers, guidances, parse_intervals(intervals)):
        key = json.loads(json.dumps({k: asdict(options)[k] for k in COLUMNS}))
        row = next((one for one in rows if {k: one[k] for k in COLUMNS} == key), None)
        if row is None:
            row = measure(pipe, options, n, encoder, real, seed=seed, batch=batch_size)
            rows.append(json.loads(json.dumps(row)))
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps({**told, "rows": rows}, indent=2) + "\n")
        print(line(row))
    print(f"floor: {told['floor']}")
