"""Generated masks against a judge: a U-Net trained on real expert masks, itself tested first.

There is no truth on a generated picture. The judge only says how far a generated mask is from what
it would have drawn: agreement, never accuracy, and never worth more than the judge's own test Dice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lungsynth.arrays import IGNORE, BoolArray, UInt8Array
from lungsynth.errors import DataError, OutputError
from lungsynth.evaluation.common import RECORD_NAME, write_report
from lungsynth.evaluation.masks.figures import ALL, METRICS, TruthSpec, compare
from lungsynth.evaluation.masks.reading import batches, read_masked
from lungsynth.evaluation.masks.report import mean_interval, resample_films
from lungsynth.evaluation.options import JudgeOptions
from lungsynth.files import check_writable
from lungsynth.films.data import Record, parquet_files, read_records
from lungsynth.films.framing import whole
from lungsynth.masks.body import Segmenter, load_segmenter, predict, save_segmenter
from lungsynth.training.segmenter import Fit, train_segmenter

PIXELS = 128
"""Side of the square the judge looks at."""

MIN_TRAIN = 8
BATCH = 16


def real_films(
    options: JudgeOptions, split: str, truth: TruthSpec, *, limit: int | None = None
) -> tuple[UInt8Array, UInt8Array, list[Mapping[str, str]]]:
    """Films (N, P, P), targets (N, P, P) with 1 counted, 0 not, 255 ignored, and their fields."""
    images, targets = [], []
    fields: list[Mapping[str, str]] = []
    for source in options.sources:
        for record in read_masked(
            source,
            split=split,
            convention=options.convention,
            limit=limit,
            seed=options.seed,
            image_column=options.image_column,
            mask_column=options.mask_column,
        ):
            assert record.mask is not None
            regions, valid = truth.regions(whole(record.mask, pixels=PIXELS, nearest=True))
            images.append(whole(record.image, pixels=PIXELS))
            targets.append(np.where(valid, regions[ALL], IGNORE).astype(np.uint8))
            fields.append(dict(record.fields))
    conventions = sorted({f.get("mask_convention", "") for f in fields})
    if len(conventions) > 1 and not options.convention:
        raise DataError(
            f"Masks of several conventions: {conventions}. Choose one with --convention."
        )
    return np.stack(images), np.stack(targets), fields


def read_generated(source: Path, *, image_column: str, mask_column: str) -> Iterator[Record]:
    """Generated pictures with masks: folders with image.png and mask.png, or Parquet.

    Raises:
        DataError: nothing is there, or a mask is missing or of another size.
    """
    if source.suffix == ".parquet" or parquet_files(source):
        yield from read_records(
            str(source), image_column=image_column, mask_column=mask_column, text_column=None
        )
        return
    folders = sorted(p.parent for p in source.rglob(RECORD_NAME)) if source.is_dir() else []
    if not folders:
        raise DataError(
            f"{source}: no Parquet file and no folder with {RECORD_NAME}; expected what `sample` writes."
        )
    for folder in folders:
        pair = []
        for name in ("image.png", "mask.png"):
            try:
                with Image.open(folder / name) as picture:
                    pair.append(np.asarray(picture.convert("L")).copy())
            except OSError as error:
                raise DataError(f"{folder / name}: cannot be read ({error}).") from error
        if pair[0].shape != pair[1].shape:
            raise DataError(f"{folder}: mask is {pair[1].shape}, image is {pair[0].shape} (H, W).")
        yield Record(pair[0], "", pair[1], {"id": folder.relative_to(source).as_posix()})


def mask_counts(mask: UInt8Array, ids: Sequence[int]) -> BoolArray:
    """Where a generated mask counts: `ids`, or everything but background and ignored."""
    return np.isin(mask, ids) if ids else (mask != 0) & (mask != IGNORE)


def compare_all(
    judge: Segmenter, films: UInt8Array, masks: BoolArray, valid: BoolArray
) -> list[tuple[float, ...]]:
    """The figures of `METRICS` of the judge's masks against `masks`, each (N, P, P)."""
    judged = predict(judge, films, batch=BATCH)[:, 1] > 0.5
    return [compare(a, b, v) for a, b, v in zip(judged, masks, valid, strict=True)]


