"""Who imports whom."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache  # several tests ask for the same files
def imported(path: Path) -> frozenset[str]:
    """Full names a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return frozenset(names)


def offenders(package: str, forbidden: tuple[str, ...]) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, package
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in sorted(imported(path))
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("lungsynth", ("gradio", "huggingface_hub", "space", "publish", "app")),
        ("publish", ("gradio", "space", "app")),
        ("space", ("publish",)),
    ],
)
def test_packages_do_not_import(package: str, forbidden: tuple[str, ...]) -> None:
    assert offenders(package, forbidden) == []


LAYERS = {
    "lungsynth": (
        ("lungsynth",),  # version and notice
        ("lungsynth.errors", "lungsynth.arrays"),
        ("lungsynth.images", "lungsynth.files", "lungsynth.prompts"),
        ("lungsynth.films",),
        ("lungsynth.about",),
        ("lungsynth.model",),
        ("lungsynth.masks",),
        ("lungsynth.trust",),
        ("lungsynth.sampling", "lungsynth.refine", "lungsynth.crf"),  # old addresses
        ("lungsynth.pipeline", "lungsynth.maps"),
        ("lungsynth.output", "lungsynth.segment", "lungsynth.permalink", "lungsynth.doctor"),
        ("lungsynth.verify",),
        (
            "lungsynth.training",
            "lungsynth.training.diffusion",
            "lungsynth.training.film_check",
            "lungsynth.training.words",
        ),
        ("lungsynth.training.trust",),
        ("lungsynth.evaluation",),
        ("lungsynth.evaluation.copies",),
        ("lungsynth.evaluation.words",),
        ("lungsynth.evaluation.fidelity", "lungsynth.evaluation.masks"),
        ("lungsynth.evaluation.downstream",),
        ("lungsynth.report",),
        (
            "lungsynth.cli",
            "lungsynth.cli.evaluate",
        ),  # options; what a command does is imported late
        ("lungsynth.cli.run", "lungsynth.cli.evaluate.run"),
        ("lungsynth.__main__",),
    ),
    "publish": (
        ("publish",),
        ("publish.data",),
        ("publish.hub", "publish.export"),
        ("publish.card",),
        ("publish.build",),
        ("publish.check",),
        ("publish.release",),
        ("publish.commands",),
        ("publish.commands.run",),
        ("publish.cli",),
        ("publish.__main__",),
    ),
    "space": (("space",), ("space.draw",), ("space.share",), ("space.page",)),
}
"""Rooms from the ground up: a module imports its own room and those below, never one above."""

MAX_MODULES = 16
"""In one folder, `__init__.py` aside."""


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(package: str) -> dict[str, set[str]]:
    """Module -> modules of the same package it imports, anywhere; a package's `__init__` too."""
    files = modules(package)
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        taken = imported(path)
        # `from a.b import c` gives a.b and a.b.c; where a.b.c is a module, a.b was not meant
        meant = {
            one for one in taken if not any(o.startswith(f"{one}.") for o in taken & files.keys())
        }
        found[name] = (meant & files.keys()) - {name}
    return found


def layer(name: str, path: Path) -> int:
    """The layer of a module: its own, else that of its folder."""
    room = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for one in (name, room):
        for index, names in enumerate(LAYERS[name.split(".")[0]]):
            if one in names:
                return index
    raise AssertionError(f"{name} has no place in LAYERS; say between which rooms it stands")


@pytest.mark.parametrize("package", LAYERS)
def test_arrows_between_rooms_point_down(package: str) -> None:
    files = modules(package)
    lazy = ("lungsynth", "lungsynth.model.autoencoder")  # diffusers asks the package for the class
    upward = [
        f"{name} -> {target}"
        for name, targets in arrows(package).items()
        for target in sorted(targets)
        if layer(name, files[name]) < layer(target, files[target]) and (name, target) != lazy
    ]
    assert upward == []


