"""How real films are shown to the network: noised to some timesteps, one pass each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Passes of the network over real films."""

    timesteps: tuple[int, ...]  # where films are noised
    n_seeds: int = 1  # noises a film and timestep
    seed: int = 0  # of the noise
    precision: str = "auto"  # of the network, see `lungsynth.model.precision`
    batch: int = 8  # passes at a time
    quiet: bool = True  # no progress bar
