"""`python -m lungsynth segment`: what it does.

Results are named by path, films that fail are set apart, and an index lists everything.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from lungsynth.cli.films import SegmentCommand
from lungsynth.errors import LungSynthError, OutputError
from lungsynth.files import check_writable, write_files, write_whole
from lungsynth.films.film import Film, pixels_sha256, read_film
from lungsynth.films.finding import Found, Search, check_names, search_films
from lungsynth.masks.refine import RefineConfig, with_values
from lungsynth.model.put_right import Righting
from lungsynth.output import file_names, film_warnings, segment_files
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import segment_films, segment_settings, settings_sha256

INDEX_CSV, INDEX_JSONL = "index.csv", "index.jsonl"
COLUMNS = (
    "path",
    "ending",
    "status",
    "reason",
    "folder",
    "width",
    "height",
    "trust",
    "film_score",
    "put_right",
    "warnings",
)
"""Of the CSV; the JSON lines have the same keys, with lists for the last two."""


def index_row(
    path: str, status: str, *, reason: str = "", record: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One line of the index.

    Args:
        path: The file's path below what the user named, "/" between folders.
        status: "done" now, "skipped" as it was done before, "failed" or "left out" for a reason, "not
            reached" where the run stopped before it.
        reason: Why it failed or was left out.
        record: The film's record, where it has one.
    """
    known = record or {}
    return {
        "path": path,
        "ending": Path(path).suffix.lower(),
        "status": status,
        "reason": reason,
        "folder": path if status in ("done", "skipped") else "",
        "width": known.get("width"),
        "height": known.get("height"),
        "trust": known.get("trust"),
        "film_score": (known.get("film_check") or {}).get("score"),
        "put_right": list(known.get("put_right") or []),
        "warnings": list(known.get("warnings") or []),
    }


def index_files(rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """`index.csv` and `index.jsonl`, in the order of paths."""
    ordered = sorted(rows, key=lambda row: row["path"])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in ordered:
        lists = {name: "; ".join(cell) for name, cell in row.items() if isinstance(cell, list)}
        writer.writerow({**row, **lists})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered)
    return {INDEX_CSV: buffer.getvalue().encode(), INDEX_JSONL: lines.encode()}


