"""What running needs, and what the tests need beyond it."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPTIONAL = {
    "datatrove",
    "ray",
    "loguru",
    "spaces",
    "starlette",
    "fastapi",
    "httpx2",
    "httpx",
}
"""Imported where they are installed, or brought by one that is required."""


def named(file: str) -> set[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines)
    return {one[0].lower().replace("_", "-") for one in found if one and one[0] != "-r"}


@cache
def imported() -> frozenset[str]:
    """Distributions that the product imports, also inside functions."""
    owners, found = packages_distributions(), set()
    for package in ("lungsynth", "publish", "space"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [str(node.module)]
                for top in {name.split(".")[0] for name in names} - {*sys.stdlib_module_names}:
                    found |= {one.lower().replace("_", "-") for one in owners.get(top, [])}
    return frozenset(found - {"lungsynth"})


def test_the_product_imports_what_running_requires() -> None:
    assert imported() - named("requirements-runtime.txt") - OPTIONAL == set()


def test_what_tests_alone_need_is_no_requirement_of_running() -> None:
    tests = named("requirements.txt")
    assert {"pytest", "hypothesis", "torchmetrics", "prdc", "pycocotools"} <= tests
    assert not tests & (named("requirements-runtime.txt") | imported())
    first = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()[0]
    assert first == "-r requirements-runtime.txt"
