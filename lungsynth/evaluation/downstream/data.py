"""Films with masks for `evaluate downstream`, read and brought to one square."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungsynth.arrays import IGNORE, Float64Array, IntArray, UInt8Array
from lungsynth.errors import DataError
from lungsynth.evaluation.common import RECORD_NAME, records_below
from lungsynth.evaluation.masks.figures import ALL, TruthSpec
from lungsynth.evaluation.masks.reading import read_masked
from lungsynth.films.data import Record, open_source, parquet_files, read_records
from lungsynth.films.framing import whole

AREA = (0.02, 0.94)  # least and largest share of a synthetic picture that may be foreground


@dataclass(frozen=True, slots=True)
class Pairs:
    """Films with masks of one origin. Entry i of each field belongs to film i."""

    name: str
    images: UInt8Array  # (N, P, P)
    masks: UInt8Array  # (N, P, P): 1 foreground, 0 background, 255 counts nowhere
    ids: list[str]
    patients: list[str]  # "" where unknown
    hashes: list[str]  # of the pixels as they were read
    conventions: tuple[str, ...]  # all there are, up to a colon, lower case; "" stands for unknown
    trust: Float64Array  # (N,) NaN where unknown

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: IntArray) -> Pairs:
        """The films with these indices, in this order."""
        return Pairs(
            self.name,
            self.images[chosen],
            self.masks[chosen],
            [self.ids[i] for i in chosen],
            [self.patients[i] for i in chosen],
            [self.hashes[i] for i in chosen],
            self.conventions,
            self.trust[chosen],
        )

    def fingerprint(self) -> str:
        """SHA-256 of films and masks, 16 hexadecimal digits."""
        digest = hashlib.sha256(self.images.tobytes())
        digest.update(self.masks.tobytes())
        return digest.hexdigest()[:16]

    def clusters(self) -> list[dict[str, str]]:
        """The patient of each film, as `lungsynth.evaluation.masks.report.patients` reads it."""
        return [{"source_set": self.name, "patient": p} if p else {} for p in self.patients]


def pixel_hash(image: UInt8Array) -> str:
    """SHA-256 of an image's shape and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _gather(
    name: str,
    records: Iterable[tuple[Record, UInt8Array]],
    *,
    stem: str,
    pixels: int,
    convention: str,
    trust: Mapping[str, float] | None = None,
) -> Pairs:
    """Records with their target masks (any size) -> Pairs."""
    images, masks, trusts = [], [], []
    ids: list[str] = []
    patients: list[str] = []
    hashes: list[str] = []
    conventions: set[str] = set()
    for record, target in records:
        fields = record.fields
        images.append(whole(record.image, pixels=pixels))
        masks.append(whole(target, pixels=pixels, nearest=True))
        ids.append(fields.get("id") or f"{stem}/{len(ids)}")
        patient = fields.get("patient", "")
        patients.append(f"{fields.get('source_set') or stem}/{patient}" if patient else "")
        hashes.append(pixel_hash(record.image))
        written = fields.get("mask_convention", "") or convention
        conventions.add(written.partition(":")[0].strip().lower())
        trusts.append(
            float("nan") if trust is None else trust.get(fields.get("id", ""), float("nan"))
        )
    if not images:
        raise DataError(f"{name}: no film with a mask.")
    return Pairs(
        name,
        np.stack(images),
        np.stack(masks),
        ids,
        patients,
        hashes,
        tuple(sorted(conventions)),
        np.array(trusts),
    )


def read_real(
    source: str,
    *,
    split: str | None,
    pixels: int,
    truth: TruthSpec,
    convention: str = "",
    limit: int | None = None,
    image_column: str = "image",
    mask_column: str = "mask",
) -> Pairs:
    """Real films with expert masks.

    Args:
        source: See `lungsynth.films.data.open_source`; rows without a mask are skipped.
        split: Value of the `split` column; a source without that column is taken whole.
        pixels: Side P of the square.
        truth: What the mask values mean.
        convention: Only masks whose convention begins so; also the convention of a source that says
            none.
        limit: At most so many, drawn with seed 0.
        image_column: Column of the image.
        mask_column: Column of the mask.

    Raises:
        DataError: nothing to read, a mask of another size than its film, or no foreground at all.
        ConfigError: masks of several conventions and none chosen.
    """
    columns = open_source(source).column_names
    if mask_column not in columns:
        raise DataError(
            f"{source}: no mask column {mask_column!r}; it has {', '.join(columns)}. Segmentation "
            "needs masks: name the column with --mask-column, or another source."
        )

    def films() -> Iterator[tuple[Record, UInt8Array]]:
        for record in read_masked(
            source,
            split=split if "split" in columns else None,
            convention=convention,
            limit=limit,
            image_column=image_column,
            mask_column=mask_column,
        ):
            assert record.mask is not None
            regions, valid = truth.regions(record.mask)
            yield record, np.where(valid, regions[ALL], IGNORE).astype(np.uint8)

    stem = Path(source).stem
    pairs = _gather(stem, films(), stem=stem, pixels=pixels, convention=convention)
    if not (pairs.masks == 1).any():
        raise DataError(
            f"{source}: no pixel of value {', '.join(map(str, truth.values))} in {len(pairs)} masks. "
            "Set --foreground."
        )
    return pairs


