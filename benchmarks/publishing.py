"""`python -m benchmarks.publishing throughput | writing | memory`: how fast, and in how little memory.

`throughput` draws with the real checkpoint. `writing` and `memory` replace the model by random
pictures of 256 × 256 pixels, so that what is measured is the publisher: encoding, Parquet, figures,
card.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.release import run
from lungsynth.model.options import PRECISION_NAMES, SampleOptions

if TYPE_CHECKING:
    from publish.data.settings import Settings

CLASSES = {1: "left lung", 2: "right lung"}
GUIDANCE = SampleOptions.guidance  # the default of `publish build`


class RandomPictures:
    """Stands in for a Synthesizer: smooth random pictures with two ellipses as masks."""

    def __init__(self, pixels: int = 256) -> None:
        self.pixels = pixels

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], **_: Any) -> Iterator[Any]:
        """As `lungsynth.pipeline.Synthesizer.generate`."""
        y, x = np.mgrid[: self.pixels, : self.pixels] / self.pixels
        mask = np.zeros((self.pixels, self.pixels), np.uint8)
        mask[((x - 0.3) / 0.12) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1] = 2
        mask[((x - 0.7) / 0.12) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1] = 1
        soft = np.stack([mask == k for k in range(3)]).astype(np.float32) * 0.9 + 0.03
        scores = {n: {"area": 0.11, "parts": 1, "stability": 0.95} for n in CLASSES.values()}
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = np.random.default_rng(seed)
            yield SimpleNamespace(
                image=(100 + 60 * x + rng.integers(0, 32, mask.shape)).astype(np.uint8),
                mask=mask,
                seed=seed,
                probability=soft + rng.random(mask.shape, np.float32) * 0.02,
                maps={},
                prompt=SimpleNamespace(text=prompt),
                record={
                    "options": {"steps": 1, "guidance": 1.0, "precision": "fp32"},
                    "scores": scores,
                    "refine": {"method": "none"},
                    "model_hash": "0" * 16,
                    "code_version": "0",
                    "nn_train_distance": 1.0,
                },
            )


def build_random(settings: Settings, out: Path) -> None:
    """Build a dataset by one worker, random pictures for those of a model, in this process."""
    from publish.build import run as building
    from publish.build.plan import plan

    stand_in: Any = RandomPictures()
    building._load = lambda *_: stand_in
    building.build(plan(settings), out, workers=1, quiet=True)


def peak_of_build(n: int, model: str, out: Path) -> tuple[float, float]:
    """(peak RSS in MB, seconds) of building `n` rows in a process of its own.

    Args:
        n: Rows.
        model: Checkpoint folder the plan is made from; not drawn with.
        out: The dataset folder.
    """
    told, _, _ = run(["-m", "benchmarks.publishing", "build-once", str(n), model, str(out)])
    done = json.loads(told)
    return float(done["peak_mb"]), float(done["seconds"])


@click.group()
def main() -> None:
    """Measure the publisher on this machine."""


@main.command("build-once", hidden=True)
@click.argument("n", type=int)
@click.argument("model")
@click.argument("out", type=click.Path(path_type=Path))
def build_once(n: int, model: str, out: Path) -> None:
    """Build once and print the peak memory of this process."""
    from publish.data.settings import Settings

    begun = time.perf_counter()
    build_random(Settings(n=n, model=model, device="cpu"), out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    click.echo(json.dumps({"peak_mb": peak, "seconds": time.perf_counter() - begun}))


@main.command()
@click.option("--rows", default="1000,10000", show_default=True, help="Sizes, commas between.")
@click.option("--model", default="mini", show_default=True)
def memory(rows: str, model: str) -> None:
    """Peak RSS of builds of several sizes, one worker; the last line is the ratio of the last to the first.

    Random pictures stand in for the model, whose memory does not depend on the number of rows.
    """
    click.echo("random pictures of 256 x 256 stand in for the model")
    peaks = []
    for n in map(int, rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            peak, seconds = peak_of_build(n, model, Path(folder, "dist"))
        peaks.append(peak)
        click.echo(f"{n:>8,} rows  {peak:8.1f} MB  {n / seconds:7.1f} rows/s")
    click.echo(f"ratio {peaks[-1] / peaks[0]:.3f}")


@main.command()
@click.option("--n", default=512, show_default=True, help="Rows.")
@click.option("--repeats", default=5, show_default=True)
def writing(n: int, repeats: int) -> None:
    """Rows/s of write_shard and of Dataset.to_parquet, on the same rows; best of several."""
    from datasets import Dataset

    from publish.data.prompts import RowPrompt
    from publish.data.schema import RowSpec, features, row
    from publish.data.shards import write_shard

    spec = RowSpec(classes=CLASSES, all_classes=CLASSES, n_parts=dict.fromkeys(CLASSES.values(), 1))
    drawn = RandomPictures().generate(["A film"] * n, range(n))
    rows = [
        row(one, RowPrompt("A film"), spec, row_id=f"s0-{i:07d}") for i, one in enumerate(drawn)
    ]
    kept = features(CLASSES)
    times: dict[str, list[float]] = {"write_shard": [], "Dataset.to_parquet": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            begun = time.perf_counter()
            write_shard(rows, kept, Path(folder), "data/a.parquet", metadata={})
            times["write_shard"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            Dataset.from_list(rows, features=kept).to_parquet(f"{folder}/b.parquet")
            times["Dataset.to_parquet"].append(time.perf_counter() - begun)
    for name, taken in times.items():
        click.echo(f"{name:<20} {n / min(taken):8.0f} rows/s")
    click.echo(f"ratio {min(times['Dataset.to_parquet']) / min(times['write_shard']):.2f}")


def seconds_of_build(n: int, options: Sequence[str]) -> float:
    """Seconds of `python -m publish build --n N …`, from its start to its end, into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        words = f"-m publish build --n {n} --quiet --out".split()
        subprocess.run(
            [sys.executable, *words, f"{folder}/dist", *options],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
        )
        return time.perf_counter() - begun


