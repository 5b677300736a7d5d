"""Plan -> shards -> manifest, card: the one file of publish that knows the order.

A shard is a pure function of (configuration, rank), and the manifest is written after each. So a
build that was killed goes on where it stopped and ends with the files of an unbroken one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth import __version__
from lungsynth.errors import CheckpointError, ConfigError, PromptError
from lungsynth.output import check_writable
from publish.manifest import Manifest, canonical_sha256, environment, json_bytes, read_finished
from publish.prompts import (
    GRAMMAR_VERSION,
    RowPrompt,
    make_prompt,
    prompts_sha256,
    read_prompts,
    row_seed,
)
from publish.schema import SCHEMA_VERSION, features, id2label, row
from publish.shards import shard_name, write_atomic, write_shard

if TYPE_CHECKING:
    from lungsynth.pipeline import Synthesizer


@dataclass(frozen=True)
class Plan:
    """A dataset that is decided, but not drawn."""

    config: dict[str, Any]  # everything that decides the rows, JSON; kept in the manifest
    folder: Path  # of the checkpoint
    classes: dict[int, str]  # mask value -> name
    prompts: tuple[str, ...] | None  # of a file; None = the grammar
    batch_size: int  # pictures drawn together

    @property
    def n_shards(self) -> int:
        """Parquet files."""
        return -(-int(self.config["n"]) // int(self.config["shard_rows"]))

    @property
    def names(self) -> list[str]:
        """Names of the shards, in order."""
        return [shard_name(rank, self.n_shards) for rank in range(self.n_shards)]

    def indices(self, rank: int) -> range:
        """Row numbers of a shard."""
        size = int(self.config["shard_rows"])
        return range(rank * size, min((rank + 1) * size, int(self.config["n"])))

    def prompt(self, index: int) -> RowPrompt:
        """What row `index` asks for."""
        if self.prompts is not None:
            return RowPrompt(self.prompts[index % len(self.prompts)])
        return make_prompt(int(self.config["seed"]), index)

    def preview(self) -> dict[str, Any]:
        """What a dry run shows; JSON."""
        first = range(min(3, int(self.config["n"])))
        return {
            "config": self.config,
            "config_sha256": canonical_sha256(self.config),
            "shards": self.names,
            "columns": list(features(self.classes)),
            "first_rows": [asdict(self.prompt(i)) for i in first],
        }


def plan(
    *, n: int, seed: int = 0, shard_rows: int = 256, model: str | None = None, steps: int = 20,
    guidance: float = 1.5, prompts_file: Path | None = None, batch_size: int = 1,
    device: str = "auto",
) -> Plan:  # fmt: skip
    """Decide everything about a dataset before a checkpoint is loaded.

    Args:
        n: Rows.
        seed: Decides every prompt and every picture.
        shard_rows: Rows a shard.
        model: Shipped name or folder; None for the shipped default.
        steps: Denoising steps.
        guidance: Classifier-free guidance scale; 1 = off.
        prompts_file: One prompt a line, taken in turn; None for the grammar.
        batch_size: Pictures drawn together.
        device: "auto", "cpu", "cuda" …

    Raises:
        CheckpointError: there is no such checkpoint, or it is incomplete.
        ConfigError: it has no classes, so masks would mean something else in every row.
        DataError: the file of prompts cannot be read.
    """
    from lungsynth.checkpoint import check_folder, resolve, shipped_names, weights_hash
    from lungsynth.classes import CLASSES_NAME, load_classes
    from lungsynth.refine import RefineConfig

    folder = Path(resolve(model))
    if not folder.is_dir():
        raise CheckpointError(
            f"--model {folder}: no such folder; expected a folder or a shipped name "
            f"({', '.join(shipped_names()) or 'none'}). Download a Hub model and give its folder."
        )
    check_folder(folder)
    classes = {spec.id: spec.name for spec in load_classes(folder)}
    if not classes:
        raise ConfigError(
            f"--model {folder}: no {CLASSES_NAME}, so its masks have no fixed classes. Learn class "
            "tokens first, or use the shipped checkpoint."
        )
    features(classes)  # refuses classes that cannot be columns
    prompts = tuple(read_prompts(prompts_file)) if prompts_file is not None else None
    config = {
        "n": n, "seed": seed, "shard_rows": shard_rows, "batch_size": batch_size,
        "steps": steps, "guidance": guidance, "scheduler": scheduler_name(folder),
        "refine": asdict(RefineConfig()), "device": resolve_device(device),
        "prompts": {"grammar": GRAMMAR_VERSION} if prompts is None
        else {"n": len(prompts), "sha256": prompts_sha256(prompts)},
        "model": folder.resolve().name,
        "model_hash": weights_hash(str(folder)),
        "model_settings_sha256": settings_sha256(folder),
        "classes": id2label(classes),
        "schema_version": SCHEMA_VERSION, "code_version": __version__,
    }  # fmt: skip
    return Plan(config, folder, classes, prompts, batch_size)


def resolve_device(name: str) -> str:
    """`auto` -> cuda when there is one, else cpu."""
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def scheduler_name(folder: Path) -> str:
    """Class name of a checkpoint's sampler.

    Raises:
        CheckpointError: the checkpoint does not say.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: does not name a scheduler ({error!r}).") from error


