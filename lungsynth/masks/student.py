"""The student: a small network that has learnt, from many films, the masks the chain makes of them.

A class token reads a 16 x 16 grid and errs film by film; a network trained on thousands of its masks
can only learn what they agree on, and draws borders at a quarter of the film's side. Its body is that
of AffinityNet. It has one output per class and convention, so that films annotated by different rules,
or for some classes only, train the parts they know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lungsynth.arrays import FloatArray, UInt8Array
from lungsynth.errors import ConfigError
from lungsynth.masks.affinity import AffinityConfig, AffinityNet, read_config, to_input
from lungsynth.masks.registry import failures, load_plugins
from lungsynth.model.tensor_files import load_network, save_network

STUDENT_FOLDER = "student"
FILES = CONFIG_NAME, WEIGHTS_NAME = "student.json", "student.safetensors"
WIDTHS = (32, 64, 96, 128)


class StudentNetwork(nn.Module):
    """What any network must answer to be a student; `Student` is ours.

    Called with grey films (B, 1, H, W) in [-1, 1] it gives logits (B, outputs, h, w) of any size, one
    sigmoid an output. A network of another package goes into one file: a subclass that wraps it, and
    `@student_network("NAME")` over the function that builds it. The file is imported as refinements
    of other packages are, see `lungsynth.masks.registry`.
    """

    network: str  # its name in NETWORKS
    outputs: tuple[str, ...]  # "convention/class"
    stride: int  # sides of its input are multiples of it

    def spec(self) -> dict[str, Any]:
        """What its builder needs to make it again, beside `outputs`; JSON."""
        raise NotImplementedError


Builder = Callable[[Sequence[str], Mapping[str, Any]], StudentNetwork]
"""(outputs, spec) -> network with weights to be trained or loaded; an empty spec is its defaults."""

OURS = "affinitynet"
NETWORKS: dict[str, Builder] = {}
"""Name in `student.json` and of `StudentOptions.network` -> builder."""


def student_network(name: str) -> Callable[[Builder], Builder]:
    """Register the builder of a network under a name."""

    def register(builder: Builder) -> Builder:
        NETWORKS[name] = builder
        return builder

    return register


def build_student(
    outputs: Sequence[str], spec: Mapping[str, Any] | None = None, network: str = OURS
) -> StudentNetwork:
    """A student of a registered network.

    Args:
        outputs: Names, "convention/class".
        spec: See `Builder`.
        network: A key of NETWORKS.

    Raises:
        ConfigError: the network is unknown, or the outputs are none or not distinct.
    """
    load_plugins()
    if network not in NETWORKS:
        raise ConfigError(
            f"Student network {network!r} is unknown; there are {', '.join(NETWORKS)}.{failures()}"
        )
    if not outputs or len(set(outputs)) != len(outputs):
        raise ConfigError(f"Student outputs {list(outputs)}; expected one or more distinct names.")
    return NETWORKS[network](outputs, spec or {})


class Student(StudentNetwork):
    """Grey film (B, 1, H, W) in [-1, 1] -> logits (B, outputs, H/4, W/4), one sigmoid an output.

    Args:
        outputs: Names, "convention/class".
        config: Shape of the body; `n_features` is the number of outputs.
    """

    network = OURS

    def __init__(self, outputs: Sequence[str], config: AffinityConfig | None = None) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        base = asdict(config or AffinityConfig(widths=WIDTHS))
        self.body = AffinityNet(AffinityConfig(**{**base, "n_features": len(outputs)}))
        self.stride = self.body.stride

    def spec(self) -> dict[str, Any]:
        """See `StudentNetwork`."""
        return asdict(self.body.config)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.body(x)


@student_network(OURS)
def _ours(outputs: Sequence[str], spec: Mapping[str, Any]) -> Student:
    return Student(outputs, read_config(dict(spec)) if spec else None)


@dataclass(frozen=True, slots=True)
class StudentMaps:
    """What a student says of one picture."""

    outputs: tuple[str, ...]  # "convention/class"
    logits: FloatArray  # (outputs, H, W)

    def probability(self, wanted: Sequence[str]) -> FloatArray | None:
        """(wanted + 1, H, W), background first, sums to 1; None where it lacks one of them."""
        if not set(wanted) <= set(self.outputs):
            return None
        mine = torch.from_numpy(self.logits[[self.outputs.index(name) for name in wanted]])
        return np.asarray(torch.cat([torch.zeros_like(mine[:1]), mine]).softmax(0).numpy())


def student_maps(model: StudentNetwork, image: UInt8Array) -> StudentMaps:
    """What a student says of a picture (H, W) uint8."""
    return StudentMaps(model.outputs, student_logits(model, image[None])[0].numpy())


def student_logits(model: StudentNetwork, images: UInt8Array) -> Tensor:
    """Grey films (B, H, W) uint8 -> logits (B, outputs, H, W) float32, on the CPU.

    Sides that are no multiples of its stride are padded by repeating the border and cut again.
    """
    height, width = images.shape[1:]
    stride = model.stride
    x = F.pad(to_input(images), (0, -width % stride, 0, -height % stride), mode="replicate")
    with torch.inference_mode():
        logits = model(x.to(next(model.parameters()).device)).float()
        up = F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False)
    return up[:, :, :height, :width].cpu()


def save_student(model: StudentNetwork, folder: Path, info: dict[str, str] | None = None) -> None:
    """Write `student.safetensors` (float16) and `student.json` into a folder.

    Raises:
        OutputError: it cannot be written.
    """
    about = {
        "outputs": list(model.outputs),
        "network": model.network,
        "config": model.spec(),
        "info": info or {},
    }
    save_network(model, folder, FILES, about)


def load_student(folder: Path) -> StudentNetwork:
    """Read what `save_student` wrote; evaluation mode, on the CPU, float32.

    Raises:
        CheckpointError: a file is missing, broken, or does not fit the other.
    """

    def build(spec: dict[str, Any]) -> StudentNetwork:
        return build_student(spec["outputs"], spec["config"], spec.get("network", OURS))

    advice = "Train it again with `train student`."
    return load_network(folder, FILES, build, kind="a student", advice=advice)
