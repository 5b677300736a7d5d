"""`python -m benchmarks.release simulate | replay`: a whole release by its size, and rows drawn again.

`simulate` replaces the model by random pictures of 256 × 256 pixels and the Hub by one on loopback, in
memory (`tests/hub`); build, check, push and load are the real commands, each in a process of its own.
`replay` draws with the real checkpoint, and draws the rows again in new processes, whose processor it
lowers by `ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from lungsynth.model.options import PRECISION_NAMES

ROOT = Path(__file__).parents[1]
NAME, TAG = "lab/simulated", "v1.0.0"
LOAD = (
    "import sys; from datasets import load_dataset;"
    f"held = load_dataset({NAME!r}, revision={TAG!r}, cache_dir=sys.argv[1]);"
    "print(sum(split.num_rows for split in held.values()))"
)
"""What a reader does: every row, into a cache."""

LOWERED: dict[str, dict[str, str]] = {
    "as it was built": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE4.1": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""Machines a new process is lowered to."""


def run(
    words: Sequence[str], environment: Mapping[str, str] | None = None, codes: Sequence[int] = (0,)
) -> tuple[str, float, float]:
    """(what it printed, seconds, peak RSS in MB) of Python with some words, in a process of its own.

    Raises:
        ClickException: it ended with another exit code.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=os.environ | {"MALLOC_ARENA_MAX": "2"} | dict(environment or {}),
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for: above
        out.seek(0)
        err.seek(0)
        told, complaint = out.read(), err.read()
    if process.returncode not in codes:
        raise click.ClickException(f"{' '.join(words[:4])} …: {told[-2000:]}{complaint[-2000:]}")
    return told, seconds, used.ru_maxrss / 1024


@contextmanager
def local_hub(home: Path) -> Iterator[dict[str, str]]:
    """A Hub on loopback; yields the environment that points a process at it."""
    with subprocess.Popen(
        [sys.executable, "-m", "hub"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()[1:]  # export NAME=VALUE …
            told = dict(one.split("=", 1) for one in words)
            yield told | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        finally:
            server.terminate()


def sizes(dist: Path) -> Iterator[str]:
    """Lines on the files of a built dataset."""
    import pyarrow.parquet as pq

    shards = sorted((dist / "data").glob("*.parquet"))
    groups = [
        metadata.row_group(k).total_byte_size
        for metadata in map(pq.read_metadata, shards)
        for k in range(metadata.num_row_groups)
    ]
    held = [one.stat().st_size for one in shards]
    yield f"{len(shards)} shards of {max(held) / 1e6:.1f} MB at most, {sum(held) / 1e6:,.1f} MB in all"
    yield f"{len(groups)} row groups of {max(groups) / 1e6:.1f} MB at most"
    other = {p.name: p.stat().st_size for p in dist.iterdir() if p.is_file()}
    yield ", ".join(f"{name} {size / 1e3:,.1f} kB" for name, size in sorted(other.items()))


@click.group()
def main() -> None:
    """Measure releases on this machine."""


@main.command()
@click.option("--rows", default=20_000, show_default=True, type=click.IntRange(min=8))
@click.option(
    "--model", default="mini", show_default=True, help="Its sources and figures are used."
)
@click.option("--shard-rows", default=256, show_default=True, type=click.IntRange(min=1))
def simulate(rows: int, model: str, shard_rows: int) -> None:
    """Sizes, seconds and peak memory of a release of so many rows: build, check, push, load.

    Random pictures stand in for the model, and a Hub in memory for the real one.
    """
    click.echo(
        f"{rows:,} rows, random pictures of 256 x 256, shards of {shard_rows}, one process each"
    )
    with tempfile.TemporaryDirectory() as folder:
        dist, cache = Path(folder, "dist"), Path(folder, "cache")
        once = ["-m", "benchmarks.release", "build-once"]
        build = [*once, str(rows), model, str(shard_rows), str(dist)]
        with local_hub(Path(folder, "home")) as hub:
            push = ["-m", "publish", "push", str(dist), "--repo", NAME, "--tag", TAG]
            for name, words, environment in (
                ("build", build, {}),
                ("check", ["-m", "publish", "check", str(dist)], {}),
                ("push, its check and reading back included", [*push, "--yes", "--json"], hub),
                ("push again: nothing to do", [*push, "--yes", "--json"], hub),
                ("load_dataset, all rows", ["-c", LOAD, str(cache)], hub),
            ):
                told, seconds, peak = run(words, environment)
                click.echo(f"{name:<42} {seconds:8.1f} s  {peak:8.1f} MB")
        click.echo(f"rows loaded: {int(told):,}")
        for line in sizes(dist):
            click.echo(line)


@main.command("build-once", hidden=True)
@click.argument("n", type=int)
@click.argument("model")
@click.argument("shard_rows", type=int)
@click.argument("out", type=click.Path(path_type=Path))
def build_once(n: int, model: str, shard_rows: int, out: Path) -> None:
    """Build once, random pictures for a model, with what a release of `mini` must say."""
    from benchmarks.publishing import build_random
    from publish.data.settings import CardSettings, Settings

    card = CardSettings(licence="cc-by-4.0", unmeasured=("memorisation", "obedience", "masks"))
    build_random(Settings(n=n, model=model, device="cpu", shard_rows=shard_rows, card=card), out)


@main.command()
@click.option("--n", default=20, show_default=True, help="Rows.", type=click.IntRange(min=1))
@click.option("--steps", default=20, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--precision", default="auto", type=click.Choice(PRECISION_NAMES))
@click.option("--model", default="mini", show_default=True)
def replay(n: int, steps: int, batch_size: int, precision: str, model: str) -> None:
    """Rows of a new dataset drawn again: in a new process, and in ones of lesser processors."""
    with tempfile.TemporaryDirectory() as folder:
        dist = Path(folder, "dist")
        build = f"-m publish build --n {n} --steps {steps} --batch-size {batch_size} --quiet"
        build += f" --precision {precision} --device cpu --workers 1 --no-filter --out {dist}"
        run([*build.split(), "--model", model])
        manifest = json.loads((dist / "manifest.json").read_text(encoding="utf-8"))
        click.echo(
            f"{n} rows, {manifest['config']['precision']}, {manifest['environment']['processor']}"
        )
        rows = [word for k in range(n) for word in ("--row", f"s0-{k:07d}")]
        for name, environment in LOWERED.items():
            words = ["-m", "publish", "replay", str(dist), *rows, "--json"]
            told, seconds, _ = run(words, environment, codes=(0, 3))
            done = json.loads(told)
            same = sum(one["identical"] for one in done)
            worst = max(one["max_difference"]["image"] for one in done)
            masks = sum(one["mask_changed"] for one in done) / n
            click.echo(
                f"{name:<16} {same} of {n} identical; grey levels apart at most {worst}; "
                f"{100 * masks:.3f} % of mask pixels changed; {seconds:.0f} s"
            )


if __name__ == "__main__":
    main()
