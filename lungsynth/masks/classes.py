"""Classes of a mask: which ids there are, and what each is read from.

A checkpoint's `classes.json` decides; no class is named in code. Example::

    {"classes": [{"id": 1, "name": "left lung", "token": "tokens/left-lung.safetensors"},
                 {"id": 2, "name": "right lung", "token": "tokens/right-lung.safetensors"}]}

A class is read from a learnt token, or, where it has none, from a word of the prompt. Masks drawn by
another convention (what counts as lung behind the heart?) stand beside it as `classes-NAME.json`.

Classes of one organ exclude each other; organs do not see each other. A class's organ is its `group`,
by default its name without "left " or "right ". `area` says between which shares of the picture a
sound mask of the class lies, and `ratios` which widths are put in proportion, as the cardiothoracic::

    {"classes": [...], "ratios": {"cardiothoracic": {"of": ["heart"],
                                                     "within": ["left lung", "right lung"]}}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungsynth.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from lungsynth.masks.tokens import ClassToken

CLASSES_NAME = "classes.json"
NAME = r"[A-Za-z0-9_-]+"
"""What a convention or a set of classes may be called."""


@dataclass(frozen=True)
class ClassSpec:
    """One class of a mask."""

    id: int  # value in the mask, 1-254
    name: str  # what it is called in cards and legends
    word: str | None = None  # read from this word of the prompt …
    token: ClassToken | None = None  # … or from this learnt token, which wins
    n_parts: int = 1  # connected parts it may have
    convention: str = ""  # by whose rule the class is drawn, such as "v7"
    organ: str = ""  # classes of one organ exclude each other; "" = by the name, see `group`
    area: tuple[float, float] = (0.0, 1.0)  # least and largest share of a picture, of a sound mask

    @property
    def output(self) -> str:
        """Its name among the outputs of a student."""
        return f"{self.convention}/{self.name}"

    @property
    def group(self) -> str:
        """The organ it is a part of: `organ`, or its name without the side."""
        return self.organ or self.name.removeprefix("left ").removeprefix("right ")


@dataclass(frozen=True)
class RatioSpec:
    """Two widths in proportion."""

    name: str  # such as "cardiothoracic"
    of: tuple[str, ...]  # names of classes whose widest extent is divided …
    within: tuple[str, ...]  # … by that of these, taken in one row


def parse_classes(spec: dict[str, Any], folder: Path) -> list[ClassSpec]:
    """The classes of a `classes.json` value; token paths are relative to `folder`.

    Raises:
        ConfigError: a key is missing, ids are out of 1-254, or ids or names are doubled.
    """
    from lungsynth.masks.tokens import ClassToken  # deferred: torch, which names do without

    classes = []
    try:
        for entry in spec["classes"]:
            token = None
            if entry.get("token"):
                path = (folder / str(entry["token"])).resolve()
                if not any(path.is_relative_to(one) for one in _places(folder)):
                    raise ConfigError(f"{entry['token']}: a token must lie inside {folder}.")
                token = ClassToken.load(path)
            classes.append(
                ClassSpec(
                    id=int(entry["id"]),
                    name=str(entry["name"]),
                    word=entry.get("word"),
                    token=token,
                    n_parts=int(entry.get("n_parts", 1)),
                    convention=str(entry.get("convention", spec.get("convention", ""))),
                    organ=str(entry.get("group", "")),
                    area=_area(entry),
                )
            )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{CLASSES_NAME}: {error!r}; expected {{'classes': [{{'id', 'name', 'token' or 'word'}}]}}."
        ) from error
    ids = [c.id for c in classes]
    if not classes or len(set(ids)) != len(ids) or not all(1 <= i <= 254 for i in ids):
        raise ConfigError(f"{CLASSES_NAME}: ids {ids}; expected distinct numbers from 1 to 254.")
    names = [c.name for c in classes]
    if len(set(names)) != len(names):  # scores and stages are kept by name
        raise ConfigError(f"{CLASSES_NAME}: names {names}; expected distinct ones.")
    for one in classes:
        if one.token is None and not one.word:
            raise ConfigError(f"{CLASSES_NAME}: class {one.name!r} has neither a token nor a word.")
    return classes


def _area(entry: dict[str, Any]) -> tuple[float, float]:
    low, high = (float(x) for x in entry.get("area", (0.0, 1.0)))
    if not 0 <= low < high <= 1:
        raise ValueError(f"area of {entry['name']!r} is {[low, high]}; 0 <= least < largest <= 1")
    return low, high


def parse_ratios(spec: dict[str, Any], classes: Sequence[ClassSpec]) -> list[RatioSpec]:
    """The ratios of a `classes.json` value.

    Raises:
        ConfigError: not as described in the module, or of classes that are not there.
    """
    known = {c.name for c in classes}
    try:
        ratios = [
            RatioSpec(str(name), tuple(map(str, one["of"])), tuple(map(str, one["within"])))
            for name, one in spec.get("ratios", {}).items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{CLASSES_NAME}: ratios: {error!r}; expected {{NAME: {{'of': […], 'within': […]}}}}."
        ) from error
    for ratio in ratios:
        missing = sorted({*ratio.of, *ratio.within} - known)
        if missing or not ratio.of or not ratio.within:
            raise ConfigError(
                f"{CLASSES_NAME}: ratio {ratio.name!r} is of {list(ratio.of)} within "
                f"{list(ratio.within)}; expected names among {', '.join(sorted(known))}."
            )
    return ratios


def _places(folder: Path) -> list[Path]:
    """Where a checkpoint's files may lie: in its folder, and where a snapshot in a Hub cache links to."""
    own = folder.resolve()
    return [own, *([own.parents[1] / "blobs"] if own.parent.name == "snapshots" else [])]


