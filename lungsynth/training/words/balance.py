"""How often each picture is drawn, so that no word of the captions is nearly constant.

Children and adults, healthy and ill, men and women, PA and AP: drawn as the films come, one of each
pair would swamp the other, and a model learns nothing from a word that is always true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lungsynth.arrays import Float64Array
from lungsynth.training.captions import is_child

CHILDREN = 0.28
"""Share of children's pictures; what is left goes to adults by `ADULT_SHARES`."""

ADULT_SHARES = {
    "healthy": 0.40,  # films read as normal
    "pneumonia": 0.27,  # NIH films that say pneumonia
    "boxed": 0.08,  # those of them whose finding has a box, once more
    "tuberculosis": 0.12,
    "covid": 0.13,
}
"""Shares of adults' pictures by what they show; a group without a film gives its share to the others."""


def group_of(fields: Mapping[str, str]) -> str:
    """The group a film is balanced in."""
    said = f"{fields.get('label', '')} {fields.get('findings', '')}".lower()
    if is_child(fields):
        kinds = ("bacterial", "viral")
        return "child " + next((k for k in kinds if k in said), "normal")
    if "covid" in said:
        return "covid"
    if "tubercul" in said or "ptb" in said:
        return "tuberculosis"
    if "normal" in said or "no finding" in said:
        return "healthy"
    return "boxed" if fields.get("place") else "pneumonia"


def cell_of(fields: Mapping[str, str]) -> tuple[str, ...]:
    """The cell of a group whose members share their weight: sex, view, and decade of age."""
    age = fields.get("age", "")
    decade = str(min(int(age) // 20, 4)) if age.isdigit() else ""
    return fields.get("sex", ""), fields.get("view", ""), decade


def balanced_weights(fields: Sequence[Mapping[str, str]]) -> Float64Array:
    """How often each picture is drawn.

    Groups get their shares (`CHILDREN`, `ADULT_SHARES`). Inside a group each cell of sex, view and age
    weighs as the root of its size: rare cells are raised without drawing the same few films all the
    time.

    Args:
        fields: Metadata of the picture's film; `place` names where its box is.

    Returns:
        (N,) float64, sums to 1.
    """
    groups = [group_of(f) for f in fields]
    present = set(groups)
    young = sorted(g for g in present if g.startswith("child"))
    shares = {g: CHILDREN / len(young) for g in young}
    shares |= {g: share for g, share in ADULT_SHARES.items() if g in present}
    cells = [(g, *cell_of(f)) for g, f in zip(groups, fields, strict=True)]
    sizes = Counter(cells)
    weights = np.array([sizes[cell] ** -0.5 for cell in cells])
    for group, share in shares.items():
        members = np.array([g == group for g in groups])
        weights[members] *= share / weights[members].sum()
    result: Float64Array = weights / weights.sum()
    return result
