"""What a stranger gets who loads published weights from the Hub: the very pictures of the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub.client import pointed_at, run_bare
from hub.server import Hub, serve
from PIL import Image
from publishing import contents, run_publish

pytestmark = pytest.mark.slow  # the small checkpoint's turn is in test_publish_weights
NAME = "lab/cxr"
SHIPPED = Path(__file__).parents[2] / "lungsynth" / "checkpoints" / "mini"
PROMPT = "PA chest X-ray of a 35-year-old woman, clear lungs"  # of the card
STEPS = 2


@dataclass(frozen=True)
class Published:
    """The shipped checkpoint on a Hub, and a stranger's download of it."""

    hub: Hub
    folder: Path
    card: str


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    home = tmp_path_factory.mktemp("home")
    with serve() as hub:
        with pointed_at(hub, home):
            ran = run_publish(
                "weights", SHIPPED, "--repo", NAME, "--tag", "v1.0.0", "--yes", "--verify", "tree"
            )
            assert ran.code == 0, ran.err
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(NAME, revision="v1.0.0"))
        yield Published(hub, folder, (folder / "README.md").read_text())


def draw(model: str | None) -> Any:
    """One picture with its mask."""
    from lungsynth.model.sampling import SampleOptions
    from lungsynth.pipeline import Synthesizer

    [drawn] = Synthesizer(model, device="cpu").generate(
        [PROMPT], [0], options=SampleOptions(steps=STEPS)
    )
    return drawn


@pytest.fixture(scope="module")
def ours() -> Any:
    """What the shipped checkpoint draws."""
    return draw(None)


def test_every_file_of_the_checkpoint_comes_back(published):
    here, there = contents(SHIPPED), contents(published.folder)
    del there[".gitattributes"]
    assert set(here) == set(there)
    assert [name for name in here if here[name] != there[name]] == ["README.md"]


def test_the_download_draws_the_pixels_of_the_shipped_checkpoint(published, ours):
    theirs = draw(str(published.folder))
    assert np.array_equal(ours.image, theirs.image) and ours.image.std() > 1
    assert np.array_equal(ours.mask, theirs.mask)
    assert np.array_equal(ours.probability, theirs.probability)
    assert ours.record["model_hash"] == theirs.record["model_hash"] != ""
    assert ours.record["classes"] == theirs.record["classes"]


def test_the_snippets_of_the_card_run_in_a_new_process(published, ours, tmp_path):
    """As printed, but for the number of steps; the mask is the one lungsynth makes here."""
    snippets = re.findall(r"```python\n(.*?)```", published.card, re.DOTALL)
    assert len(snippets) == 2 and all(NAME in one for one in snippets)
    assert "lungsynth/checkpoints/mini" not in published.card
    keep = "\nimport os\nos.rename('xray.png', 'first.png')\n"
    program = keep.join(one.replace("steps=20", f"steps={STEPS}") for one in snippets)
    assert program.count(f"steps={STEPS}") == 2
    done = run_bare(published.hub, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    first, mask, second = (
        np.asarray(Image.open(tmp_path / name).convert("L"))
        for name in ("first.png", "mask.png", "xray.png")
    )
    assert np.array_equal(first, ours.image) and np.array_equal(mask, ours.mask)
    assert second.shape == ours.image.shape and second.std() > 1
