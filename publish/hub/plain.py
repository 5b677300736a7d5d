"""Our checkpoint for someone who has diffusers and not lungsynth: with the class of its autoencoder.

diffusers has no class for it, so a repository either names lungsynth, which a reader then installs
and imports, or brings the class as a file, which a reader then lets run (`trust_remote_code=True`).
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from lungsynth.errors import ConfigError
from lungsynth.model import autoencoder
from lungsynth.model.checkpoint import CARRIED_MODULE, CLASS_NAME
from publish.hub.weights import Checkpoint

HEADER = """# The class of this repository's autoencoder, as lungsynth has it (Apache-2.0), for those who
# load it with diffusers alone: StableDiffusionPipeline.from_pretrained(…, trust_remote_code=True).
# It imports torch and diffusers, and reads and writes nothing.
"""


def write_plain(checkpoint: Checkpoint, out: Path) -> None:
    """Write `vae/patch_autoencoder.py` and a `model_index.json` that names it.

    Args:
        checkpoint: A pipeline whose autoencoder is ours.
        out: Folder of generated files.

    Raises:
        ConfigError: the checkpoint is LoRA weights, or diffusers has every class of it.
    """
    if checkpoint.is_lora or not checkpoint.needs_lungsynth:
        kind = "LoRA weights" if checkpoint.is_lora else "a checkpoint of diffusers' own classes"
        raise ConfigError(
            f"--plain-diffusers: {checkpoint.folder} is {kind}, which diffusers loads as it is. Leave "
            "the option out."
        )
    source = inspect.getsource(autoencoder)
    # diffusers names the module a class comes from when it saves it: here this file, not lungsynth
    source = re.sub(r"^    __module__ = .*\n", "", source, flags=re.MULTILINE)
    index = json.loads((checkpoint.folder / "model_index.json").read_text(encoding="utf-8"))
    index["vae"] = [CARRIED_MODULE, CLASS_NAME]
    (out / "vae").mkdir()
    (out / "vae" / f"{CARRIED_MODULE}.py").write_text(HEADER + source, encoding="utf-8")
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
