"""What is installed here, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from lungsynth import __version__
from lungsynth.errors import LungSynthError

PACKAGES = tuple(
    "torch diffusers transformers tokenizers safetensors datasets numpy scipy scikit-image pillow "
    "pydensecrf2 gradio huggingface-hub peft accelerate".split()
)


def package_versions() -> dict[str, str]:
    """Package -> version, "" where it is missing."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def memory_bytes() -> dict[str, int]:
    """Total and available memory in bytes; {} where the system does not say."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return {}
    rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return {
        key: int(rows[name].split()[0]) * 1024
        for key, name in (("total", "MemTotal"), ("available", "MemAvailable"))
        if name in rows
    }


def examine(model: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Facts on this installation and a checkpoint (None: shipped), and problems with remedies."""
    problems: list[str] = []
    versions = package_versions()
    for name, version in versions.items():
        if not version:
            problems.append(f"{name} is not installed: pip install -r requirements.txt")
    if sys.version_info < (3, 11):  # noqa: UP036 - a user may run an unsupported Python
        problems.append(f"Python {platform.python_version()} is too old; 3.11 or 3.12 is needed.")
    facts: dict[str, Any] = {
        "lungsynth": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": memory_bytes(),
        "disk_free": shutil.disk_usage(Path.cwd()).free,
    }
    if facts["memory"].get("available", 1 << 40) < 2 << 30:
        problems.append("Less than 2 GiB of memory is free; drawing needs about 1.5 GiB.")
    if facts["disk_free"] < 1 << 30:
        problems.append("Less than 1 GiB is free on this disk.")
    if not versions["torch"]:
        return facts, problems
    import torch  # deferred: it may be missing, which is what is looked for

    facts["threads"] = torch.get_num_threads()
    facts["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if versions["pydensecrf2"]:
        try:
            import pydensecrf.densecrf  # noqa: F401  # optional: likewise
        except ImportError as error:
            problems.append(f"pydensecrf does not import ({error}); masks stay unrefined.")
    if versions["diffusers"] and versions["transformers"]:
        facts["checkpoint"] = _examine_checkpoint(model, problems)
    return facts, problems


def _examine_checkpoint(model: str | None, problems: list[str]) -> dict[str, Any]:
    from lungsynth.masks.classes import load_classes  # deferred: torch may be missing
    from lungsynth.model.backbone import network, side_pixels  # deferred: likewise
    from lungsynth.model.checkpoint import load_pipeline, resolve, weights_hash  # likewise

    where = resolve(model)
    about: dict[str, Any] = {"name": model or "mini"}
    try:
        pipe, vocabulary = load_pipeline(model)
        about["parameters"] = {
            part: sum(p.numel() for p in getattr(pipe, part).parameters())
            for part in ("unet", "vae", "text_encoder")
        }
        about["pixels"] = side_pixels(pipe)
        about["known_words"] = len(vocabulary.counts) if vocabulary else None
        if Path(where).is_dir():
            about["hash"] = weights_hash(where)
            classes = load_classes(Path(where))
            about["classes"] = {c.id: c.name for c in classes}
            for spec in classes:
                if spec.token is not None:
                    spec.token.check(network(pipe))
    except LungSynthError as error:
        problems.append(f"checkpoint: {error}")
    return about