CONVENTIONS = {
    "nlm": "lung fields, without heart and mediastinum, as the Shenzhen and Montgomery masks have them",
    "v7": "the lung behind the heart counts as lung, as the V7 masks have it",
}
"""Known conventions of lung masks, in words."""


def classes_path(folder: Path, name: str | None = None) -> Path:
    """`classes.json` of a checkpoint, or `classes-NAME.json`."""
    return folder / (CLASSES_NAME if not name else f"classes-{name}.json")


def conventions(folder: Path) -> dict[str, str]:
    """What `load_classes` takes as `name` -> the file, for every classes file of a checkpoint."""
    return {
        path.stem.removeprefix("classes").removeprefix("-"): path.name
        for path in sorted(folder.glob("classes*.json"))
    }


def load_classes(folder: Path, name: str | None = None) -> list[ClassSpec]:
    """The classes of a checkpoint folder; [] when it has no `classes.json`.

    Args:
        folder: The checkpoint.
        name: Another convention than the checkpoint's first: `classes-NAME.json`, or the convention
            named inside `classes.json`.

    Raises:
        CheckpointError: the file is not JSON.
        ConfigError: there is no such convention; or see `parse_classes`.
    """
    path = _classes_file(folder, name)
    return parse_classes(_read_spec(path), folder) if path is not None else []


def load_ratios(folder: Path, name: str | None, classes: Sequence[ClassSpec]) -> list[RatioSpec]:
    """The ratios of the same file as `load_classes`, whose classes are given; [] when it names none.

    Raises:
        CheckpointError, ConfigError: see `load_classes` and `parse_ratios`.
    """
    path = _classes_file(folder, name)
    return parse_ratios(_read_spec(path), classes) if path is not None else []


def _classes_file(folder: Path, name: str | None) -> Path | None:
    path = classes_path(folder)
    if name and not (path.is_file() and _read_spec(path).get("convention") == name):
        path = classes_path(folder, name)
        if not path.is_file() or not re.fullmatch(NAME, name):
            there = [
                str(_read_spec(folder / file).get("convention") or key or "(unnamed)")
                for key, file in conventions(folder).items()
            ]
            raise ConfigError(
                f"--classes {name}: this checkpoint has no such classes; "
                f"it has {', '.join(there) or 'none'}."
            )
    return path if path.is_file() else None


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        spec = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: not JSON ({error}).") from error
    if not isinstance(spec, dict):
        raise ConfigError(
            f"{CLASSES_NAME}: {type(spec).__name__}; expected {{'classes': [{{'id', 'name', 'token'}}]}}."
        )
    return spec
