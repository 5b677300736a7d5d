"""How a picture and the maps of its words form, step by step; what is kept of it is small.

The capture of `lungsynth.model.attention` sums a token's probability over the steps. What a sum grew by
between two steps is the map of those steps, so nothing is read twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import FloatArray, UInt8Array
from space.draw import heat
from space.draw.preview import Previewer

if TYPE_CHECKING:
    from lungsynth.model.attention import Captured
    from lungsynth.pipeline import Synthesizer

Grid = tuple[int, int]

MAX_FRAMES = 25
"""Frames kept of a drawing; with more steps a frame is the mean of several."""


@dataclass(frozen=True, slots=True)
class Formation:
    """The maps of a picture's words by step and resolution, and the picture on its way."""

    words: tuple[str, ...]
    steps: tuple[int, ...]  # last step of each frame, ascending; the last is that of the drawing
    maps: Mapping[Grid, NDArray[np.float16]]  # (h, w) -> (frames, words, h, w) mean probability
    pictures: Mapping[int, UInt8Array]  # step -> (H, W) picture after it; see `Previewer`

    def frame_at(self, step: int) -> int:
        """The frame that holds a step, 1 … steps."""
        return min(int(np.searchsorted(self.steps, step)), len(self.steps) - 1)

    def differences(self, step: int = 0) -> NDArray[np.float32]:
        """Where each word looks in a step, 0 for all of them: (words, H, W) of `heat.differences`,
        finest grid.
        """
        chosen = slice(self.frame_at(step), self.frame_at(step) + 1) if step else slice(None)
        weights = self._weights()[chosen]
        maps = {
            grid: np.average(frames[chosen].astype(np.float32), axis=0, weights=weights)
            for grid, frames in self.maps.items()
        }
        return heat.differences(self.words, maps)

    def _weights(self) -> FloatArray:
        """Steps of each frame."""
        return np.diff(self.steps, prepend=0).astype(np.float32)


class Watcher:
    """Called after each step, from 1, of one drawing, with its latents (1, C, h, w); gives what can
    be shown by then, and keeps a `Formation`. `tokens` are the positions of each word's.
    """

    def __init__(
        self,
        model: Synthesizer,
        steps: int,
        tokens: Mapping[str, tuple[int, ...]],
        *,
        previews: bool = True,
    ) -> None:
        self.model, self.steps, self.tokens = model, steps, tokens
        self.previewer = Previewer(model, steps) if previews else None
        self.every = math.ceil(steps / MAX_FRAMES)
        self.captured: Captured | None = None
        self._before: dict[Grid, tuple[FloatArray, int]] = {}
        self._frames: dict[Grid, list[NDArray[np.float16]]] = {}
        self._ends: list[int] = []
        self._pictures: dict[int, UInt8Array] = {}

    def begin(self, captured: Captured) -> None:
        """Called with what will hold the attention, before the first step."""
        self.captured = captured

    def __call__(self, step: int, latents: Any) -> tuple[UInt8Array | None, UInt8Array | None]:
        """(H, W) picture on its way and (words, h, w) levels of this step; None where none is made."""
        if step % self.every == 0 or step == self.steps:
            self._keep(step)
        picture = self.previewer(step, latents) if self.previewer else None
        if picture is None:
            return None, None
        self._pictures[step] = picture
        if not self._frames:
            return picture, None
        now = {grid: frames[-1].astype(np.float32) for grid, frames in self._frames.items()}
        return picture, heat.level(heat.differences(list(self.tokens), now))

    def _keep(self, step: int) -> None:
        if self.captured is None:
            return
        for grid, total in self.captured.sums.items():
            words = [total[0][..., list(tokens)].mean(-1) for tokens in self.tokens.values()]
            now = np.array([one.float().cpu().numpy() for one in words], dtype=np.float32)
            count = self.captured.counts[grid]
            before, n = self._before.get(grid, (np.zeros_like(now), 0))
            self._before[grid] = (now, count)
            mean = (now - before) / max(1, count - n)
            self._frames.setdefault(grid, []).append(mean.astype(np.float16))
        self._ends.append(step)

    def formation(self) -> Formation | None:
        """What was kept; None when nothing was captured."""
        if not self._ends or not self.tokens:
            return None
        maps = {grid: np.stack(frames) for grid, frames in self._frames.items()}
        return Formation(tuple(self.tokens), tuple(self._ends), maps, self._pictures)
