"""Reports of bad masks: made when a visitor asks for it, without the prompt unless they add it.

Where a report goes is the maintainer's choice, by environment variables:

- `LUNGSYNTH_REPORTS`: a folder each report is written to as a file;
- `LUNGSYNTH_REPORTS_REPO`: a private dataset on the Hub that folder is synchronised with every ten
  minutes; needs a token (`HF_TOKEN`) that may write to it;
- `LUNGSYNTH_REPORTS_URL`: an address with `{report}` in it, such as that of a new issue, which the
  visitor may open with the report filled in.

With none of them the visitor gets the file, and nothing is kept here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lungsynth import RESEARCH_NOTICE
from lungsynth.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from lungsynth.permalink import Permalink
    from space.draw.study import Study

FOLDER_VARIABLE = "LUNGSYNTH_REPORTS"
REPO_VARIABLE = "LUNGSYNTH_REPORTS_REPO"
URL_VARIABLE = "LUNGSYNTH_REPORTS_URL"
PROBLEMS = {
    "border": "The border is off",
    "missing": "Part of a lung is missing",
    "extra": "Something that is no lung is marked",
    "sides": "Left and right are swapped",
    "picture": "The picture is no chest X-ray",
    "other": "Something else",
}
"""What can be wrong: name in a report -> words on the page."""

MAX_NOTE = 500  # characters of a visitor's own words
MAX_KEPT = 10_000  # reports in the folder; further ones are refused
MAX_URL = 6000  # characters; browsers and servers cut longer addresses

_lock = threading.Lock()
_scheduler: Any = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a report."""

    name: str  # of its file
    data: bytes  # JSON
    kept: bool  # whether it was kept here for the maintainer
    url: str  # where it can be handed in, "" when there is no such place


def make_report(
    study: Study,
    asked: Permalink,
    problems: Sequence[str],
    note: str = "",
    *,
    with_prompt: bool = False,
) -> dict[str, Any]:
    """A report of a mask as it is now; JSON. Who reports is not in it.

    `problems` are of `PROBLEMS`, the note is in the visitor's own words; without the prompt only a
    dataset row can be drawn again.

    Raises:
        ConfigError: nothing is said to be wrong, or a problem is unknown.
    """
    assert study.made is not None
    strange = [one for one in problems or () if one not in PROBLEMS]
    if strange or not problems:
        raise ConfigError(
            "Say what is wrong: tick one of the boxes."
            if not strange
            else f"{str(strange[0])[:40]!r} is none of {', '.join(PROBLEMS)}."
        )
    if len(note or "") > MAX_NOTE:
        raise ConfigError(f"The note has {len(note):,} characters; at most {MAX_NOTE} are taken.")
    settings = {key: value for key, value in asdict(asked).items() if key not in ("prompt", "row")}
    return {
        "notice": RESEARCH_NOTICE,
        "kind": "lungsynth bad mask",
        "row": asked.row or None,
        "problems": [one for one in PROBLEMS if one in problems],
        "note": (note or "").strip(),
        "prompt": study.prompt if with_prompt else None,
        **settings,
        "refine": asdict(study.made.config),
        "scores": study.made.scores,
        "mask_sha256": hashlib.sha256(study.made.mask.tobytes()).hexdigest(),
        "image_sha256": hashlib.sha256(study.image.tobytes()).hexdigest(),
        "model": study.record["model"],
        "code_version": study.record["code_version"],
    }


def hand_in(report: dict[str, Any]) -> Sent:
    """Keep a report where the maintainer wants it, and give it back as a file.

    Raises:
        OutputError: the folder is full, or cannot be written.
        ConfigError: `LUNGSYNTH_REPORTS_REPO` is set, and there is no token.
    """
    data = (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
    name = f"mask-report-{secrets.token_hex(8)}.json"
    folder, lock = _place()
    if folder is not None:
        with lock:
            _write(folder, name, data)
    return Sent(name, data, folder is not None, _url(data.decode()))


def keeps() -> bool:
    """Whether reports are kept for the maintainer."""
    return bool(os.environ.get(FOLDER_VARIABLE) or os.environ.get(REPO_VARIABLE))


def _place() -> tuple[Path | None, Any]:
    """The folder of reports, or None, and what to hold while writing."""
    repo, folder = os.environ.get(REPO_VARIABLE), os.environ.get(FOLDER_VARIABLE)
    if not repo:
        return (Path(folder) if folder else None), _lock
    global _scheduler
    with _lock:
        if _scheduler is None:
            _scheduler = _begin(repo, Path(folder or tempfile.mkdtemp(prefix="lungsynth-reports-")))
    return Path(_scheduler.folder_path), _scheduler.lock


def _begin(repo: str, folder: Path) -> Any:
    from huggingface_hub import CommitScheduler, get_token  # deferred: slow to import

    token = os.environ.get("HF_TOKEN") or get_token()
    if not token:
        raise ConfigError(f"{REPO_VARIABLE} is set, and there is no token; set HF_TOKEN.")
    return CommitScheduler(
        repo_id=repo,
        repo_type="dataset",
        folder_path=folder,
        every=10,
        path_in_repo="reports",
        private=True,
        token=token,
    )


def _write(folder: Path, name: str, data: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in folder.glob("mask-report-*.json")) >= MAX_KEPT:
            raise OutputError("No more reports are taken at present; please keep the file.")
        temporary = folder / f".{name}"
        temporary.write_bytes(data)
        temporary.replace(folder / name)
    except OSError as error:
        raise OutputError(
            "The report could not be kept here; please try again, or hand in the file."
        ) from error


def _url(text: str) -> str:
    """`LUNGSYNTH_REPORTS_URL` with the report filled in; "" when there is none, or it is no address."""
    pattern = os.environ.get(URL_VARIABLE, "")
    if not re.match(r"(https?://|mailto:)", pattern):
        return ""
    filled = pattern.replace("{report}", quote(text, safe=""))
    return filled if len(filled) <= MAX_URL else pattern.replace("{report}", "")
