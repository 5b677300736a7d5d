"""Checks of what a release claims: sources and licence, copies, obedience, masks.

What was not measured is neither good nor bad. It is told apart, and stops a release unless the
maintainer says so, and with that the card.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lungsynth.about.sources import Source, read_sources
from lungsynth.errors import ConfigError
from lungsynth.model.checkpoint import resolve, weights_hash
from publish.build.finish import CARD_NAME, MEMORISATION_NAME, read_reports
from publish.card.checkpoint import NOT_MEASURED, figures_for, sources_table, unmeasured_note
from publish.card.croissant import CROISSANT_NAME
from publish.card.markup import markdown_text
from publish.data.licences import all_sources, licence_of
from publish.data.manifest import Manifest
from publish.data.parsing import from_mapping
from publish.data.rows import iter_rows
from publish.data.settings import CardSettings
from publish.hub.payload import front_matter

HOW = {
    "memorisation": "give the result of `lungsynth evaluate memorisation` by --memorisation",
    "obedience": "give that of `lungsynth evaluate obedience` by --evaluation, or keep it with the "
    "checkpoint (`lungsynth report --checkpoint`)",
    "masks": "give that of `lungsynth evaluate masks` by --evaluation, or keep it with the checkpoint "
    "(`lungsynth report --checkpoint`)",
}
"""What to do about what was not measured."""


def source_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Sources and licence: the checkpoint's all there, and the card and Croissant say no less."""
    card = from_mapping(CardSettings, manifest.card, "manifest.json, card")
    sources = all_sources(manifest.sources, card)
    if not sources:
        yield (
            f"nothing says what checkpoint {manifest.config['model']} was made from, so no licence is "
            "known: put a sources.json into it (training writes one), or name `card.sources`"
        )
        return
    for one in checkpoint_sources(manifest):
        if one.key not in {told.key for told in manifest.sources}:
            yield f"manifest.json: leaves out {_named(one)}, of which the checkpoint was made"
    try:
        licence = licence_of(sources, card.licence).identifier
    except ConfigError as error:
        yield str(error)
        return
    yield from _said_in_card(dist, sources, licence, unmeasured_note(card))
    yield from _said_in_croissant(dist, sources)


def checkpoint_sources(manifest: Manifest) -> list[Source]:
    """What the checkpoint says itself, where it is here: shipped, with the weights that drew the rows."""
    folder = Path(resolve(str(manifest.config["model"])))
    if not (folder / "model_index.json").is_file():
        return []
    same = weights_hash(str(folder)) == manifest.config["model_hash"]
    return read_sources(folder) if same else []


def _said_in_card(dist: Path, sources: list[Source], licence: str, note: str) -> Iterator[str]:
    text = (dist / CARD_NAME).read_text(encoding="utf-8")
    told = front_matter(dist / CARD_NAME).get("license")
    if told != licence:
        yield f"{CARD_NAME}: says licence {told}; from its sources follows {licence}"
    for one in sources:
        line = sources_table([one]).strip().splitlines()[-1]
        if line not in text.splitlines():
            yield f"{CARD_NAME}: leaves out {_named(one)}, or what is owed to its owner"
    if note and note.strip() not in text:
        yield f"{CARD_NAME}: does not say what was released without having been measured"


def _said_in_croissant(dist: Path, sources: list[Source]) -> Iterator[str]:
    told = json.loads((dist / CROISSANT_NAME).read_text(encoding="utf-8"))
    held = [
        (one.get("sc:name"), one.get("sc:license"), one.get("sc:creditText"))
        for one in told.get("prov:wasDerivedFrom", ())
    ]
    for one in sources:
        if (one.name, one.licence, one.terms) not in held:
            yield f"{CROISSANT_NAME}: leaves out {_named(one)}"


def _named(one: Source) -> str:
    return f"{one.title or one.name} ({one.used_for}, {one.licence})"


def not_measured(name: str, dist: Path, manifest: Manifest) -> str:
    """What of `MEASURED` was not measured, in a sentence that says what to do; "" when it was."""
    if name == "memorisation":
        is_told = (dist / MEMORISATION_NAME).is_file()
    else:
        is_told = any(one.kind == name for one in figures_for(manifest, read_reports(dist)))
        if name == "obedience":  # prompts of a file: nothing is counted that could be disobeyed
            is_told = is_told or "grammar" not in manifest.config["prompts"]
    if is_told:
        return ""
    return (
        f"nothing tells {NOT_MEASURED[name]}: {HOW[name]}, or release so knowingly with "
        f"--unmeasured {name}"
    )


def memorisation_problems(dist: Path, manifest: Manifest) -> Iterator[str]:
    """Copies of training films, or, without a threshold for them, what lies nearer than real films; a gate.

    A listed picture must be looked at, and be withdrawn (`publish erratum`) or measured anew. Every
    published row must be among the pictures that were measured.
    """
    path = dist / MEMORISATION_NAME
    if not path.is_file():
        return
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    calibrated = (
        "copies" in report
    )  # `evaluate memorisation` says what a copy is; `neighbours` only hints
    for picture in report["copies" if calibrated else "closer_than_test_0.1"]:
        if Path(picture).stem not in manifest.withdrawn and picture not in manifest.withdrawn:
            yield (
                f"{MEMORISATION_NAME}: {picture} is a copy of a training film. Withdraw the row"
                if calibrated
                else f"{MEMORISATION_NAME}: {picture} lies nearer to a training film than 99.9 % of real "
                "films. Look at it, and withdraw the row if it is a copy"
            )
    measured = {Path(str(one["picture"])).stem for one in report["pictures"]}
    rows = [str(one["id"]) for _, one in iter_rows(dist, manifest.shards, ["id"])]
    left = [row for row in rows if row not in measured]
    if left:
        yield (
            f"{MEMORISATION_NAME}: {len(left):,} of {len(rows):,} rows, {left[0]} first, are not among the "
            "pictures it measured. Measure this dataset"
        )


def figure_problems(kind: str, dist: Path, manifest: Manifest) -> Iterator[str]:
    """What is known of obedience, or of masks, stands in the card."""
    text = (dist / CARD_NAME).read_text(encoding="utf-8")
    for one in figures_for(manifest, read_reports(dist)):
        is_told = markdown_text(one.text()) in text and markdown_text(one.name) in text
        if one.kind == kind and not is_told:
            yield f"{CARD_NAME}: leaves out {one.name}: {one.text()}"
