"""Where and in which number format networks run: the device, and what its processor is quick in.

bfloat16 halves the time of a network where the processor multiplies in it (AMX, AVX-512 BF16, recent
GPUs). Elsewhere it is emulated, and takes several times as long as float32.
"""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from lungsynth.errors import ConfigError
from lungsynth.model.options import PRECISION_NAMES

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
"""Names of number formats -> what a network's products are rounded to; None = nothing."""

AUTO = "auto"
"""The name for whichever of `PRECISIONS` this processor is quick in."""

NATIVE = ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16")
"""Capabilities of a processor that multiplies in bfloat16, as `torch.cpu.get_capabilities` names them."""

WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of `ONEDNN_MAX_CPU_ISA` that keep the processor's bfloat16 from being used."""


def resolve_device(name: str) -> str:
    """The device that is meant: `auto` is cuda where there is one, else cpu.

    Raises:
        ConfigError: it cannot be used here.
    """
    if name != "auto":
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"--device {name}: cannot be used ({first}). Try cpu.") from error
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_precision(precision: str) -> None:
    """Make sure that a number format is one of `PRECISION_NAMES`.

    Raises:
        ConfigError: it is not.
    """
    if precision not in PRECISION_NAMES:
        raise ConfigError(
            f"Precision {precision!r} is unknown; there are {', '.join(PRECISION_NAMES)}."
        )


def native_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether a device multiplies in bfloat16 by itself, as far as it and the environment say."""
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    lowered = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    found = torch.cpu.get_capabilities()
    return lowered.upper() not in WITHOUT_BF16 and any(bool(found.get(name)) for name in NATIVE)


@functools.lru_cache(maxsize=8)
def bf16_factor(kind: str) -> float:
    """Time of a convolution in bfloat16 divided by its time in float32, here and now; least of six.

    The convolution is one of the U-Net's: 256 to 256 channels, 3x3, on 16x16 positions.
    """
    conv: Any = torch.nn.Conv2d(256, 256, 3, padding=1, device=kind)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.zeros(1, 256, 16, 16, device=kind).contiguous(memory_format=torch.channels_last)
    least = {"fp32": float("inf"), "bf16": float("inf")}
    with torch.inference_mode():
        for _ in range(6):
            for name in least:
                begun = time.perf_counter()
                with rounded(kind, name):
                    float(conv(x).sum())  # the number is waited for, on a GPU too
                least[name] = min(least[name], time.perf_counter() - begun)
    return least["bf16"] / least["fp32"]


def resolve_precision(precision: str, device: torch.device | str = "cpu") -> str:
    """The number format that is meant, one of `PRECISIONS`.

    Args:
        precision: "fp32", "bf16", or "auto": bf16 where the device multiplies in it, else fp32.
        device: Where the network runs.

    Raises:
        ConfigError: the name is unknown.

    Warns:
        UserWarning: bf16 is asked for where it is emulated; with the factor it costs here.
    """
    check_precision(precision)
    kind = torch.device(device).type
    if precision == AUTO:
        # by what the processor is, not by a clock: every process of a machine must choose alike
        return "bf16" if native_bf16(device) else "fp32"
    if precision == "bf16" and kind == "cpu" and not native_bf16(device):
        warnings.warn(
            f"This processor has no bf16: it is emulated, and a convolution takes {bf16_factor(kind):.1f} "
            "times as long as in fp32. Ask for precision auto or fp32.",
            stacklevel=2,
        )
    return precision


def rounded(device: torch.device | str, precision: str) -> AbstractContextManager[Any]:
    """Where a network runs in a number format; its weights stay as they are.

    "bf16" takes half the time on processors that have it, and moves grey levels by a few. "auto"
    takes it there; see `resolve_precision`.

    Raises:
        ConfigError: the name is unknown.
    """
    kind = _kind(precision, device)
    return nullcontext() if kind is None else torch.autocast(torch.device(device).type, kind)


def _kind(precision: str, device: torch.device | str) -> torch.dtype | None:
    """What a network's products are rounded to on a device; None for nothing."""
    check_precision(precision)
    return PRECISIONS[resolve_precision(precision, device) if precision == AUTO else precision]


@contextmanager
def rounded_network(unet: Any, precision: str) -> Iterator[None]:
    """Where a denoising network runs in a number format, and answers in float32 all the same.

    So guidance and the sampler count in float32: some samplers would else round the latents, too.
    On a CPU the weights themselves are rounded for as long as it lasts: autocast rounds them anew at
    every step, which is a fifth of a small network's time. One thread at a time, as with a capture.

    Raises:
        ConfigError: the name is unknown.
    """
    kind = _kind(precision, unet.device)
    hooks = [unet.register_forward_hook(_answer_in_float)]
    kept: list[tuple[Any, torch.Tensor]] = []
    context: AbstractContextManager[Any] = nullcontext()
    if kind is not None and torch.device(unet.device).type == "cpu":
        kept = _round_weights(unet, kind)
        hooks.append(unet.register_forward_pre_hook(_ask_in(kind), with_kwargs=True))
    else:
        context = rounded(unet.device, precision)
    try:
        with context:
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, weights in kept:
            parameter.data = weights


def _round_weights(unet: Any, kind: torch.dtype) -> list[tuple[Any, torch.Tensor]]:
    """Round a network's float32 weights in place; each with what it was."""
    kept = []
    with torch.inference_mode(False), torch.no_grad():
        for parameter in unet.parameters():
            if parameter.dtype == torch.float32:
                kept.append((parameter, parameter.data))
                parameter.data = parameter.data.to(kind)
    return kept


def _ask_in(kind: torch.dtype) -> Callable[..., Any]:
    """A hook that rounds what a network is given; timesteps stay whole numbers."""

    def cast(value: Any) -> Any:
        is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return value.to(kind) if is_float else value

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # of those by position only the first, the latents: the second is the timestep
        return tuple(cast(v) if k != 1 else v for k, v in enumerate(args)), {
            k: cast(v) if k != "timestep" else v for k, v in kwargs.items()
        }

    return hook


def _answer_in_float(_: Any, given: Any, answer: Any) -> Any:
    if isinstance(answer, tuple):
        return (answer[0].float(), *answer[1:])
    answer.sample = answer.sample.float()
    return answer
