"""Segmenting many files: results named by path, films that fail set apart, an index of everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lungsynth.errors import LungSynthError, OutputError
from lungsynth.files import write_files
from lungsynth.films.film import Film, pixels_sha256, read_film
from lungsynth.films.finding import Found, Search, check_names
from lungsynth.films.index import index_files, index_row
from lungsynth.output import file_names, film_warnings, segment_files
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import segment_films, segment_settings, settings_sha256


def _nothing(*_: object) -> None:
    return None


@dataclass(kw_only=True)
class SegmentRun:
    """A run over files; `run` does it. What it calls while it runs may be left out."""

    synthesizer: Synthesizer
    out: Path  # a film's folder is made below it, at the film's own path
    options: dict[str, Any]  # of `segment_films`
    probability: bool = False
    overwrite: bool = False
    batch_size: int = 4
    say: Callable[[str], None] = _nothing  # a sentence about a film
    made: Callable[[Path], None] = _nothing  # a folder that is finished
    step: Callable[[], None] = _nothing  # after every film, whatever became of it
    rows: dict[Path, dict[str, Any]] = field(default_factory=dict)  # of the index, by file

    def run(self, search: Search) -> dict[str, int]:
        """Segment what was found and write the index, also when the run is broken off.

        Returns:
            Status -> number of files; see `lungsynth.films.index.STATUSES`.

        Raises:
            DataError: two inputs hold films of one path; nothing was done.
            OutputError: the index cannot be written.
        """
        check_names(search.films)
        settings = segment_settings(self.synthesizer, **self.options)
        wanted = settings_sha256(settings)
        names = file_names(settings, probability=self.probability)
        self.rows = {one.path: index_row(str(one.relative), "not reached") for one in search.films}
        for other in search.left_out:
            self.rows[other.path] = index_row(str(other.relative), "left out", reason=other.reason)
        try:
            waiting: list[tuple[Found, Film]] = []
            for one in search.films:
                film = self._read(one, wanted, names)
                if film is not None:
                    waiting.append((one, film))
                if len(waiting) == self.batch_size:
                    self._segment(waiting)
                    waiting = []
            self._segment(waiting)
        finally:
            self._write_index()
        statuses = [row["status"] for row in self.rows.values()]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    def failures(self) -> list[tuple[str, str]]:
        """Path and reason of every film that failed, in the order of the run."""
        return [(r["path"], r["reason"]) for r in self.rows.values() if r["status"] == "failed"]

    def _read(self, one: Found, wanted: str, names: Sequence[str]) -> Film | None:
        """The film, or None where it is done or cannot be done; the index says which."""
        folder = self.out / one.relative
        try:
            film = replace(read_film(one.path), path=str(one.relative))
            state = folder_state(folder, pixels_sha256(film.image), wanted, names)
            if state == "foreign":
                raise OutputError(f"{folder} is not a folder of `segment`. Choose another --out.")
            if state == "other" and not self.overwrite:
                raise OutputError(
                    f"{folder} holds the mask of another film. Choose another --out, or --overwrite."
                )
        except LungSynthError as error:
            self._failed(one, error)
            return None
        if state == "done" and not self.overwrite:
            record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
            self.rows[one.path] = index_row(film.path, "skipped", record=record)
            self.step()
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
            folder = self.out / one.relative
            files = segment_files(film, result, probability=self.probability)
            for note in film_warnings(film, result):
                self.say(f"warning: {one.path}: {note}")
            for note in result.righted.done:
                self.say(f"put right: {one.path}: {note}")
            write_files(files, folder)
            self.rows[one.path] = index_row(
                film.path, "done", record=json.loads(files["record.json"])
            )
            self.made(folder)
            self.step()

    def _failed(self, one: Found, error: LungSynthError) -> None:
        """Keep the reason, without the folders of this machine."""
        reason = str(error).replace(str(one.path), str(one.relative))
        reason = reason.removeprefix(f"{one.relative}: ").replace(f"{self.out}/", "")
        self.rows[one.path] = index_row(str(one.relative), "failed", reason=reason)
        self.step()

    def _write_index(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            for name, data in index_files(self.rows.values()).items():
                temporary = self.out / f".{name}.tmp"
                temporary.write_bytes(data)
                temporary.replace(self.out / name)
        except OSError as error:
            raise OutputError(
                f"{self.out}: the index cannot be written ({error.strerror or error}). Free space or "
                "choose another --out."
            ) from error


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
