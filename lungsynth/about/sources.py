"""What a checkpoint was made from, and under which terms: `sources.json` in its folder.

Training writes it from the data's own columns (`source_set`, `image_licence`, `mask_licence`), so the
licence of whatever is drawn later need not be remembered by a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lungsynth.about.kept import parsed, read_kept, write_kept
from lungsynth.films.data import Record, open_source

SOURCES_NAME = "sources.json"

FREE_WITH_ATTRIBUTION = "free-with-attribution"
"""The owner's own terms: any use, but the owner is to be named. No identifier of the Hub."""

UNKNOWN = "unknown"
"""Terms that a person must weigh."""

COLUMNS = {"images": "image_licence", "masks": "mask_licence", "boxes": "box_licence"}
"""What a source was used for -> the column that holds its terms."""

KNOWN = {
    "kermany_v7": (
        "Kermany, Zhang & Goldbaum: chest X-rays of children",
        "https://data.mendeley.com/datasets/rscbjbr9sj",
    ),
    "nih_cxr14": (
        "NIH ChestX-ray14, NIH Clinical Center",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
    ),
    "nih_rsna_normal": (
        "NIH ChestX-ray14, films read as normal in RSNA's pneumonia challenge of 2018",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
    ),
    "nih_boxes": (
        "boxes of findings on NIH ChestX-ray14, by readers of NIH and RSNA",
        "https://www.rsna.org/artificial-intelligence/ai-image-challenge/rsna-pneumonia-detection-challenge-2018",
    ),
    "lungsynth outlines": ("NIH ChestX-ray14, drawn by lungsynth's authors", ""),
    "hannover_covid": (
        "Hannover Medical School: COVID-19 image repository",
        "https://doi.org/10.6084/m9.figshare.12275009",
    ),
    "shenzhen": (
        "NLM: Shenzhen tuberculosis chest X-rays (Jaeger et al. 2014)",
        "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/",
    ),
}
"""Public sets by the `source_set` our data give them -> title, address."""

