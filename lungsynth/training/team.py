"""Quick steps on a CPU: threads that share the pictures of one, and copies of networks in bfloat16.

One thread a core has no barriers inside a layer to wait at, and where cores are not equally quick (a
machine shared with others), the slower one is given less, so that both are done at once. A step's
loss and gradient are those of the whole batch, but for the order in which they are summed.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

GRAIN = 4
"""Pictures by which shares change: every new size of a batch costs the kernels a preparation."""

MEMORY = 0.8
"""Of the moving average of speeds."""

PartLoss = Callable[[slice], tuple[Tensor, dict[str, float]]]
"""Pictures of a batch -> their part of the loss and of the numbers to log; the parts add up."""


class Team:
    """Threads that share a step.

    Args:
        size: Threads; at least 1.
        autocast: Makes the context each thread computes its part in.
    """

    def __init__(self, size: int, autocast: Callable[[], Any]) -> None:
        self.autocast = autocast
        self.speeds: list[float | None] = [None] * size  # pictures a second
        self.shares: list[int] = []
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        own = cores if len(cores) >= size else []
        # one pool a member, so that a part always goes to the same core
        self.members = [
            ThreadPoolExecutor(1, f"team{k}", initializer=_settle, initargs=(own[k : k + 1],))
            for k in range(size)
        ]

    def split(self, n: int) -> list[slice]:
        """The parts of a batch of `n`, in proportion to speeds; kept while little would change."""
        speeds = [speed or 1.0 for speed in self.speeds]
        wanted = [n * speed / sum(speeds) for speed in speeds]
        off = [abs(a - b) for a, b in zip(wanted, self.shares, strict=bool(self.shares))]
        if sum(self.shares) != n or max(off) > 0.75 * GRAIN:
            rest = [max(1, round(share / GRAIN)) * GRAIN for share in wanted[1:]]
            self.shares = [n - sum(rest), *rest] if sum(rest) < n else even(n, len(wanted))
        ends = [sum(self.shares[: k + 1]) for k in range(len(self.shares))]
        return [slice(end - share, end) for share, end in zip(self.shares, ends, strict=True)]

    def backward(
        self,
        loss_of: PartLoss,
        n: int,
        weights: Sequence[nn.Parameter],
        asked: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and numbers to log of a batch; gradients are left in the weights.

        Args:
            loss_of: The loss of a part.
            n: Pictures of the batch.
            weights: Get gradients.
            asked: What the loss is differentiated by, where that is a copy of the weights.
        """
        asked = weights if asked is None else asked

        def work(part: slice) -> tuple[Tensor, dict[str, float], Sequence[Tensor | None], float]:
            torch.set_num_threads(1)
            begun = time.perf_counter()
            with self.autocast():
                loss, numbers = loss_of(part)
            found = torch.autograd.grad(loss, list(asked), allow_unused=True)
            return loss.detach(), numbers, found, time.perf_counter() - begun

        # a member may have no pictures: fewer than members there are
        parts = {k: part for k, part in enumerate(self.split(n)) if part.start < part.stop}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of a thread that has no number of its own, as in autograd
        try:
            waited = {k: self.members[k].submit(work, part) for k, part in parts.items()}
            done = {k: one.result() for k, one in waited.items()}
        finally:
            torch.set_num_threads(threads)
        total, numbers = torch.zeros(()), dict[str, float]()
        for k, (loss, said, found, seconds) in done.items():
            total = total + loss.float()
            for name, value in said.items():
                numbers[name] = numbers.get(name, 0.0) + value
            add_gradients(weights, found)
            speed = (parts[k].stop - parts[k].start) / max(seconds, 1e-6)
            old = self.speeds[k] or speed
            self.speeds[k] = MEMORY * old + (1 - MEMORY) * speed
        return total, numbers


def add_gradients(weights: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Add to the gradients of weights, in the weights' own precision."""
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is None:
            continue
        if weight.grad is None:
            weight.grad = gradient.to(weight.dtype)
        else:
            weight.grad += gradient


def _settle(cores: Sequence[int]) -> None:
    """Keep the calling thread on some cores; on any where none are named."""
    if cores:
        os.sched_setaffinity(0, set(cores))


def even(n: int, size: int) -> list[int]:
    """`n` pictures in `size` shares that differ by one at most."""
    return [n // size + (k < n % size) for k in range(size)]


class Twin:
    """Copies of networks in bfloat16 that a step runs through, and the float32 weights they are of.

    Autocast rounds every weight at every use, and takes normalised activations and attention back to
    float32 in between. A copy that is rounded once a step does neither, which is a tenth of the time of
    a small network on a CPU; its gradients are as far from those of float32 (`docs/TRAINING.md`).

    Args:
        networks: Name -> network in float32; `networks` of the twin has the same names.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.networks = {name: copy.deepcopy(one).bfloat16() for name, one in networks.items()}
        self.weights: list[Tensor] = [w for one in networks.values() for w in one.parameters()]
        self.rounded: list[Tensor] = [w for o in self.networks.values() for w in o.parameters()]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights anew."""
        torch._foreach_copy_(self.rounded, self.weights)

    def of(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The rounded ones of some weights."""
        where = {id(one): k for k, one in enumerate(self.weights)}
        return [self.rounded[where[id(weight)]] for weight in weights]
