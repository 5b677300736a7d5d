"""Many prompts at once: drawn one after the other, kept for an hour, taken home as ZIP or Parquet.

A batch is a folder under the page's temporary files: `batch.json` and a folder for each row that is
done. Whoever knows its name (a secret of the visitor's browser) can go on with it after a reload.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError, LungSynthError, PromptError
from lungsynth.files import pack, write_files
from lungsynth.images import png_bytes
from lungsynth.permalink import MAX_PROMPT, Permalink
from space.draw import actions

MAX_ROWS = 40
"""Pictures of a batch."""
KEEP_SECONDS = 3600
"""A batch is deleted when nothing was added to it for so long."""
LOOK_SECONDS = 300
"""Between two looks for such batches."""
BATCH, REFUSED = "batch.json", "refused.txt"


@dataclass(frozen=True, slots=True)
class Row:
    """A picture asked for."""

    prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and how far it is."""

    name: str
    rows: tuple[Row, ...]
    steps: int
    guidance: float
    folder: Path

    def place(self, n: int) -> Path:
        """Folder of row n, from 0."""
        return self.folder / f"{n:05d}"

    def next(self) -> int | None:
        """The first row that is not done; None when all are."""
        return next((n for n in range(len(self.rows)) if not self.place(n).is_dir()), None)

    def refused(self, n: int) -> str:
        """Why row n could not be drawn; "" when it was, or is not yet."""
        path = self.place(n) / REFUSED
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def read_rows(pasted: str, table: str = "", seed: int = 0) -> list[Row]:
    """Prompts, one a line, or, where there is one, those of a CSV file with the column `prompt`.

    `seed` is that of the first row; one that names none, in a column `seed`, takes this and its
    place.

    Raises:
        ConfigError: there is no row, or too many, or a cell that is none.
    """
    given: list[tuple[str, str]] = []
    if table.strip():
        reader = csv.DictReader(io.StringIO(table.removeprefix("\ufeff")))
        names = {name.strip().lower(): name for name in reader.fieldnames or ()}
        if "prompt" not in names:
            raise ConfigError(
                f"The CSV file has the columns {', '.join(names)[:200] or 'none'}; expected `prompt` "
                "and perhaps `seed`."
            )
        for line in reader:
            number = line[names["seed"]] if "seed" in names else ""
            given.append((line[names["prompt"]] or "", number or ""))
    else:
        given = [(line, "") for line in pasted.splitlines()]
    rows: list[Row] = []
    for n, (prompt, number) in enumerate(given, 1):
        prompt = " ".join(prompt.split())
        if not prompt:
            continue
        if len(prompt) > MAX_PROMPT:
            raise ConfigError(f"Row {n} has {len(prompt):,} characters; at most {MAX_PROMPT:,}.")
        if number and not re.fullmatch(r"\s*\d{1,16}\s*", number):
            raise ConfigError(f"Row {n}: the seed is {number[:40]!r}; expected a whole number.")
        own = int(number) if number else seed + len(rows)
        rows.append(Row(prompt, actions.check_numbers(own, 1, 1)[0]))
    if not 1 <= len(rows) <= MAX_ROWS:
        raise ConfigError(f"{len(rows)} prompts; expected 1 to {MAX_ROWS}, one a line.")
    return rows


def begin(rows: Sequence[Row], steps: float, guidance: float) -> Batch:
    """Make the folder of a new batch.

    Raises:
        ConfigError: a number is out of range.
    """
    _, steps, guidance, _ = actions.check_numbers(0, steps, guidance)
    base = _base()
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = secrets.token_hex(16)
    told = {"rows": [asdict(row) for row in rows], "steps": steps, "guidance": guidance}
    write_files({BATCH: json.dumps(told, ensure_ascii=False).encode()}, base / name)
    return Batch(name, tuple(rows), steps, guidance, base / name)


def forget_old() -> None:
    """Delete the batches that nothing was added to for `KEEP_SECONDS`."""
    for folder in _base().glob("*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def forget_in_time() -> None:
    """Have a thread look for old batches as long as the page is served."""

    def look() -> None:
        while True:
            forget_old()
            time.sleep(LOOK_SECONDS)

    threading.Thread(target=look, name="forget-batches", daemon=True).start()


def find(name: Any) -> Batch | None:
    """The batch of that name; None when there is none any more."""
    if not isinstance(name, str) or not re.fullmatch(r"[0-9a-f]{32}", name):
        return None
    folder = _base() / name
    try:
        told = json.loads((folder / BATCH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    rows = tuple(Row(**row) for row in told["rows"])
    return Batch(name, rows, told["steps"], told["guidance"], folder)


def draw_next(batch: Batch) -> None:
    """Draw the first row that is not done; what cannot be drawn is kept with the reason.

    Raises:
        LungSynthError: there is no checkpoint, or the disk is full.
    """
    n = batch.next()
    if n is None:
        return
    row = batch.rows[n]
    try:
        asked = Permalink(row.prompt, row.seed, batch.steps, batch.guidance, precision="auto")
        *_, drawn = actions.draw(asked, previews=False)
    except PromptError as error:
        write_files({REFUSED: str(error).encode()}, batch.place(n))
        return
    assert isinstance(drawn, actions.Drawing) and drawn.study.made is not None
    record = drawn.study.record | {"scores": drawn.study.made.scores}
    files = {
        "image.png": png_bytes(drawn.study.image),
        "mask.png": png_bytes(drawn.study.made.mask),
        "record.json": (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    write_files(files, batch.place(n))


def as_zip(batch: Batch) -> bytes:
    """Every file of a batch, a folder a row, with `rows.csv`."""
    index = io.StringIO()
    writer = csv.writer(index)
    writer.writerow(["row", "prompt", "seed", "refused"])
    files: dict[str, bytes] = {}
    for n, row in enumerate(batch.rows):
        writer.writerow([n, row.prompt, row.seed, batch.refused(n)])
        place = batch.place(n)
        for path in sorted(place.iterdir()) if place.is_dir() and not batch.refused(n) else ():
            files[f"{place.name}/{path.name}"] = path.read_bytes()
    return pack({"rows.csv": index.getvalue().encode()} | files)


def as_parquet(batch: Batch) -> bytes:
    """The rows that were drawn as Parquet: `load_dataset("parquet", data_files=…)` gives pictures.

    Raises:
        LungSynthError: none was drawn.
    """
    import pyarrow.parquet  # deferred: half a second that only batches need

    rows = []
    for n, row in enumerate(batch.rows):
        place = batch.place(n)
        if not (place / "image.png").is_file():
            continue
        pictures = {
            key: {"bytes": (place / f"{key}.png").read_bytes(), "path": f"{n:05d}-{key}.png"}
            for key in ("image", "mask")
        }
        record = (place / "record.json").read_text(encoding="utf-8")
        rows.append(pictures | {"prompt": row.prompt, "seed": row.seed, "record": record})
    if not rows:
        raise LungSynthError("No picture of the batch was drawn.")
    features: dict[str, dict[str, str]] = {key: {"_type": "Image"} for key in ("image", "mask")}
    for name, kind in (("prompt", "string"), ("seed", "int64"), ("record", "string")):
        features[name] = {"dtype": kind, "_type": "Value"}
    table = pyarrow.Table.from_pylist(rows)
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata(told), buffer, compression="zstd")
    return buffer.getvalue()


def _base() -> Path:
    root = os.environ.get("GRADIO_TEMP_DIR") or str(Path(tempfile.gettempdir()) / "gradio")
    return Path(root) / "lungsynth-batches"