@pytest.mark.parametrize("package", LAYERS)
def test_nothing_imports_in_a_circle(package: str) -> None:
    graph = arrows(package)
    if package == "lungsynth":
        graph[package] = set()  # see above
    while graph:
        free = [name for name, targets in graph.items() if not targets & graph.keys()]
        assert free, f"in or above a circle: {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("package", LAYERS)
def test_folders_can_be_taken_in_at_a_glance(package: str) -> None:
    folders = {path.parent for path in modules(package).values()}
    sizes = {f: len([p for p in f.glob("*.py") if p.name != "__init__.py"]) for f in folders}
    assert max(sizes.values()) <= MAX_MODULES, sizes


def test_the_network_has_one_door() -> None:
    """Only `backbone` asks a pipeline for its network; training builds one from its parts."""
    takes = re.compile(r"\b(pipe|pipeline)\.unet\b")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in LAYERS
        for path in modules(package).values()
        if takes.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"lungsynth/model/backbone.py", "lungsynth/training/diffusion/parts.py"}


def test_array_types_and_the_value_that_is_not_counted_have_one_home() -> None:
    again = re.compile(r"^(\w+Array\w*|Array)\b.*= *NDArray|^IGNORED?\b.*= *255", re.MULTILINE)
    found = {
        name
        for package in LAYERS
        for name, path in modules(package).items()
        if again.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"lungsynth.arrays"}


def test_the_formatter_is_nowhere_switched_off() -> None:
    switch = re.compile(r"#\s*fmt:\s*(skip|off)")
    files = [p for p in ROOT.rglob("*.py") if not {".venv", "runs"} & {*p.relative_to(ROOT).parts}]
    assert [str(p) for p in files if switch.search(p.read_text(encoding="utf-8"))] == []


def test_the_search_finds_what_it_looks_for() -> None:
    assert "lungsynth.errors" in imported(ROOT / "lungsynth/films/data.py")
    assert offenders("lungsynth", ("numpy",))
    assert "datasets" in imported(ROOT / "lungsynth/films/data.py")  # inside a function


def test_errors_and_data_stand_at_the_bottom() -> None:
    base = {"lungsynth.errors", "lungsynth.arrays"}
    graph = arrows("lungsynth")
    assert graph["lungsynth.errors"] == graph["lungsynth.arrays"] == set()
    assert graph["lungsynth.films.decoding"] <= base
    assert graph["lungsynth.films.data"] <= base | {"lungsynth.films.decoding"}


@pytest.mark.parametrize(
    "modules",
    [
        "lungsynth, lungsynth.errors, lungsynth.films.data, lungsynth.films.framing",
        "lungsynth.training.captions",
        "lungsynth.cli.main",
        "lungsynth.prompts, lungsynth.masks.quality, lungsynth.masks.refine",
        "lungsynth.masks.chain, lungsynth.masks.classes, lungsynth.model.checkpoint, lungsynth.permalink",
    ],
)
def test_importing_is_light(modules: str) -> None:
    heavy = (
        "torch",
        "diffusers",
        "transformers",
        "datasets",
        "gradio",
        "huggingface_hub",
        "sklearn",
        "pyarrow",
        "scipy.ndimage",  # scipy and skimage import their parts when they are first asked for
        "scipy.sparse",
        "skimage.filters",
    )
    program = f"import sys, {modules}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_nothing_is_unpickled_or_evaluated() -> None:
    """Checkpoints and data come from strangers."""
    for package in ("lungsynth", "publish", "space"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not imported(path) & {"pickle", "marshal", "shelve", "joblib", "dill"}, path
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    assert name not in ("eval", "exec", "torch.load", "os.system", "yaml.load"), (
                        path,
                        name,
                    )
                    for keyword in node.keywords:
                        if keyword.arg in ("trust_remote_code", "allow_pickle", "shell"):
                            assert ast.unparse(keyword.value) == "False", (path, keyword.arg)
