"""Packages that only some commands need."""

from __future__ import annotations

import importlib
from typing import Any

from lungsynth.errors import MissingDependencyError


def need(module: str) -> Any:
    """An optional package.

    Args:
        module: Its name in Python.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module.split('.')[0]} is not installed; run: pip install -r requirements.txt"
        ) from error
