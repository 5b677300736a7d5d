"""What the evaluations share: sets of pictures, and intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from lungsynth.arrays import Float64Array, IntArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.tables import percent
from lungsynth.films.data import decode_grey, open_source, parquet_files, read_records
from lungsynth.films.framing import whole

PIXELS = 256  # side of every picture that is compared
SUFFIXES = (".png", ".jpg", ".jpeg")
CHOSEN_BY = "chosen_by"
"""Field of a picture that a verifier chose among several drawings: the verifier's checksum."""

RECORDS_NAME, RECORD_NAME = "records.jsonl", "record.json"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Pictures of one origin. Entry i of each field belongs to picture i."""

    images: UInt8Array  # (N, 256, 256)
    names: list[str]  # id or file name
    fields: list[Mapping[str, str]]  # metadata, or what the prompt asked for

    def __len__(self) -> int:
        return len(self.names)

    def take(self, chosen: IntArray) -> ImageSet:
        """The pictures with these indices, in this order."""
        return ImageSet(
            self.images[chosen], [self.names[i] for i in chosen], [self.fields[i] for i in chosen]
        )

    def clusters(self) -> list[str]:
        """Patient of each picture; a picture without one stands alone."""
        return patients_of(self.fields)

    def limited(self, limit: int | None, seed: int) -> ImageSet:
        """At most `limit` pictures, drawn with `seed`, in their old order."""
        if limit is None or limit >= len(self):
            return self
        rng = np.random.default_rng(seed)
        return self.take(np.sort(rng.choice(len(self), limit, replace=False)))


def patients_of(fields: Sequence[Mapping[str, str]]) -> list[str]:
    """Patient of each film; a film without one stands alone."""
    return [
        f"{f.get('source_set', '')}/{f['patient']}" if f.get("patient") else f"#{i}"
        for i, f in enumerate(fields)
    ]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % interval, both in the number's own unit."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Float64Array) -> Interval:
        """The 2.5 and 97.5 percentiles of `draws` (R,) around `value`."""
        low, high = np.percentile(draws, [2.5, 97.5])
        return cls(value, float(low), float(high))

    def report(self) -> dict[str, float]:
        """JSON, rounded to 6 significant digits."""
        return {k: float(f"{getattr(self, k):.6g}") for k in ("value", "low", "high")}

    def percent(self) -> str:
        """`91.2 [89.0, 93.1]`, in percent."""
        return percent(asdict(self))

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def resample_clusters(
    values: Float64Array, rng: np.random.Generator, n_resamples: int
) -> Float64Array:
    """Bootstrap sums over clusters (patients) drawn with replacement.

    Args:
        values: (K, ...) sum of each cluster.
        rng: Source of randomness.
        n_resamples: R.

    Returns:
        (R, ...) sums, each over K clusters drawn with replacement.
    """
    n_clusters = len(values)
    times = rng.multinomial(n_clusters, np.full(n_clusters, 1.0 / n_clusters), size=n_resamples)
    return np.tensordot(times.astype(np.float64), values, axes=1)


def read_films(
    sources: Sequence[str],
    *,
    split: str | None,
    image_column: str = "image",
    limit: int | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> ImageSet:
    """Real films of one split, each shown whole at 256 × 256.

    Args:
        sources: See `lungsynth.films.data.open_source`; each is read on its own.
        split: Value of the `split` column; None takes every row.
        image_column: Column of the image.
        limit: Keep at most so many, drawn with `seed`.
        seed: Of the draw.
        quiet: No progress bar.

    Raises:
        DataError: a source cannot be read, has no such column, or no source has such a row.
    """
    images: list[UInt8Array] = []
    names: list[str] = []
    fields: list[Mapping[str, str]] = []
    missing: list[str] = []
    with tqdm(desc=f"reading {split or 'films'}", unit="film", disable=quiet, mininterval=2) as bar:
        for source in sources:
            rows = open_source(source)
            known = "split" in rows.column_names
            if split is not None and known and split not in rows.unique("split"):
                missing.append(source)
                continue
            for record in read_records(
                source, image_column=image_column, text_column=None, split=split
            ):
                images.append(whole(record.image, pixels=PIXELS))
                names.append(record.fields.get("id") or f"{Path(source).stem}/{len(names)}")
                fields.append(record.fields)
                bar.update()
    if not images:
        raise DataError(
            f"No film has split={split!r} in {', '.join(missing)}. Name one with --data, or "
            "another split."
        )
    return ImageSet(np.stack(images), names, fields).limited(limit, seed)


def read_samples(
    source: Path, *, image_column: str = "image", limit: int | None = None, seed: int = 0
) -> ImageSet:
    """Synthetic pictures with what was asked for.

    Args:
        source: A Parquet file, or a folder holding one of: `records.jsonl` (a line a picture with
            `file`, `prompt`, `fields`); folders with `record.json` (the same keys; `file` defaults
            to image.png); Parquet files, as in a published dataset; or just PNG or JPEG files, then
            without fields.
        image_column: Column of the image in Parquet.
        limit: Keep at most so many, drawn with `seed`.
        seed: Of the draw.

    Raises:
        DataError: nothing is there, or a record or picture cannot be read.
    """
    if source.suffix == ".parquet" or parquet_files(source):
        return _read_parquet(source, image_column).limited(limit, seed)
    if not source.is_dir():
        raise DataError(f"{source}: no such folder or Parquet file. Give where samples were drawn.")
    entries = _entries(source)
    if not entries:
        raise DataError(
            f"{source}: no picture here. Expected {RECORDS_NAME}, folders with {RECORD_NAME}, "
            "Parquet or PNG files."
        )
    if limit is not None and limit < len(entries):
        chosen = np.sort(np.random.default_rng(seed).choice(len(entries), limit, replace=False))
        entries = [entries[i] for i in chosen]
    images = [whole(decode_grey(path, where=str(path)), pixels=PIXELS) for path, _ in entries]
    return ImageSet(
        np.stack(images),
        [path.relative_to(source).as_posix() for path, _ in entries],
        [fields for _, fields in entries],
    )


def _entries(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Pictures of a folder and their fields, in the order of the records or names."""
    listed = folder / RECORDS_NAME
    if listed.is_file():
        return [
            _entry(line, folder, f"{listed}:{number}")
            for number, line in enumerate(listed.read_text("utf-8").splitlines(), 1)
            if line.strip()
        ]
    if single := records_below(folder):
        return [_entry(p.read_text(encoding="utf-8"), p.parent, str(p)) for p in single]
    return [(path, {}) for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]


