"""The licence of a dataset, computed from the licences of everything its model was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lungsynth.about.sources import FREE_WITH_ATTRIBUTION, Source
from lungsynth.errors import ConfigError
from publish.data.settings import CardSettings

FREE = ("cc0-1.0", "pddl", "public-domain", "mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause")
"""Licences that ask at most for a notice."""

ATTRIBUTION = ("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "odc-by", FREE_WITH_ATTRIBUTION)
NON_COMMERCIAL = ("cc-by-nc-4.0", "cc-by-nc-3.0", "cc-by-nc-2.0")
OPENRAIL = ("creativeml-openrail-m", "openrail", "openrail++", "bigscience-openrail-m")
MEDICAL_RESTRICTION = (
    "A source is under an OpenRAIL licence, whose use restrictions go with everything made from it: "
    "among them, it must not be used to provide medical advice or to interpret medical results."
)
GROUPS = (
    (FREE, "cc0-1.0", "is free of conditions"),
    (ATTRIBUTION, "cc-by-4.0", "asks for attribution"),
    (NON_COMMERCIAL, "cc-by-nc-4.0", "is for non-commercial use with attribution"),
)
"""From the loosest to the strictest: licences, what a dataset made of them may say, and why."""


@dataclass(frozen=True, slots=True)
class Licence:
    """What the front matter and the card say."""

    identifier: str  # of the Hub: cc0-1.0, cc-by-4.0, …, or "other"
    reason: str  # sentences


def all_sources(made_from: Iterable[Source], card: CardSettings) -> list[Source]:
    """The checkpoint's sources (its `sources.json`), and those a release names besides."""
    own = [
        Source(one.name, one.licence.lower().strip(), used_for="release", url=one.url)
        for one in card.sources
    ]
    return [*made_from, *own]


def licence_of(sources: Sequence[Source], decided: str = "") -> Licence:
    """The least restrictive licence that `all_sources` allow, or "other" where a person must decide.

    Where a person has `decided`, it is theirs, and the card says so.

    Raises:
        ConfigError: what was decided is unknown, or looser than a source allows.
    """
    computed = _computed(sources)
    if not decided:
        return computed
    ranks = {result: rank for rank, (_, result, _) in enumerate(GROUPS)}
    if decided not in ranks:
        raise ConfigError(f"card.licence: {decided!r}; expected one of {', '.join(ranks)}.")
    for rank, (licences, result, why) in enumerate(GROUPS):
        bound = _named(sources, licences)
        if bound and rank > ranks[decided]:
            raise ConfigError(
                f"card.licence: {decided} is looser than {result}, for {bound[0]} {why}. Leave it "
                f"out, or give {result}."
            )
    if any(one.licence in OPENRAIL for one in sources):
        raise ConfigError(
            f"card.licence: {decided}, but a source is under an OpenRAIL licence, whose restrictions "
            "go with everything made from it. Leave it out."
        )
    weighed = f" Decided by the maintainer. {computed.reason}"
    return computed if computed.identifier == decided else Licence(decided, weighed.strip())


def _computed(sources: Sequence[Source]) -> Licence:
    """The licence that follows, without a person."""
    if not sources:
        return Licence("other", "No sources are stated, so the licence is not decided: ask first.")
    if any(one.licence in OPENRAIL for one in sources):
        return Licence("other", MEDICAL_RESTRICTION)
    known = {licence for licences, _, _ in GROUPS for licence in licences}
    unknown = [one for one in sources if one.licence not in known]
    reasons = [
        f"{named[0]} {why}." if len(named) == 1 else f"Each of these {why}: {'; '.join(named)}."
        for licences, _, why in reversed(GROUPS[1:])
        if (named := _named(sources, licences))
    ]
    if unknown:
        told = "; ".join(dict.fromkeys(_title(one) for one in unknown))
        return Licence("other", " ".join([f"A person must weigh the terms of: {told}.", *reasons]))
    result = next(r for licences, r, _ in reversed(GROUPS) if _named(sources, licences))
    if result == "cc0-1.0":
        return Licence(result, "Every source is free of conditions on data made from it.")
    return Licence(result, " ".join(reasons))


def _named(sources: Sequence[Source], licences: tuple[str, ...]) -> list[str]:
    """Titles of the sources under some licences."""
    return list(dict.fromkeys(_title(one) for one in sources if one.licence in licences))


def _title(one: Source) -> str:
    return one.title or one.name
