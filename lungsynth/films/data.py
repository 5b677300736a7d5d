"""Reading image-text(-mask) sources: Parquet, an image folder with metadata, any `datasets` source.

Every reader ends in `Record`, whose image is a grey uint8 array; nothing behind this file knows
where an image came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lungsynth.arrays import UInt8Array
from lungsynth.errors import DataError
from lungsynth.films.decoding import decode_grey as decode_grey  # others take it from here too
from lungsynth.films.decoding import open_picture

FIELDS = tuple(
    "id findings label view age sex patient split source_set note image_licence mask_licence "
    "mask_convention".split()
)
"""Optional metadata columns, read as text when a source has them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source."""

    image: UInt8Array  # (H, W) grey, 0-255
    text: str  # free text, "" when the source has none
    mask: UInt8Array | None = None  # (H, W), values as the source wrote them
    fields: Mapping[str, str] = field(default_factory=dict)  # those of FIELDS the source has
    row: int = -1  # its place in the source; -1 = of no source

    @property
    def name(self) -> str:
        """Its id, or "row N" where the source has none."""
        return self.fields.get("id") or f"row {self.row}"


def _decode_mask(value: Any, *, where: str) -> UInt8Array:
    """Like `decode_grey`, but class ids are kept as they are (palette indices, 0/1/2 …)."""
    picture = open_picture(value, where=where, what="mask")
    if picture.mode in ("P", "1"):
        return np.asarray(picture, dtype=np.uint8).copy()
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        ids = np.asarray(picture)
        if int(ids.min()) < 0 or int(ids.max()) > 255:
            raise DataError(
                f"{where}: mask values go from {ids.min()} to {ids.max()}; expected 0 to 255."
            )
        return ids.astype(np.uint8)
    return decode_grey(picture, where=where)


def open_source(source: str | Sequence[str]) -> Any:
    """Open a source as a `datasets.Dataset` whose image columns are left undecoded.

    Args:
        source: One or several Parquet files, a folder of Parquet files, an image folder
            (`metadata.jsonl` / `.csv` naming `file_name`, other columns may name files too; or masks of
            the same names in a folder `masks`), or the name of a `datasets` source.

    Splits that such a folder or source has are joined; column `split` then says which a row is of.

    Raises:
        DataError: nothing is there, or it cannot be read.
    """
    import datasets  # deferred: most of a second, and only reading tables needs it

    names = [source] if isinstance(source, str) else list(source)
    if not names:
        raise DataError(
            "No data source was given; pass a Parquet file, a folder or a dataset name."
        )
    paths = [Path(name) for name in names]
    try:
        if all(path.suffix == ".parquet" for path in paths):
            for path in paths:
                if not path.is_file():
                    raise DataError(f"{path}: no such file. Give the path of a Parquet file.")
            rows = datasets.load_dataset(
                "parquet", data_files=[str(p) for p in paths], split="train"
            )
        elif len(paths) == 1 and paths[0].is_dir():
            parquet = parquet_files(paths[0])
            if parquet:
                return open_source([str(path) for path in parquet])
            if (paths[0] / "masks").is_dir() and not any(paths[0].glob("metadata.*")):
                return datasets.Dataset.from_list(_paired_files(paths[0]))
            loaded = datasets.load_dataset("imagefolder", data_dir=str(paths[0]))
            rows = datasets.concatenate_datasets(_with_split(loaded))
        elif len(paths) == 1:
            rows = datasets.concatenate_datasets(_with_split(datasets.load_dataset(names[0])))
        else:
            raise DataError(f"Several sources must all be Parquet files, got {names}.")
    except DataError:
        raise
    except Exception as error:  # the readers of `datasets` raise many kinds; all mean "unreadable"
        raise DataError(
            f"{', '.join(names)}: cannot be read as Parquet, image folder or dataset "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
        ) from error
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _with_split(loaded: Any) -> list[Any]:
    """The splits of a `datasets.DatasetDict`; where there are several, column `split` says which."""
    return [
        part
        if len(loaded) == 1 or "split" in part.column_names
        else part.add_column("split", [name] * len(part))
        for name, part in sorted(loaded.items())
    ]


def parquet_files(folder: Path) -> list[Path]:
    """Parquet files below a folder, if it is one; of a published dataset not `data`'s preview."""
    found = sorted(folder.rglob("*.parquet"))
    if any((folder / "data").glob("*.parquet")):
        found = [path for path in found if folder / "preview" not in path.parents]
    return found