def read_synthetic(
    name: str,
    sources: Sequence[Path],
    *,
    pixels: int,
    mask_ids: Sequence[int] = (),
    convention: str = "",
    limit: int | None = None,
    image_column: str = "image",
    mask_column: str = "mask",
) -> Pairs:
    """Synthetic pictures with masks: what `sample` or `publish build` wrote, or any Parquet.

    Args:
        name: What the set is called in the report.
        sources: Folders or Parquet files, together one set.
        pixels: Side P of the square.
        mask_ids: Mask values that count; () is all but 0 and 255.
        convention: Of the masks, where the source says none.
        limit: At most so many, the first.
        image_column: Column of the image.
        mask_column: Column of the mask.

    Raises:
        DataError: nothing to read, no masks, or a mask of another size than its picture.
    """
    trust: dict[str, float] = {}

    def pictures() -> Iterator[tuple[Record, UInt8Array]]:
        n = 0
        for source in sources:
            for record in _one_source(source, trust, image_column, mask_column):
                assert record.mask is not None
                if limit is not None and n >= limit:
                    return
                n += 1
                mask = record.mask
                counted = np.isin(mask, mask_ids) if mask_ids else (mask != 0) & (mask != IGNORE)
                ignored = (mask == IGNORE) & ~counted
                yield record, np.where(ignored, IGNORE, counted).astype(np.uint8)

    pairs = _gather(name, pictures(), stem=name, pixels=pixels, convention=convention, trust=trust)
    if not (pairs.masks == 1).any():
        raise DataError(f"{name}: every mask is empty. Set --mask-ids to the values that count.")
    return pairs


def _one_source(
    source: Path, trust: dict[str, float], image_column: str, mask_column: str
) -> Iterator[Record]:
    """Pictures of one place; their trust is noted by id."""
    if source.suffix != ".parquet" and not parquet_files(source):
        yield from _sampled(source, trust)
        return
    rows = open_source(str(source))
    if mask_column not in rows.column_names:
        raise DataError(
            f"{source}: no mask column {mask_column!r}; it has {', '.join(rows.column_names)}."
        )
    if "trust" in rows.column_names and "id" in rows.column_names:
        trust |= {
            str(i): float(t)
            for i, t in zip(rows["id"], rows["trust"], strict=True)
            if t is not None
        }
    yield from read_records(
        str(source), image_column=image_column, mask_column=mask_column, text_column=None
    )


def _sampled(source: Path, trust: dict[str, float]) -> Iterator[Record]:
    """What `sample` wrote: folders with image.png, mask.png and a record."""
    folders = [path.parent for path in records_below(source)]
    if not any((folder / "mask.png").is_file() for folder in folders):
        raise DataError(
            f"{source}: pictures without masks. Draw them with `lungsynth sample` or `publish "
            "build`, which write masks, or name another folder."
        )
    for folder in folders:
        name, pair = folder.relative_to(source).as_posix(), []
        try:
            told = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))["trust"]
            trust[name] = float(told)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # drawn by a checkpoint without a trust model
        for file in ("image.png", "mask.png"):
            try:
                with Image.open(folder / file) as picture:
                    pair.append(np.asarray(picture.convert("L")).copy())
            except OSError as error:
                raise DataError(f"{folder / file}: cannot be read ({error}).") from error
        image, mask = pair
        if image.shape != mask.shape:
            raise DataError(f"{folder}: mask is {mask.shape}, image is {image.shape} (H, W).")
        yield Record(image, "", mask, {"id": name})


def describe(pairs: Pairs) -> dict[str, Any]:
    """What the report says of a set."""
    return {
        "name": pairs.name,
        "n": len(pairs),
        "n_patients": len({p for p in pairs.patients if p}),
        "conventions": list(pairs.conventions),
        "sha256": pairs.fingerprint(),
    }