def settings_sha256(folder: Path) -> str:
    """SHA-256 over a checkpoint's JSON files by name and content: tokenizer, schedule, classes."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.json")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def build(the_plan: Plan, out: Path, *, quiet: bool = False) -> Manifest:
    """Draw a dataset into a folder, or what is missing of it.

    Args:
        the_plan: What to draw.
        out: The dataset folder.
        quiet: No progress bar.

    Returns:
        The finished manifest, also at `out/manifest.json`.

    Raises:
        ConfigError: the folder holds another dataset.
        OutputError: the folder cannot be written; finished shards stay.
        PromptError: a line of the file of prompts cannot be drawn.
    """
    from tqdm import tqdm

    from publish.card import make_card

    finished = read_finished(out, the_plan.config, the_plan.names)
    check_writable(out)
    versions = environment()

    def manifest() -> Manifest:
        shards = tuple(finished[name] for name in the_plan.names if name in finished)
        return Manifest(
            the_plan.config, id2label(the_plan.classes), versions, shards, the_plan.n_shards
        )

    manifest().write(out)  # from now on the folder is this dataset's
    synthesizer: Synthesizer | None = None
    with tqdm(total=int(the_plan.config["n"]), unit="row", disable=quiet) as bar:
        for rank, name in enumerate(the_plan.names):
            if name in finished:
                bar.update(finished[name].n_rows)
                continue
            synthesizer = synthesizer or _load(the_plan)
            finished[name] = write_shard(
                _rows(the_plan, synthesizer, rank, bar), features(the_plan.classes), out, name,
                metadata={"config_sha256": canonical_sha256(the_plan.config), "rank": rank},
            )  # fmt: skip
            manifest().write(out)
    write_atomic(out / "id2label.json", json_bytes(id2label(the_plan.classes)))
    write_atomic(out / "README.md", make_card(manifest(), out).encode())
    return manifest()


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
    the_plan: Plan, synthesizer: Synthesizer, rank: int, bar: Any
) -> Iterator[dict[str, Any]]:
    """The rows of a shard, drawn one batch at a time."""
    from lungsynth.sampling import SampleOptions

    config = the_plan.config
    indices = the_plan.indices(rank)
    asked = [the_plan.prompt(i) for i in indices]
    results = synthesizer.generate(
        [one.text for one in asked], [row_seed(int(config["seed"]), i) for i in indices],
        options=SampleOptions(steps=int(config["steps"]), guidance=float(config["guidance"])),
        batch_size=the_plan.batch_size,
    )  # fmt: skip
    for index, one, result in zip(indices, asked, results, strict=True):
        yield row(
            result, one, the_plan.classes, row_id=f"s{config['seed']}-{index:07d}",
            scheduler=str(config["scheduler"]), model=str(config["model"]),
        )  # fmt: skip
        bar.update(1)
