"""Finding films in what the user named, each with a name that no other film can change."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lungsynth.errors import DataError
from lungsynth.films.codestream import HEAD, looks_like_dicom

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM = (".dcm", ".dicom", ".dic")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")
"""First bytes of PNG, JPEG, TIFF (either order) and BMP."""
RESULTS = ("mask.png", "coarse.png", "overlay.png", "map_*.png", "probability_*.png")
"""What `segment` and `sample` write beside a record.json, and is no film."""


@dataclass(frozen=True, slots=True)
class Found:
    """One file, and its path below what the user named; a named file's path is its name."""

    path: Path
    relative: PurePosixPath


@dataclass(frozen=True, slots=True)
class LeftOut(Found):
    """A file in a folder that is no film, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was found."""

    films: list[Found]
    left_out: list[LeftOut]

    def counts(self) -> str:
        """How many files were left out, by reason; "" where none was."""
        reasons = Counter(one.reason for one in self.left_out)
        return ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))


def first_bytes(path: Path) -> bytes:
    """The start of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, with or without a preamble; False if unreadable."""
    return looks_like_dicom(first_bytes(path))


def search_films(inputs: Sequence[str], *, exclude: Sequence[Path] = ()) -> Search:
    """Files, folders (searched to any depth) and patterns -> films, each once, in order; and the rest.

    A file that is named is kept even where it is missing or odd, so that it can be reported. What lies
    in a folder is a film by its ending or by its first bytes, whatever it is called. Of a film with
    several names the file is taken and its links are left out.

    Args:
        inputs: What the user named.
        exclude: Nothing below these folders is taken from folders and patterns (output folders).

    Raises:
        DataError: a folder or a pattern holds no film.
    """
    banned = [folder.resolve() for folder in exclude]
    films: dict[Path, Found] = {}
    left: dict[Path, LeftOut] = {}
    for text in inputs:
        path = Path(text)
        inside: Iterable[Path]
        if path.is_dir():
            root, inside = path, path.rglob("*")
        elif not path.exists() and any(sign in text for sign in "*?["):
            root = _fixed_part(path)
            inside = iter([Path(name) for name in glob.glob(text, recursive=True)])  # noqa: PTH207
        else:
            films.setdefault(path.resolve(), Found(path, PurePosixPath(path.name)))
            continue
        n = 0
        files = _files(inside, banned)
        real = {file.resolve() for file in files if not file.is_symlink()}
        for file in files:
            relative = PurePosixPath(file.relative_to(root).as_posix())
            reason = _why_no_link(file, real, films) or why_left_out(file, relative)
            if reason:
                left.setdefault(file.parent.resolve() / file.name, LeftOut(file, relative, reason))
            else:
                n += 1
                films.setdefault(file.resolve(), Found(file, relative))
        if not n:
            rest = [one for one in left.values() if one.path.is_relative_to(root)]
            others = Search([], rest).counts()
            raise DataError(
                f"{text}: no film in it; {', '.join(PICTURES + DICOM)} and DICOM files are read."
                + (f" Left out: {others}." if others else "")
            )
    return Search(list(films.values()), [one for path, one in left.items() if path not in films])


def _files(inside: Iterable[Path], banned: Sequence[Path]) -> list[Path]:
    """Files and links, which may lead to folders or nowhere."""
    return [
        file
        for file in sorted(inside)
        if (file.is_file() or file.is_symlink())
        and not any(file.resolve().is_relative_to(folder) for folder in banned)
    ]


def _why_no_link(file: Path, *known: Container[Path]) -> str:
    """Why a link is not followed; "" where it is, or is none."""
    if not file.is_symlink():
        return ""
    if file.is_dir():
        return "link to a folder (not followed; name it too)"
    if not file.exists():
        return "link that leads nowhere"
    target = file.resolve()
    return "link to a file that is looked at" if any(target in each for each in known) else ""


def _fixed_part(pattern: Path) -> Path:
    """The folder of a pattern before its first wildcard."""
    fixed = Path(pattern.anchor) if pattern.anchor else Path()
    for part in pattern.parts[len(fixed.parts) : -1]:
        if any(sign in part for sign in "*?["):
            break
        fixed = fixed / part
    return fixed


def why_left_out(path: Path, relative: PurePosixPath) -> str:
    """Why a file of a folder is not taken for a film; "" for a film."""
    if any(part.startswith(".") for part in relative.parts):
        return "hidden"
    if path.name.upper() == "DICOMDIR":
        return "DICOMDIR (a directory of films, not a film)"
    if any(path.match(name) for name in RESULTS) and (path.parent / "record.json").is_file():
        return "result of an earlier run"
    ending = path.suffix.lower()
    if ending in PICTURES + DICOM:
        return ""
    head = first_bytes(path)
    if looks_like_dicom(head) or head.startswith(SIGNATURES):
        return ""
    if not head:
        return "empty or unreadable"
    known = ending if ending and len(ending) <= 8 else "without a known ending"
    return f"{known} (not read)"


def find_films(inputs: Sequence[str], *, exclude: Sequence[Path] = ()) -> list[Path]:
    """The films alone; see `search_films`."""
    return [one.path for one in search_films(inputs, exclude=exclude).films]


def check_names(films: Sequence[Found]) -> None:
    """Make sure that every film has a path of its own.

    Raises:
        DataError: two inputs hold films of one path, so that their results would share a folder.
    """
    seen: dict[PurePosixPath, Path] = {}
    for one in films:
        other = seen.setdefault(one.relative, one.path)
        if other != one.path:
            raise DataError(
                f"{other} and {one.path} would both be written to {one.relative}. Name the folder "
                "that holds both instead of the two, or run them apart, each with its own --out."
            )