@dataclass(kw_only=True)
class SegmentRun:
    """A run over files; `run` does it."""

    synthesizer: Synthesizer
    command: SegmentCommand
    options: dict[str, Any]  # of `segment_films`
    bar: Any  # of films
    rows: dict[Path, dict[str, Any]] = field(default_factory=dict)  # of the index, by file

    def run(self, search: Search) -> dict[str, int]:
        """Segment what was found and write the index, also when the run is broken off.

        Returns:
            Status -> number of files; see `index_row`.

        Raises:
            DataError: two inputs hold films of one path; nothing was done.
            OutputError: the index cannot be written.
        """
        check_names(search.films)
        settings = segment_settings(self.synthesizer, **self.options)
        wanted = settings_sha256(settings)
        names = file_names(settings, probability=self.command.probability)
        self.rows = {one.path: index_row(str(one.relative), "not reached") for one in search.films}
        for other in search.left_out:
            self.rows[other.path] = index_row(str(other.relative), "left out", reason=other.reason)
        try:
            waiting: list[tuple[Found, Film]] = []
            for one in search.films:
                film = self._read(one, wanted, names)
                if film is not None:
                    waiting.append((one, film))
                if len(waiting) == self.command.batch_size:
                    self._segment(waiting)
                    waiting = []
            self._segment(waiting)
        finally:
            for name, data in index_files(self.rows.values()).items():
                write_whole(self.command.out / name, data)
        statuses = [row["status"] for row in self.rows.values()]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    def failures(self) -> list[tuple[str, str]]:
        """Path and reason of every film that failed, in the order of the run."""
        return [(r["path"], r["reason"]) for r in self.rows.values() if r["status"] == "failed"]

    def _read(self, one: Found, wanted: str, names: Sequence[str]) -> Film | None:
        """The film, or None where it is done or cannot be done; the index says which."""
        folder = self.command.out / one.relative
        try:
            film = replace(read_film(one.path), path=str(one.relative))
            state = folder_state(folder, pixels_sha256(film.image), wanted, names)
            if state == "foreign":
                raise OutputError(f"{folder} is not a folder of `segment`. Choose another --out.")
            if state == "other" and not self.command.overwrite:
                raise OutputError(
                    f"{folder} holds the mask of another film. Choose another --out, or --overwrite."
                )
        except LungSynthError as error:
            self._failed(one, error)
            return None
        if state == "done" and not self.command.overwrite:
            record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            self.rows[one.path] = index_row(film.path, "skipped", record=record)
            self.bar.update()
            return None
        return film

    def _segment(self, batch: Sequence[tuple[Found, Film]]) -> None:
        """Segment and write a batch; a film that fails alone does not take the others with it."""
        if not batch:
            return
        try:
            results = segment_films(self.synthesizer, [film for _, film in batch], **self.options)
        except LungSynthError as error:
            if len(batch) > 1:
                for one_film in batch:
                    self._segment([one_film])
            else:
                self._failed(batch[0][0], error)
            return
        for (one, film), result in zip(batch, results, strict=True):
            folder = self.command.out / one.relative
            files = segment_files(film, result, probability=self.command.probability)
            notes = [("warning", note) for note in film_warnings(film, result)]
            notes += [("put right", note) for note in result.righted.done]
            for kind, note in notes if not self.command.quiet else ():
                tqdm.write(f"{kind}: {one.path}: {note}", file=sys.stderr)
            write_files(files, folder)
            self.rows[one.path] = index_row(
                film.path, "done", record=json.loads(files["record.json"])
            )
            tqdm.write(str(folder), file=sys.stdout)
            self.bar.update()

    def _failed(self, one: Found, error: LungSynthError) -> None:
        """Keep the reason, without the folders of this machine."""
        reason = str(error).replace(str(one.path), str(one.relative))
        reason = reason.removeprefix(f"{one.relative}: ").replace(f"{self.command.out}/", "")
        self.rows[one.path] = index_row(str(one.relative), "failed", reason=reason)
        self.bar.update()


def folder_state(folder: Path, pixels: str, settings: str, names: Sequence[str]) -> str:
    """What a film's folder holds: nothing, "foreign" files, an "other" film, "stale" or "done"."""
    if not folder.exists():
        return ""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        of_film, of_settings = record["pixels_sha256"], record["settings_sha256"]
        if any(part.is_dir() for part in folder.iterdir()):
            return "foreign"  # films of a folder that is named like this film lie in it
    except (OSError, ValueError, KeyError, TypeError):
        return "foreign"
    if of_film != pixels:
        return "other"
    whole = all((folder / name).is_file() for name in names)
    return "done" if whole and of_settings == settings else "stale"


def run_segment(command: SegmentCommand) -> None:
    """Outline the organs on your own real X-rays, of any size."""
    search = search_films(command.images, exclude=[command.out])
    check_writable(command.out, make=False)
    config = with_values(
        RefineConfig() if command.method is None else RefineConfig(method=command.method),
        command.refine_values,
    )
    options = {
        "prompt": command.prompt,
        "seed": command.seed,
        "n_noise": command.n_noise,
        "config": config,
        "righting": Righting(invert=command.invert, orient=command.orient),
    }
    synthesizer = Synthesizer(command.model, device=command.device, classes=command.classes)
    with tqdm(total=len(search.films), unit="film", disable=command.quiet) as bar:
        run = SegmentRun(synthesizer=synthesizer, command=command, options=options, bar=bar)
        counts = run.run(search)
    for path, reason in run.failures():
        click.echo(f"failed: {path}: {reason}", err=True)
    if not command.quiet:
        told = [f"{counts.get(status, 0)} {status}" for status in ("done", "skipped", "failed")]
        if search.left_out:
            told.append(f"{len(search.left_out)} left out ({search.counts()})")
        click.echo(f"{', '.join(told)}; masks in {command.out}", err=True)
    if counts.get("failed"):
        sys.exit(1)
