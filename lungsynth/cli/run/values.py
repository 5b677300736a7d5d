"""What options of several commands mean: numbers in a text, and who rejects."""

from __future__ import annotations

from lungsynth.cli.options import Verifying
from lungsynth.errors import ConfigError
from lungsynth.verify.redraw import Rejection
from lungsynth.verify.verifier import load_verifier


def numbers(text: str, option: str, *, low: int, high: int) -> tuple[int, ...]:
    """`400,600` -> (400, 600).

    Raises:
        ConfigError: not whole numbers between `low` and `high`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and low <= int(part) <= high for part in parts):
        raise ConfigError(
            f"{option} {text!r}: expected whole numbers from {low} to {high} with commas between, "
            "such as 400,600."
        )
    return tuple(int(part) for part in parts)


def rejection_of(command: Verifying) -> Rejection | None:
    """`--verify N --verifier DIR` -> who rejects; None where neither is given.

    Raises:
        ConfigError: one of the two without the other.
        CheckpointError: the folder holds no verifier.
    """
    n_redraws, folder = command.n_redraws, command.verifier_folder
    if (n_redraws is None) != (folder is None):
        raise ConfigError("--verify N and --verifier DIR go together: how often, and who judges.")
    if n_redraws is None or folder is None:
        return None
    return Rejection(load_verifier(folder), n_redraws)
