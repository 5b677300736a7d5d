"""Who imports whom."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> set[str]:
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
    return names


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


def test_the_search_finds_what_it_looks_for() -> None:
    assert "lungsynth.errors" in imported(ROOT / "lungsynth/films/data.py")
    assert offenders("lungsynth", ("numpy",))
    assert "datasets" in imported(ROOT / "lungsynth/films/data.py")  # inside a function


def test_errors_and_data_stand_at_the_bottom() -> None:
    assert not any(n.startswith("lungsynth") for n in imported(ROOT / "lungsynth/errors.py"))
    for name, below in (
        ("decoding", {"lungsynth.errors"}),
        ("data", {"lungsynth.errors", "lungsynth.films.decoding"}),
    ):
        names = imported(ROOT / f"lungsynth/films/{name}.py")
        ours = {n.rsplit(".", 1)[0] for n in names if n.startswith("lungsynth") and n not in below}
        assert ours == below


@pytest.mark.parametrize(
    "modules",
    [
        "lungsynth, lungsynth.errors, lungsynth.films.data, lungsynth.films.framing",
        "lungsynth.training.captions",
        "lungsynth.cli.main",
        "lungsynth.prompts, lungsynth.model.vocabulary, lungsynth.masks.quality, lungsynth.masks.refine",
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
        "scipy",
        "skimage",
        "pyarrow",
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
