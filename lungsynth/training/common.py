"""What every training run shares: state on disk, EMA, learning rate, metrics, one loop.

A run is a pure function of its options. All randomness of step `s` comes from `(seed, s)`, so a run
that was killed and started again ends with the weights of an unbroken one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.files import check_writable, write_whole
from lungsynth.model.precision import AUTO, resolve_precision
from lungsynth.model.tensor_files import read_tensors, save_tensors
from lungsynth.training.metrics import METRICS_NAME, Metrics, trim
from lungsynth.training.muon import Muon, is_matrix
from lungsynth.training.team import Team, Twin, add_gradients

STATE_NAME = "state.safetensors"
OPTIONS_NAME = "options.json"


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Options of the loop itself."""

    steps: int = 1000  # optimiser steps in the whole run
    batch_size: int = 32  # examples a step
    lr: float = 1e-3  # peak learning rate of AdamW
    warmup_steps: int = 100  # linear warm-up
    final_lr_ratio: float = 0.02  # cosine decay ends at lr * this
    weight_decay: float = 0.01  # AdamW, decoupled
    grad_clip: float = 1.0  # global norm; 0 switches clipping off
    ema_decay: float = 0.999  # decay of the exponential moving average, warmed up
    seed: int = 0  # randomness of step s comes from (seed, s)
    save_minutes: float = 3.0  # wall time between states on disk
    log_every: int = 25  # steps between metric lines
    sample_every: int = 0  # steps between pictures; 0 = none
    max_minutes: float = 0.0  # stop (resumable) after so long; 0 = no limit
    precision: str = "auto"  # auto, fp32 or bf16 autocast; see lungsynth.model.precision
    optimizer: str = "adamw"  # "adamw", or "muon" for the matrices and AdamW for the rest
    decay: str = "cosine"  # of the learning rate; "constant" for a run that another one ends


def learning_rate(step: int, options: LoopOptions) -> float:
    """Linear warm-up, then cosine to `lr * final_lr_ratio`."""
    if step < options.warmup_steps:
        return options.lr * (step + 1) / options.warmup_steps
    if options.decay == "constant":
        return options.lr
    span = max(1, options.steps - options.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - options.warmup_steps) / span)))
    return options.lr * (options.final_lr_ratio + (1 - options.final_lr_ratio) * cosine)


class Ema:
    """Exponential moving average of parameters, decay warmed up as (1 + s) / (10 + s)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone().float() for k, v in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        names, params = zip(*model.named_parameters(), strict=True)
        shadows = [self.shadow[name] for name in names]
        torch._foreach_lerp_(shadows, [p.detach().float() for p in params], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(self.shadow[name])


@runtime_checkable
class Shared(Protocol):
    """A loss whose step can be shared among threads."""

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Loss of a step and numbers to log."""
        ...

    def prepare(self, step: int) -> Any:
        """The batch of a step."""
        ...

    def part(self, batch: Any, part: slice) -> tuple[Tensor, dict[str, float]]:
        """What some pictures of a batch add to its loss and numbers."""
        ...


