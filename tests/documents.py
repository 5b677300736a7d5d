"""Blocks of code in the documents, and the commands in their shell blocks."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "annotations" / "README.md",
    *sorted((ROOT / "lungsynth" / "checkpoints").glob("*/README.md")),
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "python", "yaml", ""}
"""What is handled; without a name: a picture in letters."""

STUBS = ("python", "pip", "git", "hf", "apt-get", "benchmarks/arms.sh")
"""Programs of shell blocks; everything else in them the shell itself must know."""

VARIABLES = {"DATA": "--data films.parquet", "PORT": "8000"}


def blocks_of(path: Path) -> list[tuple[str, str, str]]:
    """(place, language, code) of every block of a document."""
    found = BLOCK.findall(path.read_text(encoding="utf-8"))
    return [(f"{path.relative_to(ROOT)}#{k}", name, code) for k, (name, code) in enumerate(found)]


def blocks(language: str) -> list[tuple[str, str]]:
    """(place, code) of every block of a language."""
    every = [one for path in DOCUMENTS for one in blocks_of(path)]
    return [(place, code) for place, name, code in every if name == language]


def commands(code: str, folder: Path) -> list[list[str]]:
    """The programs a shell block starts, with their words, as the shell itself expands them."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    stubs = "".join(
        f"{name}() {{ printf '%s\\0' {name} \"$@\" >> {log}; printf '\\n\\0' >> {log}; }}\n"
        for name in STUBS
    )
    variables = "".join(f"{name}='{value}'\n" for name, value in VARIABLES.items())
    program = f"set -eu\n{stubs}{variables}{code}"
    done = subprocess.run(
        ["bash", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    words = log.read_text(encoding="utf-8").split("\0") if log.exists() else []
    found: list[list[str]] = [[]]
    for word in words[:-1]:
        if word == "\n":
            found.append([])
        elif word != "…":
            found[-1].append(word)
    return found[:-1]


def home_of(module: str) -> Any:
    """The Python module behind `python -m MODULE`; None when it is none of ours."""
    homes = {"lungsynth": "lungsynth.cli.main", "publish": "publish.cli"}
    homes["benchmarks"] = "benchmarks.__main__"
    if module.split(".")[0] not in homes:
        return None
    return importlib.import_module(homes.get(module, module))
