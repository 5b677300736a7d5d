"""Drawing one shard: what every worker does, in this process, in another, or on another machine."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import ConfigError, PromptError
from lungsynth.masks.registry import RefineConfig
from lungsynth.model.options import SampleOptions
from lungsynth.verify.asked import asked_fields
from lungsynth.verify.redraw import redraw
from publish.build.plan import Plan
from publish.build.pool import count_row
from publish.build.redraws import flags_of, rejections, verifier_of
from publish.data.manifest import canonical_sha256, environment
from publish.data.prompts import row_seed
from publish.data.schema import row
from publish.data.shards import Shard, write_shard

if TYPE_CHECKING:
    from lungsynth.pipeline import Result, Synthesizer

THREADS = 1
"""Threads that draw a shard. Sums of floats depend on how many share them: two threads move up to
three pixels of a picture by one grey level. So the number is fixed, and workers are processes."""


@dataclass(frozen=True, slots=True)
class Order:
    """A shard to draw."""

    split: str
    rank: int  # within its split
    name: str  # of the file, below the dataset folder
    indices: Sequence[int]  # row numbers


@dataclass(frozen=True)
class Job:
    """Everything a worker must know of a dataset to draw any of its shards."""

    plan: Plan  # without its rows, which grow with the dataset
    out: Path  # the dataset folder, absolute
    withdrawn: dict[str, str]  # row -> why it was taken out
    versions: dict[str, str]  # of the libraries of the process that leads


def make_job(the_plan: Plan, out: Path, withdrawn: Mapping[str, str]) -> Job:
    """The job of a plan; it is the same for every shard, and small."""
    verifier = the_plan.verifier.absolute() if the_plan.verifier is not None else None
    lean = replace(the_plan, folder=the_plan.folder.absolute(), verifier=verifier, rows={})
    return Job(lean, out.absolute(), dict(withdrawn), environment())


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Compute with `THREADS` threads, so that the same row gives the same pixels."""
    import torch  # deferred: slow to import
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with threadpool_limits(THREADS):
            yield
    finally:
        torch.set_num_threads(before)


def load(folder: Path, config: Mapping[str, Any], *, device: str | None = None) -> Synthesizer:
    """Load the checkpoint that a dataset is drawn with, onto a device; None for that of the
    configuration.

    Raises:
        CheckpointError, ConfigError: it cannot be loaded, or not onto the device.
    """
    from lungsynth.pipeline import Synthesizer  # deferred: imports torch

    return Synthesizer(
        str(folder),
        device=device or str(config["device"]),
        classes=config.get("class_set") or config["convention"] or None,
    )


def check_all_prompts(the_plan: Plan) -> None:
    """Check every line of a file of prompts before anything is drawn.

    Raises:
        PromptError: naming the line that cannot be drawn.
    """
    if the_plan.prompts is None:
        return
    from transformers import CLIPTokenizer  # deferred: slow to import

    from lungsynth.model.checkpoint import quiet_libraries  # deferred: imports torch
    from lungsynth.prompts import Vocabulary, read_prompt

    with quiet_libraries():
        tokenizer = CLIPTokenizer.from_pretrained(str(the_plan.folder / "tokenizer"))
    words = Vocabulary.load(the_plan.folder)
    for number, text in enumerate(the_plan.prompts, 1):
        try:
            read_prompt(text, tokenizer, words)
        except PromptError as error:
            raise PromptError(f"--prompts, prompt {number}: {error}") from error


def draw_shard(
    job: Job, order: Order, synthesizer: Synthesizer, on_row: Callable[[], Any] = lambda: None
) -> Shard:
    """Draw one shard into the dataset folder, with `on_row` called after each row. Its bytes depend
    on the plan and the order only.

    Raises:
        OutputError: it cannot be written; nothing of it stays.
    """
    told = _footer(job.plan, order)
    with fixed_threads():
        return write_shard(
            _rows(job, order, synthesizer, told, on_row),
            job.plan.features,
            job.out,
            order.name,
            metadata=told,
            split=order.split,
        )


def draw_rows(
    synthesizer: Synthesizer,
    config: Mapping[str, Any],
    prompts: Sequence[str],
    seeds: Sequence[int],
    refine: RefineConfig,
    batch_size: int,
) -> Iterator[Result]:
    """Draw rows as a configuration says, `batch_size` of them together."""
    return synthesizer.generate(
        prompts,
        list(seeds),
        options=SampleOptions(
            steps=int(config["steps"]),
            guidance=float(config["guidance"]),
            scheduler=str(config["sampler"]),
            precision=str(config["precision"]),
        ),
        refine_config=refine,
        batch_size=batch_size,
        words=None if config["keep_attention"] else [],
    )


