"""Isolation of every test, and the small checkpoints and films they share."""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# before any import of a Hugging Face library, which read these once
_HOME = tempfile.TemporaryDirectory(prefix="lungsynth-tests-")
os.environ |= {
    "HF_HOME": _HOME.name,
    "HF_HUB_OFFLINE": "1",
    "HF_TOKEN": "",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_TEMP_DIR": str(Path(_HOME.name, "gradio")),
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
}
for _name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(_name, None)
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core: more threads would only wait
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from tiny import sd_checkpoint, tiny_checkpoint, write_parquet  # noqa: E402

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0")

# a loaded machine takes seconds for what takes milliseconds, and is not a fault
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that leave the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise ConnectionRefusedError(f"tests do not reach the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _scrambled_global_randomness(request: pytest.FixtureRequest) -> None:
    """Another global seed for each test, so that nothing passes by relying on one."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:  # the generator of the CPU alone: `manual_seed` asks every device
        sys.modules["torch"].default_generator.manual_seed(seed)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lungsynth checkpoint with random weights, two class tokens, 64 px. Copy it before a change."""
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"), tokens=True)


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the Stable Diffusion 1.x layout with random weights, 64 px."""
    return sd_checkpoint(tmp_path_factory.mktemp("sd") / "pipeline")


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen films with text, masks and metadata."""
    return write_parquet(tmp_path_factory.mktemp("data") / "films.parquet")


@pytest.fixture(scope="session")
def pipe(checkpoint: Path) -> Any:
    """The loaded `checkpoint`; not to be changed."""
    from lungsynth.model.checkpoint import load_pipeline

    return load_pipeline(str(checkpoint))[0]


@pytest.fixture(scope="session")
def sd_pipe(sd_folder: Path) -> Any:
    """The loaded `sd_folder`; not to be changed."""
    from lungsynth.model.checkpoint import load_pipeline

    return load_pipeline(str(sd_folder))[0]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ran]]:
    """Call `python -m lungsynth ARGS…` in this process, through its real entry point."""
    from lungsynth.cli.main import main

    def call(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lungsynth", *map(str, args)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    yield call
