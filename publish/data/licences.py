"""The licence of a dataset, computed from the licences of what its model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from publish.data.settings import SourceSettings

FREE = ("cc0-1.0", "pddl", "public-domain", "mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause")
"""Licences that ask at most for a notice."""

ATTRIBUTION = ("cc-by-3.0", "cc-by-4.0", "odc-by")
NON_COMMERCIAL = ("cc-by-nc-4.0", "cc-by-nc-3.0", "cc-by-nc-2.0")
OPENRAIL = ("creativeml-openrail-m", "openrail", "openrail++", "bigscience-openrail-m")
MEDICAL_RESTRICTION = (
    "A source is under an OpenRAIL licence, whose use restrictions go with everything made from it: "
    "among them, it must not be used to provide medical advice or to interpret medical results."
)


@dataclass(frozen=True, slots=True)
class Licence:
    """What the front matter and the card say."""

    identifier: str  # of the Hub: cc0-1.0, cc-by-4.0, …, or "other"
    reason: str  # one sentence


def licence_of(sources: Sequence[SourceSettings]) -> Licence:
    """The least restrictive licence all sources allow, or "other" where a person must decide.

    Args:
        sources: Data sets and models the checkpoint was made from.
    """
    if not sources:
        return Licence("other", "No sources are stated, so the licence is not decided: ask first.")
    known = {one.name: one.licence.lower().strip() for one in sources}
    groups = (*FREE, *ATTRIBUTION, *NON_COMMERCIAL, *OPENRAIL)
    unknown = [name for name, licence in known.items() if licence not in groups]
    if any(licence in OPENRAIL for licence in known.values()):
        return Licence("other", MEDICAL_RESTRICTION)
    if unknown:
        told = "; ".join(unknown)
        return Licence("other", f"A person must weigh the terms of: {told}.")
    for licences, result, why in (
        (NON_COMMERCIAL, "cc-by-nc-4.0", "is for non-commercial use with attribution"),
        (ATTRIBUTION, "cc-by-4.0", "asks for attribution"),
    ):
        bound = [name for name, licence in known.items() if licence in licences]
        if bound:
            return Licence(result, f"{', '.join(bound)} {why}.")
    return Licence("cc0-1.0", "Every source is free of conditions on data made from it.")