class Drawer:
    """Draws shards in a process of its own: loads the checkpoint at the first, then keeps it.

    Only its job travels to the process, never the checkpoint.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._synthesizer: Synthesizer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "_synthesizer": None}

    def __call__(self, order: Order) -> Shard:
        """See `draw_shard`.

        Raises:
            ConfigError: libraries or weights differ from those of the process that leads, and so
                would pixels.
        """
        if self._synthesizer is None:
            self._synthesizer = self._load()
        return draw_shard(self.job, order, self._synthesizer, count_row)

    def _load(self) -> Synthesizer:
        here, leader = environment(), self.job.versions
        differing = [
            f"{k} {here.get(k)}, not {leader[k]}" for k in leader if here.get(k) != leader[k]
        ]
        if differing:
            raise ConfigError(
                f"this worker has {'; '.join(differing)}, so its pixels would differ. Install the "
                "same environment on every machine."
            )
        synthesizer = load(self.job.plan.folder, self.job.plan.config)
        wanted = self.job.plan.config["model_hash"]
        if synthesizer.model_hash != wanted:
            raise ConfigError(
                f"{self.job.plan.folder}: weights {synthesizer.model_hash} on this worker, "
                f"{wanted} where the build was started. Give every machine the same checkpoint."
            )
        return synthesizer


def _footer(the_plan: Plan, order: Order) -> dict[str, Any]:
    """What a shard says of itself; its lists are filled while its rows are drawn."""
    verifier = the_plan.config.get("verifier")
    return {
        "config_sha256": canonical_sha256(the_plan.config),
        "split": order.split,
        "rank": order.rank,
        "rejected": [],
        "withdrawn": [],  # sorted
        # drawings it rejected
        **({"verifier": verifier["verifier"], "redrawn": []} if verifier else {}),
    }


def _kept(
    the_plan: Plan,
    order: Order,
    draw: Callable[[Sequence[int], Sequence[int]], Iterator[Result]],
    seeds: Sequence[int],
    texts: Sequence[str],
    told: dict[str, Any],
) -> Iterator[tuple[Result, list[str]]]:
    """What is drawn, or of what is drawn again what is kept; with why the verifier rejects it still."""
    if the_plan.verifier is None:
        for result in draw(range(len(seeds)), seeds):
            yield result, []
        return
    config = the_plan.config
    every = redraw(
        lambda own, with_seeds: list(draw(own, with_seeds)),
        lambda result: result.image,
        seeds,
        [asked_fields(one) for one in texts],
        verifier_of(the_plan.verifier, config),
        int(config["verifier"]["redraws"]),
        batch_size=int(config["batch_size"]),
    )
    for index, kept in zip(order.indices, every, strict=True):
        told["redrawn"] += rejections(the_plan.row_id(index), order.split, kept)
        yield kept.value, flags_of(kept)


def _rows(
    job: Job,
    order: Order,
    synthesizer: Synthesizer,
    told: dict[str, Any],
    on_row: Callable[[], Any],
) -> Iterator[dict[str, Any]]:
    """The rows of a shard, drawn one batch at a time; those that fail go into its footer."""
    the_plan, config = job.plan, job.plan.config
    asked = [the_plan.prompt(i) for i in order.indices]
    texts = [one.text for one in asked]

    def draw(own: Sequence[int], seeds: Sequence[int]) -> Iterator[Result]:
        refine, size = the_plan.settings.refine, int(config["batch_size"])
        return draw_rows(synthesizer, config, [texts[k] for k in own], seeds, refine, size)

    seeds = [row_seed(int(config["seed"]), i) for i in order.indices]
    results = _kept(the_plan, order, draw, seeds, texts, told)
    for index, one, (result, flags) in zip(order.indices, asked, results, strict=True):
        made = row(result, one, the_plan.spec, row_id=the_plan.row_id(index), split=order.split)
        made["qc_flags"] += flags
        on_row()
        if the_plan.spec.limits.apply and made["qc_flags"]:
            told["rejected"].append(
                {
                    "id": made["id"],
                    "split": order.split,
                    "prompt": made["prompt"],
                    "seed": made["seed"],
                    "reasons": made["qc_flags"],
                }
            )
        elif made["id"] in job.withdrawn:
            insort(told["withdrawn"], made["id"])
        else:
            yield made
