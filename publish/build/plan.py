"""A dataset that is decided, but not drawn: settings -> which row goes into which shard."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungsynth import __version__
from lungsynth.about.figures import FIGURES_NAME
from lungsynth.about.sources import SOURCES_NAME
from lungsynth.arrays import IntArray
from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.masks.classes import CLASSES_NAME, load_classes
from lungsynth.masks.refine import check_config
from lungsynth.model.checkpoint import (
    VERIFIER_FOLDER,
    check_folder,
    resolve,
    shipped_names,
    weights_hash,
)
from lungsynth.model.options import SCHEDULERS, scheduler_label
from lungsynth.verify.verifier import verifier_folder
from publish.build.redraws import told_of_verifier
from publish.data.manifest import canonical_sha256
from publish.data.prompts import (
    GRAMMAR_VERSION,
    RowPrompt,
    check_prompts,
    make_prompt,
    prompt_group,
    read_prompts,
    split_of,
)
from publish.data.schema import SCHEMA_VERSION, RowSpec, features, id2label
from publish.data.settings import Settings
from publish.data.shards import shard_name

SHARE_TOLERANCE = 1e-6

ABOUT = (SOURCES_NAME, FIGURES_NAME, "words.json")
"""Files of a checkpoint that say what it was made from and how good it is."""

PARTS = ("tokens", "affinity", "student")
"""Folders of a checkpoint whose weights make masks; each has a column with its hash."""


@dataclass(frozen=True)
class Plan:
    """What to draw, and where each row goes."""

    config: dict[str, Any]  # everything that decides the rows, JSON; kept in the manifest
    folder: Path  # of the checkpoint
    spec: RowSpec  # what the rows have in common
    prompts: tuple[str, ...] | None  # of a file; None = the grammar
    rows: dict[str, IntArray]  # split -> row numbers, ascending
    settings: Settings
    verifier: Path | None = None  # folder of who may reject, see `publish.build.redraws`

    def n_shards(self, split: str) -> int:
        """Parquet files of a split."""
        return -(-len(self.rows[split]) // int(self.config["shard_rows"]))

    @property
    def shards(self) -> list[tuple[str, int, str]]:
        """(split, rank, name) of the shards, in order."""
        return [
            (split, rank, shard_name(rank, self.n_shards(split), split=split))
            for split in self.rows
            for rank in range(self.n_shards(split))
        ]

    @property
    def names(self) -> list[str]:
        """Names of the shards, in order."""
        return [name for _, _, name in self.shards]

    @property
    def features(self) -> Any:
        """Columns of the dataset."""
        spec = self.spec
        return features(
            spec.classes, keep_attention=spec.keep_attention, keep_probability=spec.keep_probability
        )

    def indices(self, split: str, rank: int) -> list[int]:
        """Row numbers of a shard."""
        size = int(self.config["shard_rows"])
        return [int(i) for i in self.rows[split][rank * size : (rank + 1) * size]]

    def prompt(self, index: int) -> RowPrompt:
        """What row `index` asks for."""
        return _prompt(self.prompts, int(self.config["seed"]), index)

    def row_id(self, index: int) -> str:
        """Name of row `index`."""
        return f"s{self.config['seed']}-{index:07d}"

    def preview(self) -> dict[str, Any]:
        """What a dry run shows; JSON."""
        first = range(min(3, int(self.config["n"])))
        return {
            "config": self.config,
            "config_sha256": canonical_sha256(self.config),
            "splits": {split: len(rows) for split, rows in self.rows.items()},
            "shards": self.names,
            "columns": list(self.features),
            "first_rows": [asdict(self.prompt(i)) for i in first],
        }


def _prompt(prompts: tuple[str, ...] | None, seed: int, index: int) -> RowPrompt:
    if prompts is not None:
        return RowPrompt(prompts[index % len(prompts)])
    return make_prompt(seed, index)


AS_SET = (
    *("n", "seed", "shard_rows", "batch_size", "steps", "guidance"),
    *("keep_attention", "keep_probability"),
)
"""Settings that a manifest repeats as they are."""


def plan(settings: Settings) -> Plan:
    """Decide everything about a dataset before a checkpoint is loaded.

    Raises:
        CheckpointError: there is no such checkpoint, or it is incomplete.
        ConfigError: it has no classes, so masks would mean something else in every row; a class
            or the sampler is unknown; the shares of the splits are wrong, or a split stays empty;
            the verifier also measures.
        DataError: the file of prompts cannot be read.
    """
    from lungsynth.model.precision import resolve_device, resolve_precision  # deferred: torch

    folder = checkpoint_folder(resolve(settings.model))
    specs = load_classes(folder, settings.convention)
    every = {spec.id: spec.name for spec in specs}
    convention = specs[0].convention if specs else ""
    classes = _chosen(every, settings.classes, folder)
    check_config(settings.refine)
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    prompts = _prompts(settings)
    rows = _split_rows(settings, prompts)
    sampler = scheduler_name(folder, settings.scheduler)
    verifier = None if settings.verifier is None else verifier_folder(settings.verifier, folder)
    hashes = {f"{part}_hash": _part_hash(folder, part) for part in PARTS}
    config = {
        **{name: getattr(settings, name) for name in AS_SET},
        "sampler": settings.scheduler,
        "scheduler": sampler,
        "precision": precision,
        "refine": asdict(settings.refine),
        "convention": convention,
        # the set of classes, such as "nlm-heart", where it is not called like its convention
        "class_set": settings.convention if settings.convention not in (None, convention) else "",
        "device": device,
        "prompts": {"grammar": GRAMMAR_VERSION}
        if prompts is None
        else {"n": len(prompts), "sha256": hashlib.sha256("\n".join(prompts).encode()).hexdigest()},
        "splits": dict(settings.splits),
        "filter": asdict(settings.filter),
        "model": folder.resolve().name,
        "model_hash": weights_hash(str(folder)),
        "model_settings_sha256": settings_sha256(folder),
        **hashes,
        "classes": id2label(classes),
        **told_of_verifier(verifier, settings.redraws),
        "schema_version": SCHEMA_VERSION,
        "code_version": __version__,
    }
    config = json.loads(json.dumps(config))  # as the manifest gives it back: lists, not tuples
    spec = RowSpec.of(config, specs)
    made = Plan(config, folder, spec, prompts, rows, settings, verifier)
    _ = made.features  # refuses classes that cannot be columns
    return made


def checkpoint_folder(where: str) -> Path:
    """A checkpoint folder that is complete.

    Raises:
        CheckpointError: it is not there, or incomplete.
    """
    folder = Path(where)
    if not folder.is_dir():
        raise CheckpointError(
            f"--model {folder}: no such folder; expected a folder or a shipped name "
            f"({', '.join(shipped_names()) or 'none'}). Download a Hub model and give its folder."
        )
    check_folder(folder)
    return folder


def _chosen(every: dict[int, str], wanted: tuple[str, ...] | None, folder: Path) -> dict[int, str]:
    if not every:
        raise ConfigError(
            f"--model {folder}: no {CLASSES_NAME}, so its masks have no fixed classes. Learn class "
            "tokens first, or use the shipped checkpoint."
        )
    if wanted is None:
        return every
    unknown = [name for name in wanted if name not in every.values()]
    if unknown or not wanted:
        raise ConfigError(
            f"--classes: {(unknown or [''])[0]!r} is no class of {folder.name}; expected "
            f"some of: {', '.join(every.values())}."
        )
    return {value: name for value, name in every.items() if name in wanted}


def _prompts(settings: Settings) -> tuple[str, ...] | None:
    if settings.prompts is None:
        return None
    if isinstance(settings.prompts, str):
        return tuple(read_prompts(Path(settings.prompts), settings.prompt_column))
    return tuple(check_prompts(settings.prompts, "prompts"))


def _split_rows(settings: Settings, prompts: tuple[str, ...] | None) -> dict[str, IntArray]:
    """Split -> row numbers; rows of one prompt group are never apart."""
    shares = settings.splits
    bad = [name for name in shares if not name.isidentifier()]
    if bad or not shares:
        raise ConfigError(f"splits: {bad or 'none'}; expected names of letters, digits and _.")
    if any(share <= 0 for share in shares.values()) or (
        abs(sum(shares.values()) - 1) > SHARE_TOLERANCE
    ):
        raise ConfigError(
            f"splits: shares {list(shares.values())} add up to {sum(shares.values()):g}; expected "
            "positive shares that add up to 1."
        )
    if len(shares) == 1:
        return {name: np.arange(settings.n) for name in shares}
    known: dict[str, int] = {}
    order = {name: k for k, name in enumerate(shares)}
    which = np.empty(settings.n, np.uint8)
    for index in range(settings.n):
        group = prompt_group(_prompt(prompts, settings.seed, index).text)
        if group not in known:
            known[group] = order[split_of(group, settings.seed, shares)]
        which[index] = known[group]
    rows = {name: np.flatnonzero(which == k).astype(np.int64) for name, k in order.items()}
    empty = [name for name, held in rows.items() if not len(held)]
    if empty:
        raise ConfigError(
            f"splits: {empty[0]!r} gets none of {settings.n} rows, for there are only {len(known)} "
            "different prompts and a prompt is never in two splits. Give it a larger share, or "
            "leave it out."
        )
    return rows


def scheduler_name(folder: Path, sampler: str = "default") -> str:
    """Class name of the sampler, with its spacing where that is not the usual one.

    Raises:
        CheckpointError: the checkpoint does not say.
        ConfigError: the name is unknown.
    """
    if sampler != "default":
        if sampler not in SCHEDULERS:
            raise ConfigError(
                f"Scheduler {sampler!r} is unknown; there are default, {', '.join(SCHEDULERS)}."
            )
        return SCHEDULERS[sampler].label
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        return scheduler_label(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: does not name a scheduler ({error!r}).") from error


def settings_sha256(folder: Path) -> str:
    """SHA-256 over a checkpoint's JSON files by name and content: tokenizer, schedule, classes.

    What only tells about the checkpoint (`ABOUT`) and its verifier, which a build that uses it names
    by itself, are left out: no pixel depends on them.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if name in ABOUT or name.startswith(f"{VERIFIER_FOLDER}/"):
            continue
        digest.update(name.encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _part_hash(folder: Path, part: str) -> str:
    """16 hex digits over the weights in one folder of a checkpoint; "" when there are none."""
    if not any((folder / part).rglob("*.safetensors")):
        return ""
    return weights_hash(str(folder / part))
