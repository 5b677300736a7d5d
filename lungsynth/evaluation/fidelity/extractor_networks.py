"""Networks of others as extractors: Inception v3 and the DenseNet of torchxrayvision.

Each is built from its package and filled from local safetensors, every tensor of it or none.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lungsynth.arrays import Float64Array, UInt8Array
from lungsynth.errors import CheckpointError, MissingDependencyError
from lungsynth.model.tensor_files import load_tensors

Prepare = Callable[[Tensor], Tensor]
BATCH = 16

INCEPTION_HINT = (
    "Any safetensors file with torchvision's names of Inception v3 fits, such as model.safetensors of "
    "timm/inception_v3.tv_in1k: hf download timm/inception_v3.tv_in1k model.safetensors "
    "--local-dir . && mv model.safetensors {path}"
)
XRV_HINT = (
    "torchxrayvision publishes pickles, so convert them once on a machine with internet: python -c "
    '"import torchxrayvision as x; from safetensors.torch import save_file; '
    "save_file(x.models.DenseNet(weights='densenet121-res224-all').features.state_dict(), "
    "'torchxrayvision.safetensors')\" and put the file at {path}"
)


class NetworkExtractor:
    """Features of a network, batch by batch, on the GPU where there is one.

    Args:
        name: For reports.
        network: Prepared pictures -> (B, D).
        prepare: (B, 1, H, W) float32 in [0, 1] -> what the network takes.
        checksum: Of the weights.
        note: What its distances may be compared with.
    """

    feature_names: Sequence[str] = ()

    def __init__(
        self, name: str, network: nn.Module, prepare: Prepare, checksum: str, note: str
    ) -> None:
        self.name, self.checksum, self.note = name, checksum, note
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.eval().to(self.device)
        self.prepare = prepare

    def fit(self, train: UInt8Array, *, seed: int = 0, quiet: bool = True) -> None:
        """Nothing: the network is used as it is."""

    @torch.no_grad()
    def features(self, images: UInt8Array, *, quiet: bool = True) -> Float64Array:
        """(N, H, W) uint8, square -> (N, D) float64."""
        out: list[Tensor] = []
        starts = range(0, len(images), BATCH)
        for start in tqdm(starts, desc=self.name, unit="batch", disable=quiet, mininterval=2):
            part = np.ascontiguousarray(images[start : start + BATCH])
            x = torch.from_numpy(part)[:, None].float() / 255
            out.append(self.network(self.prepare(x).to(self.device)).double().cpu())
        return torch.cat(out).numpy()


def _import(package: str, command: str) -> ModuleType:
    """A package that only some extractors need.

    Raises:
        MissingDependencyError: it is not installed, or does not fit the installed torch.
    """
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: built for another torch
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingDependencyError(
            f"{package} cannot be imported ({first}). Install the build that fits torch "
            f"{torch.__version__}: {command}"
        ) from error


def _torchvision() -> ModuleType:
    return _import(
        "torchvision",
        "pip install torchvision --index-url https://download.pytorch.org/whl/cpu "
        "(its version must go with that of torch).",
    )


def need_file(path: Path, hint: str) -> None:
    """Refuse a place without weights; `{path}` in the hint becomes the place.

    Raises:
        CheckpointError: no such file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no weights here. {hint.format(path=path)}")


def digest(path: Path) -> str:
    """SHA-256 of a file, first 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Put every tensor in its place.

    Raises:
        CheckpointError: one is missing, left over, or of another shape.
    """
    wanted = network.state_dict()
    # files of other tools leave out the counters of batch normalisation, which inference never reads
    counters = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **tensors})
    except RuntimeError as error:
        told = str(error).splitlines()
        raise CheckpointError(
            f"{path}: not the weights of {what} ({told[-1].strip()[:200]}). Take those named by "
            "--encoder's error when no file is there."
        ) from error


def _resized(side: int, mean: float, spread: float) -> Prepare:
    """Square pictures of `side`, minus `mean`, over `spread`."""

    def prepare(x: Tensor) -> Tensor:
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
        return (x - mean) / spread

    return prepare


def inception(path: Path) -> NetworkExtractor:
    """torchvision's Inception v3, 2048 pooled features, from a safetensors file.

    Raises:
        CheckpointError: no such file, or other weights.
        MissingDependencyError: torchvision cannot be imported.
    """
    need_file(path, INCEPTION_HINT)
    network = _torchvision().models.inception_v3(
        weights=None, aux_logits=False, init_weights=False, transform_input=False
    )
    network.fc = nn.Identity()
    tensors = {
        k: v for k, v in load_tensors(path).items() if not k.startswith(("AuxLogits.", "fc."))
    }
    _fill(network, tensors, path, "torchvision's Inception v3")
    plain = _resized(299, 0.5, 0.5)
    return NetworkExtractor(
        "inception",
        network,
        lambda x: plain(x).expand(-1, 3, -1, -1),
        digest(path),
        "Inception v3 as torchvision has it, not the network of published FID figures; compare only "
        "with the same checksum.",
    )


class _Pooled(nn.Module):
    """The mean over space of what a convolutional network's features say after a ReLU."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.inner = features

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = F.relu(self.inner(x)).mean((2, 3))
        return pooled


def torchxrayvision(path: Path) -> NetworkExtractor:
    """torchxrayvision's DenseNet-121 of chest X-rays, 1024 pooled features, from safetensors.

    Raises:
        CheckpointError: no such file, or other weights.
        MissingDependencyError: torchxrayvision or torchvision cannot be imported.
    """
    need_file(path, XRV_HINT)
    _torchvision()  # torchxrayvision imports it, and fails less clearly
    package = _import("torchxrayvision", "pip install torchxrayvision.")
    network = _Pooled(package.models.DenseNet(weights=None).features)
    tensors = {
        f"inner.{k.removeprefix('features.')}": v
        for k, v in load_tensors(path).items()
        if not k.startswith("classifier.") and k != "op_threshs"
    }
    _fill(network, tensors, path, "torchxrayvision's DenseNet-121")
    return NetworkExtractor(
        "torchxrayvision",
        network,
        _resized(224, 0.5, 1 / 2048),
        digest(path),
        "DenseNet of torchxrayvision; compare only with the same checksum, data and number.",
    )


def by_tensors(path: Path) -> NetworkExtractor:
    """The extractor whose names of tensors a safetensors file has.

    Raises:
        CheckpointError: none.
    """
    names = set(load_tensors(path))
    if "Conv2d_1a_3x3.conv.weight" in names:
        return inception(path)
    if {"features.conv0.weight", "conv0.weight"} & names:
        return torchxrayvision(path)
    raise CheckpointError(
        f"{path}: neither Inception v3 nor a DenseNet of torchxrayvision, by the names of its tensors. "
        "For another network give the folder that also has its config.json."
    )
