"""What one cell of the table of `evaluate downstream` is: known without torch or transformers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trained model: what it was shown and what it is."""

    arm: str
    model: str
    seed: int
    n_real: int = 0  # real films, 0 in the synthetic arm
    synthetic: str = ""  # name of the synthetic set, "" in the real arm
    filter: str = "none"
    augmentation: str = "standard"

    def name(self) -> str:
        """File name without suffix."""
        parts = [
            self.model,
            self.arm,
            f"n{self.n_real}",
            self.synthetic or "-",
            self.filter,
            self.augmentation,
            f"s{self.seed}",
        ]
        return "_".join(p.replace("/", "-").replace("_", "-") for p in parts)
