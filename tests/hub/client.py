"""The real clients, pointed at a local Hub for one test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from warm import start

from hub.server import WRITER, Hub


def run_bare(
    hub: Hub,
    folder: Path,
    *words: str,
    with_lungsynth: bool = True,
    from_nothing: bool = False,
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process that has nothing but lungsynth, and a token for `hub`.

    Args:
        hub: Which is to be asked.
        folder: Where it starts, and its home.
        words: After `python`.
        with_lungsynth: Whether it can be imported.
        from_nothing: Whether torch is not to be imported before; see `warm`.
        more: Of its environment.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": WRITER,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if with_lungsynth:
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    environment |= more
    return start(words, cwd=folder, env=environment, from_nothing=from_nothing).wait()


@contextmanager
def pointed_at(hub: Hub, home: Path, *, token: str | None = WRITER) -> Iterator[pytest.MonkeyPatch]:
    """huggingface_hub and datasets talk to `hub`, keep their caches in `home`, and know a token.

    Both read their environment once, when imported; so their constants are set, and set back.
    """
    import datasets.config
    from huggingface_hub import constants
    from huggingface_hub.utils._http import close_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr("huggingface_hub.hf_api.api.endpoint", hub.endpoint)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
        patch.setattr(datasets.config, "HF_MODULES_CACHE", str(home / "modules"))
        patch.setenv("HF_TOKEN", token or "")
        try:
            yield patch
        finally:
            close_session()