class Run:
    """State of a training run in a folder: options, weights, EMA, optimiser moments, metrics."""

    def __init__(
        self,
        out: Path,
        model: nn.Module,
        options: LoopOptions,
        extra: Mapping[str, Any],
        lr_ratio: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        self.params = {k: p for k, p in model.named_parameters() if p.requires_grad}
        if not self.params:
            raise ConfigError("The model has no trainable parameter.")
        self.is_auto = options.precision == AUTO
        device = next(iter(self.params.values())).device
        options = replace(options, precision=resolve_precision(options.precision, device))
        self.out, self.model, self.options = out, model, options
        if options.optimizer not in ("adamw", "muon"):
            raise ConfigError(f"optimizer {options.optimizer!r} is unknown; there are adamw, muon.")
        groups: dict[float, list[nn.Parameter]] = {}
        matrices: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.params.items():
            muon = options.optimizer == "muon" and is_matrix(name, parameter)
            (matrices if muon else groups).setdefault(lr_ratio(name), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": group, "ratio": ratio} for ratio, group in groups.items()],
            lr=options.lr,
            weight_decay=options.weight_decay,
            betas=(0.9, 0.99),
        )
        self.optimizers: list[torch.optim.Optimizer] = [self.optimizer]
        if matrices:
            self.optimizers.append(
                Muon(
                    [{"params": group, "ratio": ratio} for ratio, group in matrices.items()],
                    lr=options.lr,
                    weight_decay=options.weight_decay,
                )
            )
        self.ema = Ema(model, options.ema_decay)
        self.twin: Twin | None = None
        self.step = 0
        self.description = json.loads(json.dumps({**asdict(options), **extra}, default=str))
        self._resume_or_begin()

    def _resume_or_begin(self) -> None:
        state, described = self.out / STATE_NAME, self.out / OPTIONS_NAME
        check_writable(self.out)
        if described.exists():
            try:
                before = dict(json.loads(described.read_text()))
            except (ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{described}: not the options of a run ({error}). Use another --out."
                ) from error
            free = {"max_minutes", "save_minutes", "log_every", "sample_every"}
            free |= {"max_shard_size", "workers"}
            if self.is_auto:  # another processor may go on with the run
                free.add("precision")
            changed = {
                k: (before.get(k), v)
                for k, v in self.description.items()
                if k not in free and before.get(k) != v
            }
            if changed and state.exists():
                words = "; ".join(f"{k}: {a!r} then, {b!r} now" for k, (a, b) in changed.items())
                raise ConfigError(
                    f"{self.out} holds a run with other options ({words}). "
                    "Use the same options to resume, or another --out."
                )
        if state.exists():
            self.load(state)
        write_whole(described, json.dumps(self.description, indent=2, sort_keys=True) + "\n")
        trim(self.out / METRICS_NAME, self.step)

    def save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for name, value in self.model.state_dict().items():
            tensors[f"model.{name}"] = value
        for name, value in self.ema.shadow.items():
            tensors[f"ema.{name}"] = value
        for name, parameter in self.params.items():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
        save_tensors(tensors, self.out / STATE_NAME, {"step": str(self.step)})

    def load(self, path: Path) -> None:
        tensors, metadata = read_tensors(path)
        self.step = int(metadata.get("step", "0"))
        try:
            self.model.load_state_dict(
                {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
            )
            for name in self.ema.shadow:
                self.ema.shadow[name].copy_(tensors[f"ema.{name}"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"{path}: weights of another model ({error}). Use another --out."
            ) from error
        for name, parameter in self.params.items():
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"adam.{k}.{name}" in tensors]
            buffer = tensors.get(f"adam.momentum_buffer.{name}")
            if buffer is not None:
                # in the parameter's memory order: in another one its sums round otherwise
                self.optimizers[-1].state[parameter] = {
                    "momentum_buffer": torch.empty_like(parameter.data).copy_(buffer)
                }
            if keys:
                self.optimizer.state[parameter] = {
                    k: tensors[f"adam.{k}.{name}"].to("cpu" if k == "step" else parameter.device)
                    for k in keys
                }

    def loop(
        self,
        loss_fn: Callable[[int], tuple[Tensor, dict[str, float]]] | Shared,
        *,
        on_sample: Callable[[int], dict[str, float]] | None = None,
        team: Team | None = None,
        twin: Twin | None = None,
        quiet: bool = False,
    ) -> bool:
        """Run to the last step, or until `max_minutes`. True when the run is complete.

        Args:
            loss_fn: Step index -> loss and numbers to log; draws its data from `(seed, step)`.
            on_sample: Called with EMA weights in place every `sample_every` steps and at the end.
            team: Threads that share a step; `loss_fn` is then a `Shared`.
            twin: What `loss_fn` runs through instead of the model, where that is a copy of it.
            quiet: No progress bar.
        """
        options, self.twin = self.options, twin
        begun = saved = time.monotonic()
        metrics = Metrics(self.out / METRICS_NAME, options.batch_size)
        bar = tqdm(
            total=options.steps, initial=self.step, disable=quiet, unit="step", mininterval=2
        )
        with bar:
            while self.step < options.steps:
                rate = learning_rate(self.step, options)
                metrics.add(self._advance(loss_fn, rate, team))
                bar.update(1)
                at_end = self.step == options.steps
                if self.step % options.log_every == 0 or at_end:
                    line = metrics.close_line(self.step, rate)
                    bar.set_postfix(loss=f"{line['loss']:.4f}")
                sampled = options.sample_every and self.step % options.sample_every == 0
                if on_sample and (sampled or at_end):
                    metrics.note(self.step, self.with_ema(lambda: on_sample(self.step)))
                now = time.monotonic()
                if now - saved > options.save_minutes * 60:
                    self.save()
                    saved = time.monotonic()
                if options.max_minutes and now - begun > options.max_minutes * 60:
                    break
        self.save()
        return self.step >= options.steps

    def _advance(
        self,
        loss_fn: Callable[[int], tuple[Tensor, dict[str, float]]] | Shared,
        rate: float,
        team: Team | None,
    ) -> dict[str, float]:
        """One step of the optimisers and the average; the numbers to log."""
        self.model.train()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["ratio"]
        loss, numbers = self._backward(loss_fn, team)
        norm = torch.nn.utils.clip_grad_norm_(
            list(self.params.values()), self.options.grad_clip or float("inf")
        )
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            numbers["skipped"] = 1.0
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model, self.step)
        self.step += 1
        return {"loss": float(loss.detach()), "grad": float(norm), **numbers}

    def autocast(self) -> torch.autocast:
        """The context a loss is computed in."""
        device = next(iter(self.params.values())).device
        # a step uses each weight once, so that there is nothing to cache
        return torch.autocast(
            device.type,
            torch.bfloat16,
            enabled=self.options.precision == "bf16" and self.twin is None,
            cache_enabled=False,
        )

    def _backward(
        self,
        loss_fn: Callable[[int], tuple[Tensor, dict[str, float]]] | Shared,
        team: Team | None,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and numbers of the step at hand; gradients are left in the parameters."""
        weights = list(self.params.values())
        asked: Sequence[Tensor] = weights
        if self.twin is not None:
            self.twin.refresh()
            asked = self.twin.of(weights)
        if team is not None and isinstance(loss_fn, Shared):
            batch = loss_fn.prepare(self.step)
            n = self.options.batch_size
            return team.backward(lambda part: loss_fn.part(batch, part), n, weights, asked)
        with self.autocast():
            loss, numbers = loss_fn(self.step)
        add_gradients(weights, torch.autograd.grad(loss, asked, allow_unused=True))
        return loss.detach(), numbers

    def with_ema(self, call: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Call with the EMA weights in the model; the raw weights come back in any case."""
        raw = {k: v.detach().clone() for k, v in self.model.named_parameters()}
        self.ema.copy_to(self.model)
        self.model.eval()
        try:
            with torch.no_grad():
                return call()
        finally:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(raw[name])
            self.model.train()


def torch_generator(seed: int, step: int) -> torch.Generator:
    """A generator whose state depends on `(seed, step)` only."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) & 0x7FFF_FFFF_FFFF_FFFF
    return torch.Generator().manual_seed(mixed)
