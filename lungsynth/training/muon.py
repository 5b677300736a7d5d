"""Muon: momentum whose matrices are made orthogonal before the step (Jordan et al. 2024).

Written here because `torch.optim.Muon` takes 2-D weights only, and two thirds of a U-Net's weights
are convolutions. A convolution (out, in, k, k) counts as the matrix (out, in·k·k). Matrices of one
shape go through the iteration together, as one batched product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lungsynth.model.precision import native_bf16

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

RMS = 0.2
"""Root mean square of a step over the rate, as AdamW's usually is (Liu et al., arXiv 2502.16982, §2.2)."""


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: all singular values end in about [0.7, 1.2].

    (K, rows, columns) float -> the same, in bfloat16 where the processor has it, else float32.
    """
    a, b, c = COEFFICIENTS
    x = matrices.to(_quick(matrices.device))
    wide = x.shape[1] <= x.shape[2]
    if not wide:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.transpose(1, 2)


def _quick(device: torch.device) -> torch.dtype:
    """The format that is precise enough here and quickest; emulated bfloat16 is many times slower."""
    return torch.bfloat16 if native_bf16(device) else torch.float32


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """True for weights Muon takes: matrices and convolutions, but no embedding and no end layer."""
    ends = ("conv_in.", "conv_out.", "embed", "embedding", "text_encoder.")
    return parameter.ndim >= 2 and not any(word in name for word in ends)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; steps scaled so that AdamW's learning rates fit.

    Args:
        params: Weights of at least two dimensions, or parameter groups of them.
        lr: Learning rate.
        momentum: Of the moving sum.
        weight_decay: Decoupled.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; a weight without gradient is left alone."""
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    rows = p.shape[0]
                    shapes.setdefault((rows, p.numel() // rows), []).append(p)
            for (rows, columns), members in shapes.items():
                moved = torch.stack([self._momentum(p, group["momentum"]) for p in members])
                steps = orthogonalise(moved)
                size = group["lr"] * RMS * max(rows, columns) ** 0.5
                for p, step in zip(members, steps, strict=True):
                    if group["weight_decay"]:
                        p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(step.reshape(p.shape).to(p.dtype), alpha=-size)

    def _momentum(self, p: nn.Parameter, momentum: float) -> Tensor:
        state = self.state[p]
        assert p.grad is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum).flatten(1).to(_quick(p.device))