def bare_rate(n: int, model: str, steps: int, batch_size: int, precision: str) -> float:
    """Images/s of diffusers' own pipeline: no maps, no masks, nothing written.

    With torch's own number of threads, and channels last, which is faster on a CPU. The first batch
    is not counted.
    """
    import torch

    from lungsynth.model.backbone import network
    from lungsynth.model.checkpoint import load_pipeline
    from lungsynth.model.precision import rounded
    from publish.data.prompts import make_prompt

    pipe, _ = load_pipeline(model)
    network(pipe).to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    prompts = [make_prompt(0, i).text for i in range(n)]
    generator = torch.Generator().manual_seed(0)

    def draw(texts: list[str]) -> None:
        with rounded("cpu", precision), torch.inference_mode():
            pipe(texts, num_inference_steps=steps, guidance_scale=GUIDANCE, generator=generator)

    draw(prompts[:batch_size])
    begun = time.perf_counter()
    for start in range(0, n, batch_size):
        draw(prompts[start : start + batch_size])
    return n / (time.perf_counter() - begun)


@main.command()
@click.option("--n", default=128, show_default=True, help="Pairs, and images, to draw.")
@click.option("--steps", default=20, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--precision", type=click.Choice(PRECISION_NAMES), default="auto", show_default=True)
@click.option("--model", default="mini", show_default=True)
@click.option("--workers", default=None, type=int, help="Of the build.  [default: one a core]")
def throughput(
    n: int, steps: int, batch_size: int, precision: str, model: str, workers: int | None
) -> None:
    """Pairs/s of `publish build` over images/s of the bare diffusers pipeline, on the CPU.

    Same steps, guidance, batch and number format; each with all cores, in its own way: the build by
    processes of one thread, the pipeline by torch's threads. The pipeline is timed before and after
    the build. Of the build, a small one is subtracted, which costs its start and its end: what is
    left is the rate of a long one. The rate with start and end is printed, too.
    """
    from publish.build.pool import usable_cores

    workers = workers or usable_cores()
    shard = max(batch_size, n // workers // batch_size * batch_size)
    given = f"--steps {steps} --guidance {GUIDANCE} --batch-size {batch_size}"
    given += f" --precision {precision} --device cpu --workers {workers} --no-filter"
    options = ["--model", model, *given.split()]
    small = workers * batch_size
    if n <= small:
        raise click.BadParameter(
            f"{n}; expected more than {small} ({workers} batches).", param_hint="--n"
        )
    click.echo(
        f"{model}, {steps} steps, guidance {GUIDANCE:g}, batches of {batch_size}, {precision}"
    )
    before = bare_rate(n, model, steps, batch_size, precision)
    click.echo(f"bare pipeline, before {before:8.3f} images/s")
    start = seconds_of_build(small, [*options, "--shard-rows", str(batch_size)])
    whole = seconds_of_build(n, [*options, "--shard-rows", str(shard)])
    rate = (n - small) / (whole - start)
    click.echo(
        f"build, {workers} worker(s) {rate:10.3f} pairs/s; with start and end {n / whole:.3f}"
    )
    after = bare_rate(n, model, steps, batch_size, precision)
    click.echo(f"bare pipeline, after  {after:8.3f} images/s")
    click.echo(f"ratio {2 * rate / (before + after):.3f}")


if __name__ == "__main__":
    main()
