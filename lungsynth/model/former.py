"""Weights that were shipped before: what a record, a row or a link that names them is answered.

Pixels are promised for the same weights only. The hash of weights (`weights_hash`) stands in every
record, row and link; `former.json` beside the checkpoints keeps those that were shipped, each with a
commit of this repository that holds them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from lungsynth.model.checkpoint import CHECKPOINTS

FORMER_NAME = "former.json"


@dataclass(frozen=True, slots=True)
class Former:
    """Weights that were shipped."""

    name: str  # of the checkpoint, such as mini
    weights: str  # see `lungsynth.model.checkpoint.weights_hash`
    commit: str  # of this repository, that holds them
    shipped: str  # date, YYYY-MM-DD


def former_weights() -> list[Former]:
    """Weights that were shipped, oldest first; [] where the list is not installed."""
    path = CHECKPOINTS / FORMER_NAME
    if not path.is_file():
        return []
    return [Former(**one) for one in json.loads(path.read_text(encoding="utf-8"))["weights"]]


def other_weights(asked: str, have: str, name: str) -> str:
    """What to say where a picture was drawn with other weights; "" where they are the same.

    Args:
        asked: Hash of the weights that drew it, or its beginning; "" = not recorded.
        have: Hash of the weights there are; "" = unknown.
        name: Of the checkpoint there is.
    """
    if not asked or not have or have.startswith(asked):
        return ""
    told = f"It was drawn with weights {asked}; {name} has {have}, which draw another picture."
    found = _find(asked)
    if found is None:
        return told
    return f"{told} They are those {found.name} was shipped with on {found.shipped}."


def where_weights_are(asked: str) -> str:
    """How to come by the weights of a hash, for the command line: a sentence."""
    found = _find(asked)
    if found is None:
        return "They were not shipped with lungsynth. Give the folder of that checkpoint."
    place = f"lungsynth-{found.commit}"
    return (
        f"To have them: git worktree add ../{place} {found.commit}, in a checkout of lungsynth. Give "
        f"the folder of that checkpoint, ../{place}/lungsynth/checkpoints/{found.name}."
    )


def _find(asked: str) -> Former | None:
    return next((one for one in former_weights() if one.weights.startswith(asked)), None)
