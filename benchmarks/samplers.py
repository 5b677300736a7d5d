"""`python -m benchmarks samplers`: steps × scheduler × guidance × interval, by figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.sampler_figures import COLUMNS, Real, interval_text, markdown, measure, real_side
from lungsynth.evaluation.common import read_films
from lungsynth.evaluation.drawing import json_lines
from lungsynth.model.checkpoint import load_pipeline, name_and_hash
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum, load_encoder
from lungsynth.model.sampling import SampleOptions

MIDDLE = (200.0, 800.0)

QUICK = (
    (20, "default", 1.5, None),
    (20, "default", 1.0, None),
    (20, "default", 2.0, None),
    (20, "default", 3.0, MIDDLE),
    (20, "dpm", 1.5, None),
    (10, "dpm", 1.5, None),
    (20, "default", 3.0, None),
    (10, "default", 1.5, None),
    (20, "euler", 1.5, None),
    (30, "default", 1.5, None),
)
"""Samplers of the quick table, the most telling first."""
QUICK_N, FULL_N = 60, 200


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


def read_rows(path: Path, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Finished rows of the same weights, judge, number and seed."""
    return [row for row in json_lines(path) if {k: row.get(k) for k in told} == dict(told)]


def find_row(rows: Sequence[dict[str, Any]], options: SampleOptions) -> dict[str, Any] | None:
    """The row of a sampler, where it is finished."""
    key = json.loads(json.dumps({k: asdict(options)[k] for k in COLUMNS}))
    return next((one for one in rows if {k: one[k] for k in COLUMNS} == key), None)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a table is made with."""

    samplers: Sequence[SampleOptions]
    n: int
    seed: int
    batch: int
    out: Path


def make_table(
    pipe: Any, encoder: Any, real: Real, told: Mapping[str, Any], how: Table
) -> list[Any]:
    """Draw and judge the rows that are missing; each is written as it is finished.

    Returns:
        The rows there are, in the order of `how.samplers`.
    """
    rows = read_rows(how.out, told)
    how.out.parent.mkdir(parents=True, exist_ok=True)
    for options in how.samplers:
        row = find_row(rows, options)
        if row is None:
            row = measure(pipe, options, how.n, encoder, real, seed=how.seed, batch=how.batch)
            row = json.loads(json.dumps({**told, **row}))
            rows.append(row)
            with how.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(
            f"{row['steps']} steps, {row['scheduler']}, guidance {row['guidance']:g} "
            f"({interval_text(row['guidance_interval'])}): {row['seconds']:.3f} s, "
            f"{row['mean_points']} points",
            flush=True,
        )
    found = (find_row(rows, options) for options in how.samplers)
    return [row for row in found if row is not None]


@click.command()
@click.option("--data", "sources", multiple=True, required=True, metavar="SOURCE")
@click.option("--model", default=None, metavar="NAME|DIR")
@click.option(
    "--quick", is_flag=True, help=f"Ten samplers, {QUICK_N} pictures each, instead of the grid."
)
@click.option("--n", type=int, default=None, help=f"Pictures a sampler.  [default: {FULL_N}]")
@click.option("--steps", multiple=True, type=int, default=(10, 15, 20, 30), show_default=True)
@click.option(
    "--scheduler", "names", multiple=True, default=("default", "dpm", "euler"), show_default=True
)
@click.option(
    "--guidance",
    "scales",
    multiple=True,
    type=float,
    default=(1.0, 1.5, 2.0, 3.0),
    show_default=True,
)
@click.option(
    "--interval",
    "intervals",
    multiple=True,
    default=("all", "200,800"),
    show_default=True,
    help="Timesteps where guidance is on, or all; repeat.",
)
@click.option(
    "--encoder",
    "folder",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    metavar="DIR",
    help="The judge.  [default: the shipped one]",
)
@click.option("--batch-size", "batch", default=8, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="JSONL",
    help="A line a row; the same command again resumes.",
)
def samplers(folder: Path, out: Path, **given: Any) -> None:
    """Table of samplers: seconds, Fréchet distance ÷ floor, obedience in points below real films.

    \b
    python -m benchmarks samplers --quick --data kermany.parquet --data nih.parquet --out quick.jsonl
    """
    quick, seed = bool(given["quick"]), int(given["seed"])
    chosen = (
        [SampleOptions(**dict(zip(COLUMNS, one, strict=True))) for one in QUICK]
        if quick
        else list(
            grid(
                given["steps"], given["names"], given["scales"], parse_intervals(given["intervals"])
            )
        )
    )
    how = Table(
        samplers=chosen,
        n=given["n"] or (QUICK_N if quick else FULL_N),
        seed=seed,
        batch=given["batch"],
        out=out,
    )
    encoder = load_encoder(folder)
    real = real_side(read_films(given["sources"], split="test", seed=seed), encoder, seed)
    pipe, _ = load_pipeline(given["model"])
    hashes = {**name_and_hash(given["model"]), "encoder": checksum(folder)}
    told = {**hashes, "n": how.n, "seed": seed, "floor": dict(real.floor)}
    rows = make_table(pipe, encoder, real, told, how)
    command = "python -m benchmarks samplers " + ("--quick" if quick else f"--n {how.n}")
    print()
    print(markdown(rows, told, command))
