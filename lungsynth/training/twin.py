"""A copy of the networks in bfloat16 that a step runs through, for weights kept in float32.

Autocast rounds every weight at every use, and takes normalised activations and attention back to
float32 in between. A copy that is rounded once a step does neither, which is a tenth of the time of a small
network on a CPU; its gradients are as far from those of float32 (`docs/TRAINING.md`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Twin:
    """Networks in bfloat16, and the weights they are rounded from.

    Args:
        networks: Name -> network in float32; `networks` of the twin has the same names.
    """

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self.networks = {name: copy.deepcopy(one).bfloat16() for name, one in networks.items()}
        pairs = [
            (weight, rounded)
            for name, one in networks.items()
            for weight, rounded in zip(
                one.parameters(), self.networks[name].parameters(), strict=True
            )
        ]
        self.weights: list[Tensor] = [weight for weight, _ in pairs]
        self.rounded: list[Tensor] = [rounded for _, rounded in pairs]

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights anew."""
        torch._foreach_copy_(self.rounded, self.weights)

    def of(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The rounded ones of some weights."""
        where = {
            id(weight): rounded for weight, rounded in zip(self.weights, self.rounded, strict=True)
        }
        return [where[id(weight)] for weight in weights]
