"""`CHANGELOG.md` of a dataset: an entry a version, the newest first; written text stays."""

from __future__ import annotations

import re
from pathlib import Path

from publish.data.manifest import Manifest

CHANGELOG_NAME = "CHANGELOG.md"
HEAD = "# Changelog\n\nVersions follow SemVer by the data: PATCH changes no row, MINOR adds, MAJOR "
HEAD += "changes or removes.\nRows withdrawn by an erratum are a PATCH.\n"
VERSION = re.compile(r"^## (\d+\.\d+\.\d+)$", re.MULTILINE)


def make_changelog(out: Path, manifest: Manifest) -> str:
    """The older changelog of a dataset folder, with an entry for the manifest's version.

    An entry that is there already is kept as it is.
    """
    path = out / CHANGELOG_NAME
    old = path.read_text(encoding="utf-8") if path.is_file() else HEAD
    if manifest.version in VERSION.findall(old):
        return old
    splits = ", ".join(f"{name} {n:,}" for name, n in manifest.splits.items())
    first = f"First release: {manifest.n_rows:,} rows ({splits})."
    return add_entry(old, manifest.version, [first])


def add_entry(changelog: str, version: str, lines: list[str]) -> str:
    """A changelog with a new entry, a line a change, above the older ones."""
    entry = f"## {version}\n\n" + "".join(f"- {line}\n" for line in lines)
    found = VERSION.search(changelog)
    if not found:
        return f"{changelog.rstrip()}\n\n{entry}"
    return f"{changelog[: found.start()]}{entry}\n{changelog[found.start() :]}"
