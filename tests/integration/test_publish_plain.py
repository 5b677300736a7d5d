"""Published weights by their name on the Hub: with lungsynth, and for those who have diffusers alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hub.client import pointed_at, run_bare
from hub.server import Hub, serve
from PIL import Image
from publishing import run_publish

ROOT = Path(__file__).parents[2]
NAMED, PLAIN = "lab/named", "lab/plain"
OPTIONS = ("--licence", "apache-2.0", "--samples", 0, "--yes", "--verify", "tree")


@dataclass(frozen=True)
class Published:
    """A small checkpoint on a Hub, twice, and the download of the second."""

    hub: Hub
    folder: Path
    cards: dict[str, str]


@pytest.fixture(scope="module")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    with serve() as hub, pointed_at(hub, tmp_path_factory.mktemp("home")):
        for name, more in ((NAMED, ()), (PLAIN, ("--plain-diffusers",))):
            ran = run_publish("weights", checkpoint, "--repo", name, *OPTIONS, *more)
            assert ran.code == 0, ran.err
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(PLAIN, local_dir=tmp_path_factory.mktemp("plain")))
        cards = {
            one: hub.repo("model", one).files()["README.md"].decode() for one in (NAMED, PLAIN)
        }
        yield Published(hub, folder, cards)


def alone(card: str) -> str:
    """The card's code that loads the repository by diffusers."""
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[-1]
    assert "snapshot_download" not in code
    return code.replace("steps=20", "steps=2")


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> np.ndarray:
    """What diffusers draws from the folder itself."""
    import torch

    from lungsynth.model.checkpoint import load_pipeline
    from publish.card.model_snippets import PROMPTS

    pipe, _ = load_pipeline(str(checkpoint))
    generator = torch.Generator().manual_seed(0)
    picture = pipe(PROMPTS[0], num_inference_steps=2, generator=generator).images[0]
    return np.asarray(picture.convert("L")).astype(int)


def test_one_line_and_the_name_are_enough_with_lungsynth(published, expected, tmp_path):
    code = alone(published.cards[NAMED])
    assert "from lungsynth import PatchAutoencoderKL" in code and "trust" not in code
    done = run_bare(published.hub, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = np.asarray(Image.open(tmp_path / "xray.png").convert("L")).astype(int)
    assert np.abs(drawn - expected).max() <= 1 and drawn.std() > 1


def test_diffusers_alone_is_enough_for_a_plain_repository(published, expected, tmp_path):
    code = alone(published.cards[PLAIN])
    assert "lungsynth" not in code and "trust_remote_code=True" in code
    assert "vae/patch_autoencoder.py" in published.cards[PLAIN]
    check = "import importlib.util\nassert importlib.util.find_spec('lungsynth') is None\n"
    distrust = code.replace(", trust_remote_code=True", "").splitlines()[:4]
    refused = "\n".join(
        ["try:", *(f"    {one}" for one in distrust), "except ValueError as error:"]
    )
    program = f"{check}{refused}\n    print('refused', error)\n{code}"
    done = run_bare(published.hub, tmp_path, "-c", program, with_lungsynth=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("refused") and "trust_remote_code" in done.stdout
    drawn = np.asarray(Image.open(tmp_path / "xray.png").convert("L")).astype(int)
    assert np.abs(drawn - expected).max() <= 1


def test_lungsynth_reads_a_plain_repository_and_does_not_run_its_code(published, checkpoint):
    import torch

    from lungsynth.model.checkpoint import load_pipeline, weights_hash

    code = published.folder / "vae" / "patch_autoencoder.py"
    text = code.read_text()
    assert "lungsynth" in text.splitlines()[0] and "__module__" not in text
    assert not re.search(r"^(from|import) lungsynth", text, re.MULTILINE)
    marker = published.folder / "ran"
    code.write_text(f"open({str(marker)!r}, 'w').write('x')\n{text}")
    pipe, words = load_pipeline(str(published.folder))
    assert type(pipe.vae).__module__ == "lungsynth" and words is not None and not marker.exists()
    assert weights_hash(str(published.folder)) == weights_hash(str(checkpoint))
    theirs, _ = load_pipeline(PLAIN)  # by its name
    for one, other in zip(pipe.vae.parameters(), theirs.vae.parameters(), strict=True):
        assert torch.equal(one, other) and one.dtype == torch.float32


def test_what_needs_no_class_is_told_so(sd_folder, run=run_publish):
    ran = run("weights", sd_folder, "--repo", "lab/x", *OPTIONS, "--plain-diffusers")
    assert ran.code == 1 and "which diffusers loads as it is. Leave the option out" in ran.err