def _paired_files(folder: Path) -> list[dict[str, str | None]]:
    """Images of a folder (or its `images`), each with the file of its name in `masks`, if any."""
    images = folder / "images" if (folder / "images").is_dir() else folder
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
    masks = {
        p.stem: p for p in sorted((folder / "masks").iterdir()) if p.suffix.lower() in suffixes
    }
    found = [p for p in sorted(images.iterdir()) if p.suffix.lower() in suffixes]
    if not any(p.stem in masks for p in found):
        raise DataError(f"{folder}: no image has a mask of its name in {folder / 'masks'}.")
    return [
        {"id": p.stem, "image": str(p), "mask": str(masks[p.stem]) if p.stem in masks else None}
        for p in found
    ]


def _as_text(value: Any) -> str:
    """A metadata value as text: 60.0, which a table makes of 60 where others are missing, is "60"."""
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _located(value: Any, source: str | Sequence[str]) -> Any:
    """A file name written in a folder's metadata, as a path from here; other values as they are."""
    if isinstance(value, str) and isinstance(source, str) and not Path(value).exists():
        inside = Path(source) / value
        return inside if inside.is_file() else value
    return value


def read_records(
    source: str | Sequence[str],
    *,
    image_column: str = "image",
    text_column: str | None = "text",
    mask_column: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    order_seed: int | None = None,
) -> Iterator[Record]:
    """Read a source row by row.

    Args:
        source: See `open_source`.
        image_column: Column of the image.
        text_column: Column of the text, or None for a source without text.
        mask_column: Column of the mask; rows whose mask is null are then skipped.
        split: Keep rows whose `split` column equals this; None keeps all.
        limit: Stop after so many rows.
        order_seed: Read rows in an order drawn with this seed; None keeps theirs.

    Raises:
        DataError: a column is missing (the message lists those there are), a row cannot be
            decoded, or no row is left.
    """
    rows = open_source(source)
    for option, column in (("image", image_column), ("text", text_column), ("mask", mask_column)):
        if column is not None and column not in rows.column_names:
            raise DataError(
                f"No {option} column {column!r} in {source}; it has {', '.join(rows.column_names)}. "
                f"Name one with --{option}-column."
            )
    keep = list(range(len(rows)))
    if split is not None:
        if "split" not in rows.column_names:
            raise DataError(
                f"--split {split} was asked for, but {source} has no `split` column. "
                "Pass --split '' to take every row."
            )
        keep = [i for i, value in enumerate(rows["split"]) if value == split]
    if order_seed is not None:
        keep = [keep[i] for i in np.random.default_rng(order_seed).permutation(len(keep))]
    rows = rows.select(keep)
    known = [name for name in FIELDS if name in rows.column_names]
    n_read = 0
    for index, row in zip(keep, rows, strict=True):
        if limit is not None and n_read >= limit:
            break
        if mask_column is not None and row[mask_column] is None:
            continue
        fields = {name: _as_text(row[name]) for name in known}
        where = f"row {index} ({fields.get('id') or 'no id'})"
        image = decode_grey(row[image_column], where=where)
        mask = None
        if mask_column is not None:
            mask = _decode_mask(_located(row[mask_column], source), where=where)
            if mask.shape != image.shape:
                raise DataError(f"{where}: mask is {mask.shape}, image is {image.shape} (H, W).")
        text = "" if text_column is None or row[text_column] is None else str(row[text_column])
        n_read += 1
        yield Record(image=image, text=text, mask=mask, fields=fields, row=index)
    if n_read == 0:
        raise DataError(f"{source}: no usable row (split={split}, mask column={mask_column}).")


def read_many(sources: Sequence[str], **how: Any) -> Iterator[Record]:
    """The rows of several sources, one after the other; see `read_records`."""
    for source in sources:
        yield from read_records(source, **how)
