"""What a Space needs of this repository: the page, the modules it imports, the checkpoint, the pins."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

import lungsynth
from lungsynth import RESEARCH_NOTICE
from lungsynth.errors import ConfigError, OutputError
from lungsynth.model.checkpoint import FILM_CHECK_FOLDER, FORMER_NAME, NEAREST_FOLDER
from publish.hub.payload import front_matter

ROOT = Path(lungsynth.__file__).parents[1]
"""The checkout this program runs from."""

MODEL = "mini"
"""Shipped checkpoint the page starts with."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "pydensecrf": "pydensecrf2",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
}
"""Import name -> name on the package index, where they differ."""

ALWAYS = ("transformers", "accelerate", "safetensors", "huggingface-hub", "python-gdcm")
"""Needed by diffusers, the last by pydicom for compressed films, and imported by them alone."""

IGNORED = ("gradio", "spaces", "torch", "lungsynth", "space", "app")
"""Gradio comes by `sdk_version`, torch by the hardware."""

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Hardware:
    """A kind of machine Spaces run on."""

    flavour: str | None  # asked for when the Space is made; None = the free default
    python: str
    torch: str
    lines: tuple[str, ...]  # before the requirements
    more: tuple[str, ...] = ()  # requirements


HARDWARE = {  # of `--hardware`
    "cpu-basic": Hardware(None, "3.12", "2.13.0", (f"--extra-index-url {CPU_INDEX}",)),
    # ZeroGPU: torch 2.8.0, 2.9.1, 2.10.0 or 2.11.0; Python 3.12.12 or 3.10.13; PyPI's CUDA wheels
    "zero": Hardware("zero-a10g", "3.12.12", "2.11.0", (), ("spaces>=0.51,<1",)),
}


def imported_modules(path: Path) -> set[str]:
    """Full names a file imports, also inside functions; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def needed_modules(root: Path) -> tuple[list[Path], set[str]]:
    """Files of `lungsynth` that the page imports, directly or not, and all names imported."""
    waiting = [root / "app.py", *sorted((root / "space").rglob("*.py"))]
    found: set[Path] = set()
    names: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        here = imported_modules(path)
        names |= here
        for name in here:
            if name.split(".")[0] == "lungsynth":
                waiting += _files(root, name)
    return sorted(path for path in found if path.is_relative_to(root / "lungsynth")), names


def _files(root: Path, name: str) -> Iterator[Path]:
    """A module's file and the `__init__.py` of its packages; nothing for a name that is no module."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:n])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path


def requirements(names: set[str], hardware: Hardware) -> str:
    """`requirements.txt`: what is imported, in the versions of this environment; torch by the hardware.

    Raises:
        ConfigError: a package that is imported is not installed here.
    """
    tops = {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, *IGNORED}
    wanted = sorted({*(DISTRIBUTIONS.get(top, top) for top in tops), *ALWAYS})
    lines = [*hardware.lines, f"torch=={hardware.torch}"]
    for name in wanted:
        try:
            lines.append(f"{name}=={version(name)}")
        except PackageNotFoundError as error:
            raise ConfigError(f"{name} is imported by the page, but not installed here.") from error
    return "\n".join([*lines, *hardware.more]) + "\n"


def readme(root: Path, hardware: Hardware) -> str:
    """The Space's README.md: front matter of the repository's own, pinned for the hardware."""
    values: dict[str, Any] = front_matter(root / "README.md")
    if values.get("sdk") != "gradio" or values.get("app_file") != "app.py":
        raise ConfigError(f"{root / 'README.md'}: its front matter is not that of a Gradio Space.")
    values |= {
        "sdk_version": version("gradio"),
        "python_version": hardware.python,
        "suggested_hardware": hardware.flavour or "cpu-basic",
    }
    head = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return (
        f"---\n{head}---\n\n# {values['title']}\n\n**{RESEARCH_NOTICE}** The pictures show nobody; the "
        "masks are machine-made and no radiologist has read them.\n\nType what a chest X-ray should "
        "show; the page draws it, shows where each word lies, and a mask.\n"
    )


def write_space(out: Path, hardware: Hardware) -> None:
    """Write everything a Space needs into an empty folder, which is made when missing.

    Raises:
        ConfigError: this is no checkout, or the folder is not empty.
        OutputError: it cannot be written.
    """
    root, checkpoints = ROOT, ROOT / "lungsynth" / "checkpoints"
    if not (root / "app.py").is_file() or not (root / "space").is_dir():
        raise ConfigError(
            f"{root}: no app.py and space/ here; run this from a checkout of lungsynth."
        )
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: not empty. Give an empty folder.")
    modules, names = needed_modules(root)
    skip = re.compile(r"(^|/)(__pycache__/|\.)")
    files = [root / "app.py", root / "LICENSE", root / "packages.txt", *modules]
    files += checkpoints.glob(FORMER_NAME)  # for links made before
    folders = [root / "space", checkpoints / MODEL]
    film_check = checkpoints / FILM_CHECK_FOLDER.name  # checks films before they are read
    folders += [film_check] if film_check.is_dir() else []
    if (checkpoints / MODEL / NEAREST_FOLDER).is_dir():  # its features are of the shipped encoder
        folders.append(checkpoints / "encoder")
    for folder in folders:
        files += [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not skip.search(path.relative_to(root).as_posix())
        ]
    try:
        for path in files:
            target = out / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (out / "requirements.txt").write_text(requirements(names, hardware), encoding="utf-8")
        (out / "README.md").write_text(readme(root, hardware), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--out {out}: cannot be written ({error.strerror or error}).") from error
