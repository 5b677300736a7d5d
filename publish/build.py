"""Plan -> shards -> everything else: the one file of publish that knows the order.

A shard is a pure function of (configuration, rank, rows withdrawn), and the manifest is written
after each. So a build that was killed goes on where it stopped and ends with the files of an
unbroken one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import PromptError
from lungsynth.output import check_writable
from publish.errata import read_errata, reconcile
from publish.manifest import (
    FIRST_VERSION,
    MANIFEST_NAME,
    Manifest,
    canonical_sha256,
    environment,
    read_finished,
    read_manifest,
)
from publish.plan import Plan
from publish.prompts import row_seed
from publish.schema import id2label, row
from publish.shards import locked, write_shard

if TYPE_CHECKING:
    from lungsynth.pipeline import Synthesizer


def build(the_plan: Plan, out: Path, *, quiet: bool = False) -> Manifest:
    """Draw a dataset into a folder, or what is missing of it.

    Args:
        the_plan: What to draw.
        out: The dataset folder.
        quiet: No progress bar.

    Returns:
        The finished manifest, also at `out/manifest.json`.

    Raises:
        ConfigError: the folder holds another dataset, or another process is writing it.
        OutputError: the folder cannot be written; finished shards stay.
        PromptError: a line of the file of prompts cannot be drawn.
    """
    from dataclasses import asdict

    from publish.card import read_human
    from publish.finish import collect_reports, finish, write_reports

    read_finished(out, the_plan.config, the_plan.names)  # refuses before anything is made
    reports = collect_reports(the_plan.settings, str(the_plan.config["model_hash"]))
    read_human(out)
    check_writable(out)
    with locked(out):
        withdrawn = read_errata(out)
        finished = read_finished(out, the_plan.config, the_plan.names)
        finished = reconcile(out, finished, withdrawn)
        version = read_manifest(out).version if (out / MANIFEST_NAME).exists() else FIRST_VERSION
        versions, card = environment(), asdict(the_plan.settings.card)

        def manifest() -> Manifest:
            shards = tuple(finished[name] for name in the_plan.names if name in finished)
            return Manifest(
                the_plan.config, id2label(the_plan.spec.classes), versions, shards,
                len(the_plan.names), version, card, withdrawn,
            )  # fmt: skip

        manifest().write(out)  # from now on the folder is this dataset's
        _draw(the_plan, out, finished, withdrawn, manifest, quiet)
        write_reports(out, reports)
        return finish(out, manifest())


def _draw(
    the_plan: Plan, out: Path, finished: dict[str, Any], withdrawn: Mapping[str, str],
    manifest: Any, quiet: bool,
) -> None:  # fmt: skip
    """Draw the shards that are not finished, the manifest after each."""
    from tqdm import tqdm

    synthesizer: Synthesizer | None = None
    with tqdm(total=int(the_plan.config["n"]), unit="row", disable=quiet) as bar:
        for split, rank, name in the_plan.shards:
            if name in finished:
                bar.update(finished[name].n_drawn)
                continue
            synthesizer = synthesizer or _load(the_plan)
            told = Footer(the_plan, split, rank)
            finished[name] = write_shard(
                _rows(the_plan, synthesizer, told, withdrawn, bar), the_plan.features, out, name,
                metadata=told.value, split=split,
            )  # fmt: skip
            manifest().write(out)


class Footer:
    """What a shard says of itself in its footer; filled while its rows are drawn."""

    def __init__(self, the_plan: Plan, split: str, rank: int) -> None:
        self.split, self.rank = split, rank
        self.config_sha256 = canonical_sha256(the_plan.config)
        self.rejected: list[dict[str, Any]] = []
        self.withdrawn: list[str] = []

    def value(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "config_sha256": self.config_sha256, "split": self.split, "rank": self.rank,
            "rejected": self.rejected, "withdrawn": sorted(self.withdrawn),
        }  # fmt: skip


def _load(the_plan: Plan) -> Synthesizer:
    """Load the checkpoint and check every line of a file of prompts before anything is drawn."""
    from lungsynth.pipeline import Synthesizer

    synthesizer = Synthesizer(str(the_plan.folder), device=str(the_plan.config["device"]))
    for number, text in enumerate(the_plan.prompts or (), 1):
        try:
            synthesizer.check(text)
        except PromptError as error:
            raise PromptError(f"--prompts, prompt {number}: {error}") from error
    return synthesizer


def _rows(
    the_plan: Plan, synthesizer: Synthesizer, told: Footer, withdrawn: Mapping[str, str], bar: Any
) -> Iterator[dict[str, Any]]:
    """The rows of a shard, drawn one batch at a time; those that fail go into its footer."""
    from lungsynth.sampling import SampleOptions

    config = the_plan.config
    indices = the_plan.indices(told.split, told.rank)
    asked = [the_plan.prompt(i) for i in indices]
    results = synthesizer.generate(
        [one.text for one in asked], [row_seed(int(config["seed"]), i) for i in indices],
        options=SampleOptions(
            steps=int(config["steps"]), guidance=float(config["guidance"]),
            scheduler=str(config["sampler"]),
        ),
        refine_config=the_plan.settings.refine, batch_size=int(config["batch_size"]),
        words=None if the_plan.spec.keep_attention else [],
    )  # fmt: skip
    for index, one, result in zip(indices, asked, results, strict=True):
        made = row(result, one, the_plan.spec, row_id=the_plan.row_id(index), split=told.split)
        bar.update(1)
        if the_plan.spec.limits.apply and made["qc_flags"]:
            told.rejected.append({
                "id": made["id"], "split": told.split, "prompt": made["prompt"],
                "seed": made["seed"], "reasons": made["qc_flags"],
            })  # fmt: skip
        elif made["id"] in withdrawn:
            told.withdrawn.append(made["id"])
        else:
            yield made
