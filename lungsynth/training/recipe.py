"""A recipe: everything that hangs on a checkpoint's weights, as steps that are skipped when unchanged.

    data: {nlm: nlm.parquet}          # name -> source, relative to the file
    steps:
      - name: token heart
        command: learn-token --data {nlm} --class heart … --checkpoint {checkpoint}
        reads: [unet, vae]            # parts of the checkpoint it depends on
        writes: [tokens/heart-nlm.safetensors]

`{checkpoint}`, `{out}` (a folder of the step's own) and the names of `data` are filled in. A step is
known by a hash of its command, of the bytes of the sources it names and of the parts it reads; where
what it wrote is still there, as it was written under that hash, it is skipped. So the same command
again resumes, and after a change does only what hangs on the change.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lungsynth.errors import ConfigError, DataError
from lungsynth.files import file_sha256, write_whole
from lungsynth.images import slug

STATE_NAME = "steps.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a recipe."""

    name: str
    command: str  # with {names}
    reads: tuple[str, ...]  # files and folders of the checkpoint, relative to it
    writes: tuple[str, ...]  # likewise
    optional: bool = False  # left out, with a word, where a source it names is not given


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps and their sources."""

    steps: tuple[Step, ...]
    data: Mapping[str, str]  # name -> source


def read_recipe(path: Path, data: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML, see the module.
        data: Name -> source, in place of the file's.

    Raises:
        DataError: it cannot be read.
        ConfigError: not as described, or a command names what is not given.
    """
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    try:
        sources = {str(k): _placed(str(v), path.parent) for k, v in spec.get("data", {}).items()}
        steps = tuple(
            Step(
                str(one["name"]),
                " ".join(str(one["command"]).split()),
                _names(one.get("reads", ())),
                _names(one["writes"]),
                bool(one.get("optional", False)),
            )
            for one in spec["steps"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: {error!r}; expected `data: {{NAME: SOURCE}}` and `steps:` with name, command, "
            "reads and writes."
        ) from error
    names = [step.name for step in steps]
    if not steps or len(set(names)) != len(names):
        raise ConfigError(f"{path}: steps {names}; expected one or more with different names.")
    recipe = Recipe(steps, {**sources, **(data or {})})
    for step in steps:
        try:
            filled = step.command.format_map(dict.fromkeys(fields_of(step), "x"))
            shlex.split(filled)
        except (ValueError, LookupError) as error:
            raise ConfigError(
                f"{path}: the command of step {step.name!r} cannot be read ({error})."
            ) from error
        unknown = sorted(fields_of(step) - set(recipe.data) - {"checkpoint", "out"})
        if unknown and not step.optional:
            raise ConfigError(
                f"{path}: step {step.name!r} names {unknown[0]!r}, which is not given. Add it to "
                f"`data`, or pass --data {unknown[0]}=SOURCE."
            )
    return recipe


def _names(value: Any) -> tuple[str, ...]:
    """Of one file or folder, or of a list of them."""
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _placed(source: str, folder: Path) -> str:
    return str(folder / source) if (folder / source).exists() else source


def fields_of(step: Step) -> set[str]:
    """Names in braces of its command."""
    return {name for _, name, _, _ in string.Formatter().parse(step.command) if name}


def arguments(step: Step, recipe: Recipe, checkpoint: Path, out: Path) -> list[str]:
    """The command's arguments, everything filled in."""
    values = {k: shlex.quote(v) for k, v in recipe.data.items()}
    values |= {"checkpoint": shlex.quote(str(checkpoint)), "out": shlex.quote(str(out))}
    return shlex.split(step.command.format_map(values))


def step_key(step: Step, recipe: Recipe, checkpoint: Path) -> str:
    """16 hexadecimal digits of everything the step depends on.

    Raises:
        DataError: a source or a part of the checkpoint is not there.
    """
    digest = hashlib.sha256(step.command.encode())
    for name in sorted(fields_of(step) & set(recipe.data)):
        digest.update(f"{name}={content_hash(Path(recipe.data[name]))}".encode())
    for part in step.reads:
        digest.update(f"{part}={content_hash(checkpoint / part)}".encode())
    return digest.hexdigest()[:16]


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's files."""
    if path.is_file():
        stat = path.stat()
        return _file_hash(str(path), stat.st_size, stat.st_mtime_ns)
    if not path.is_dir():
        raise DataError(f"{path}: not there, and a step depends on it.")
    digest = hashlib.sha256()
    for one in sorted(path.rglob("*")):
        if one.is_file():
            stat = one.stat()
            told = _file_hash(str(one), stat.st_size, stat.st_mtime_ns)
            digest.update(f"{one.relative_to(path).as_posix()}={told}".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)
def _file_hash(path: str, _size: int, _time: int) -> str:
    return file_sha256(Path(path))


class State:
    """Which steps are done, in `runs/steps.json`."""

    def __init__(self, runs: Path) -> None:
        self.path = runs / STATE_NAME
        try:
            self.told: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.told = {}
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read ({error}). Delete it.") from error

    def is_done(self, step: Step, key: str, checkpoint: Path) -> bool:
        """Whether the step was done with this key and what it wrote is still as it was."""
        before = self.told.get(step.name, {})
        if before.get("key") != key:
            return False
        try:
            return bool(before["written"] == _written(step, checkpoint))
        except DataError:
            return False

    def note(self, step: Step, key: str, checkpoint: Path, seconds: float) -> None:
        """Keep that a step is done.

        Raises:
            DataError: it did not write what the recipe says.
            OutputError: the file cannot be written.
        """
        self.told[step.name] = {
            "key": key,
            "seconds": round(seconds, 1),
            "written": _written(step, checkpoint),
        }
        write_whole(self.path, json.dumps(self.told, indent=2) + "\n")


def _written(step: Step, checkpoint: Path) -> dict[str, str]:
    return {part: content_hash(checkpoint / part) for part in step.writes}


def step_folder(step: Step, key: str, runs: Path) -> Path:
    """A folder of the step's own: another one after a change, the same when it is resumed."""
    return runs / f"{slug(step.name)}-{key[:8]}"