CREATIVE_COMMONS = re.compile(r"\bCC[ -]BY((?:[ -](?:NC|SA|ND))*)[ -](\d\.\d)", re.IGNORECASE)
NAMED = (
    (r"\bCC ?0\b|\bCC0-1\.0\b", "cc0-1.0"),
    (r"\bpublic domain\b", "public-domain"),
    (r"\bapache[ -]2\.0\b", "apache-2.0"),
    (r"\bMIT licen[cs]e\b", "mit"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A data set, for one use of it."""

    name: str  # column `source_set`
    licence: str  # identifier: cc-by-4.0, cc0-1.0, FREE_WITH_ATTRIBUTION, UNKNOWN …
    terms: str = ""  # as the data state them: licence, owner, whom to cite
    used_for: str = "images"  # a key of COLUMNS, or other words
    n: int = 0  # films of it that were used
    title: str = ""  # in full
    url: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """By which two entries are the same source."""
        return self.name, self.used_for, self.terms


def licence_id(terms: str) -> str:
    """The identifier of a licence that is stated in words, such as "CC BY 4.0 (V7 Labs)".

    It is one of the Hub's in small letters, FREE_WITH_ATTRIBUTION, or UNKNOWN.
    """
    found = CREATIVE_COMMONS.search(terms)
    if found:
        more = re.sub(r"[ -]+", "-", found[1].lower())
        return f"cc-by{more}-{found[2]}"
    for pattern, identifier in NAMED:
        if re.search(pattern, terms, re.IGNORECASE):
            return identifier
    any_use = re.search(r"\bno restrictions\b|\bcommercial or non-commercial\b", terms)
    return FREE_WITH_ATTRIBUTION if any_use and "attribution" in terms else UNKNOWN


def collect_sources(
    records: Iterable[Record | Mapping[str, Any]],
    *,
    used_for: str = "images",
    name: str = "",
) -> list[Source]:
    """The sources of some films, counted.

    Args:
        records: Films, or their metadata (`Frames.fields`, rows of boxes); one that comes again,
            by its `id`, is counted once.
        used_for: A key of COLUMNS, or other words. For "masks", rows whose terms are blank have no
            mask and are left out; a set without such a column is of unknown terms.
        name: Of rows that have no `source_set`.

    Returns:
        One a set and terms, by name. A set that does not state its terms has the licence UNKNOWN.
    """
    column = COLUMNS.get(used_for, COLUMNS["images"])
    seen: dict[tuple[str, str], set[str]] = {}
    for number, one in enumerate(records):
        told = one.fields if isinstance(one, Record) else one
        terms = " ".join(str(told.get(column) or "").split())
        masked = one.mask is not None if isinstance(one, Record) else column not in told
        if used_for == "masks" and not (terms or masked):
            continue
        key = (str(told.get("source_set") or name or "a set without a name"), terms)
        seen.setdefault(key, set()).add(str(told.get("id") or f"row {number}"))
    found = []
    for (where, terms), ids in sorted(seen.items()):
        title, url = KNOWN.get(where, ("", ""))
        title = f"outlines on {title}" if title and used_for == "masks" else title
        found.append(Source(where, licence_id(terms), terms, used_for, len(ids), title, url))
    return found


def sources_of_data(
    source: str, *, used_for: str = "images", split: str | None = None, ids: Iterable[str] = ()
) -> list[Source]:
    """The sources of a data set's rows; pictures are not decoded.

    Args:
        source: See `lungsynth.films.data.open_source`.
        used_for: See `collect_sources`.
        split: Rows whose column `split` equals this; None for all.
        ids: Rows that were used; none given: all.

    Raises:
        DataError: the set cannot be read.
    """
    rows, wanted = open_source(source), set(ids)
    column = COLUMNS.get(used_for, COLUMNS["images"])
    kept = [c for c in ("id", "source_set", "split", column) if c in rows.column_names]
    if not kept:
        return [Source(Path(source).stem, UNKNOWN, "", used_for, len(rows))]
    return collect_sources(
        (
            one
            for one in rows.select_columns(kept)
            if split in (None, one.get("split", split)) and (not wanted or one.get("id") in wanted)
        ),
        used_for=used_for,
        name=Path(source).stem,
    )


def merged(*lists: Iterable[Source]) -> list[Source]:
    """Several lists as one: an entry that stands twice has the larger count, and stays described."""
    found: dict[tuple[str, str, str], Source] = {}
    for one in (one for sources in lists for one in sources):
        old = found.get(one.key, one)
        found[one.key] = replace(
            one, n=max(one.n, old.n), title=one.title or old.title, url=one.url or old.url
        )
    return sorted(found.values(), key=lambda one: (one.used_for, one.name, one.terms))


def write_sources(folder: Path, sources: Iterable[Source]) -> Path:
    """Add sources (see `collect_sources`) to those in a checkpoint's folder.

    Raises:
        OutputError: the file cannot be written.
        CheckpointError: what is there cannot be understood.
    """
    every = merged(read_sources(folder), sources)
    return write_kept(folder / SOURCES_NAME, [asdict(one) for one in every])


def read_sources(folder: Path) -> list[Source]:
    """The sources of a checkpoint; [] when it does not state them, or is no folder here.

    Raises:
        CheckpointError: its `sources.json` cannot be understood.
    """
    writer = "`lungsynth.about.sources.write_sources`"
    return read_kept(folder / SOURCES_NAME, sources_of, writer=writer)


def sources_of(told: Iterable[Mapping[str, Any]]) -> list[Source]:
    """Sources of JSON.

    Raises:
        ValueError, TypeError: a field is missing, unknown, or of another type.
    """
    kinds = {one.name: int if one.name == "n" else str for one in fields(Source)}
    found = parsed(Source, told, kinds, "source")
    if not all(one.name and one.licence for one in found):
        raise ValueError("a source without name or licence")
    return found