def _figures(
    rows: Sequence[tuple[float, ...]], fields: Sequence[Mapping[str, str]], seed: int
) -> Any:
    values, times = np.array(rows, dtype=np.float64), resample_films(fields, seed=seed)
    out = {m: mean_interval(values[:, k], times).report() for k, m in enumerate(METRICS)}
    for k, m in ((2, "hd95_percent"), (3, "mean_distance_percent")):
        out[m] = mean_interval(100 * values[:, k] / PIXELS, times).report()
    return out | {"n": len(values)}


def make_judge(options: JudgeOptions, truth: TruthSpec) -> Segmenter:
    """The judge: read from `--judge`, or trained and written to `out/judge`.

    Raises:
        DataError: too few films to train one.
    """
    if options.judge_folder is not None:
        return load_segmenter(options.judge_folder)
    images, targets, _ = real_films(options, options.train_split, truth)
    if len(images) < MIN_TRAIN:
        raise DataError(f"{len(images)} films with masks; a judge needs at least {MIN_TRAIN}.")
    fit = Fit(steps=options.steps, seed=options.seed, quiet=options.quiet)
    judge = train_segmenter(images, targets, fit, n_classes=2)
    save_segmenter(judge, options.out / "judge")
    return judge


def run_judge(options: JudgeOptions) -> str:
    """Train or read the judge, test it, score generated masks, write the report; returns a text.

    Raises:
        LungSynthError: films or generated masks cannot be read, or the place cannot be written.
    """
    truth = TruthSpec(foreground=tuple(options.foreground), ignore=tuple(options.ignore))
    ids = [int(x) for x in options.mask_ids.split(",") if x.strip().isdigit()]
    check_writable(options.out)
    generated = read_generated(
        options.synthetic, image_column=options.image_column, mask_column=options.mask_column
    )
    first = next(generated)  # known to be there before a judge is trained
    films, targets, fields = real_films(options, options.test_split, truth, limit=options.limit)
    judge = make_judge(options, truth)
    own = _figures(compare_all(judge, films, targets == 1, targets != IGNORE), fields, options.seed)
    rows: list[tuple[float, ...]] = []
    names: list[str] = []

    def wanted() -> Iterator[Record]:
        yield first
        yield from generated

    with tqdm(desc="judging", unit="picture", disable=options.quiet, mininterval=2) as bar:
        for part in batches(wanted(), BATCH):
            part = part[: None if options.limit is None else options.limit - len(rows)]
            masks = [whole(r.mask, pixels=PIXELS, nearest=True) for r in part if r.mask is not None]
            valid = np.stack([m != IGNORE for m in masks])
            counted = np.stack([mask_counts(m, ids) for m in masks])
            pictures = np.stack([whole(r.image, pixels=PIXELS) for r in part])
            rows += compare_all(judge, pictures, counted, valid)
            names += [r.fields.get("id") or str(len(names) + k) for k, r in enumerate(part)]
            bar.update(len(part))
            if options.limit is not None and len(rows) >= options.limit:
                break
    agreement = _figures(rows, [{}] * len(rows), options.seed)
    conventions = sorted({f.get("mask_convention", "") for f in fields})
    write_report(
        {
            "judge_on_real_test_films": own,
            "agreement_with_the_judge": agreement,
            "pixels": PIXELS,
            "sources": [Path(s).name for s in options.sources],
            "convention": conventions,
            "synthetic": options.synthetic.name,
            "steps": options.steps,
            "seed": options.seed,
            "trained_before": options.judge_folder is not None,
        },
        options.out / "judge.json",
    )
    _write_rows(names, rows, options.out / "judge.csv")
    lines = [
        f"{'':34}{'Dice':>6} {'95 % interval':>16} {'IoU':>6} {'HD95 %':>7} {'mean %':>7}    n"
    ]
    for title, e in (
        ("the judge on real test films", own),
        ("agreement with the judge", agreement),
    ):
        d = e["dice"]
        lines.append(
            f"{title:34}{d['value']:6.3f}   [{d['low']:.3f}, {d['high']:.3f}] {e['iou']['value']:6.3f} "
            f"{e['hd95_percent']['value']:7.1f} {e['mean_distance_percent']['value']:7.2f} {e['n']:4d}"
        )
    lines.append("agreement is no accuracy: on generated pictures there is no truth")
    return "\n".join(lines)


def _write_rows(names: Sequence[str], rows: Sequence[tuple[float, ...]], path: Path) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as handle:
            out = csv.writer(handle)
            out.writerow(["picture", *METRICS])
            out.writerows([n, *(f"{x:.6g}" for x in r)] for n, r in zip(names, rows, strict=True))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error}). Choose another --out.") from error