def records_below(folder: Path) -> list[Path]:
    """Every record.json at any depth; folders with a dot, which are still being written, are left."""
    return sorted(
        path
        for path in folder.rglob(RECORD_NAME)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _entry(text: str, folder: Path, where: str) -> tuple[Path, dict[str, str]]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error}).") from error
    if not isinstance(record, dict) or not isinstance(record.get("fields", {}), dict):
        raise DataError(f"{where}: expected an object with `file`, `prompt` and `fields`.")
    path = folder / str(record.get("file", "image.png"))
    if not path.is_file():
        raise DataError(f"{where}: its picture {path} does not exist.")
    prompt = {"prompt": record["prompt"]} if isinstance(record.get("prompt"), str) else {}
    told = record.get("verify")
    chosen = {CHOSEN_BY: str(told["verifier"])} if isinstance(told, dict) else {}
    return path, {**prompt, **_text_fields(record.get("fields", {})), **chosen}


def _choosers(source: Path) -> set[str]:
    """Verifiers that chose among the drawings of a dataset's shards, as their footers tell; "" = none."""
    found = set()
    for path in [source] if source.is_file() else parquet_files(source):
        told = (pq.read_metadata(path).metadata or {}).get(b"lungsynth", b"{}")
        footer = json.loads(told)
        found.add(str(footer.get("verifier", "")) if isinstance(footer, dict) else "")
    return found


def chosen_by(images: ImageSet) -> str:
    """The verifier that chose these pictures among several drawings each; "" where nobody did.

    Raises:
        DataError: some were chosen and others not, or by another: figures before and after are
            never mixed.
    """
    choosers = {fields.get(CHOSEN_BY, "") for fields in images.fields}
    if len(choosers) > 1:
        raise DataError(
            f"Pictures chosen by {', '.join(sorted(map(repr, choosers)))} ('' = by nobody) lie together. "
            "Figures before and after reject and redraw are never mixed: draw them into two folders."
        )
    return next(iter(choosers), "")


def _text_fields(values: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in values.items() if isinstance(v, str | int | float)}


def _read_parquet(source: Path, image_column: str) -> ImageSet:
    rows = open_source(str(source))
    if image_column not in rows.column_names:
        raise DataError(
            f"No image column {image_column!r} in {source}; it has {', '.join(rows.column_names)}. "
            "Name one with --image-column."
        )
    if len(rows) == 0:
        raise DataError(f"{source}: no row.")
    choosers = _choosers(source)
    if len(choosers) > 1:
        raise DataError(f"{source}: shards of several builds, chosen by {sorted(choosers)}.")
    chosen = {} if choosers == {""} else {CHOSEN_BY: choosers.pop()}
    images, names, fields = [], [], []
    for index, row in enumerate(rows):
        name = str(row.get("id") or row.get("file") or index)
        image = decode_grey(row[image_column], where=f"row {index} ({name})")
        images.append(whole(image, pixels=PIXELS))
        names.append(name)
        inner = row.get("fields")
        inner = inner if isinstance(inner, dict) else {}
        fields.append({**_text_fields({**row, **inner}), **chosen})
    return ImageSet(np.stack(images), names, list(fields))


def need(images: ImageSet, least: int, what: str) -> None:
    """Refuse a set that is too small.

    Raises:
        DataError: fewer than `least` pictures.
    """
    if len(images) < least:
        raise DataError(
            f"{what}: {len(images)} picture(s), need at least {least}. Draw or name more, or raise "
            "--limit."
        )
