"""What the page does, without a browser."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsynth.errors import CheckpointError, ConfigError, LungSynthError, PromptError
from space import actions, text


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def drawing(checkpoint: Path) -> actions.Drawing:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
        *steps, last = actions.draw("Chest X-ray with pneumonia, zebra", 3, 2, 3.0)
    assert steps == [actions.Progress(1, 2), actions.Progress(2, 2)]
    assert isinstance(last, actions.Drawing)
    return last


def test_a_drawing_has_every_picture_at_the_same_size(drawing):
    assert pixels(drawing.image).shape == (64, 64)
    for data in (drawing.coarse, drawing.refined, *(data for _, data in drawing.maps)):
        assert pixels(data).shape == (64, 64, 3)
    assert [word for word, _ in drawing.maps][:2] == ["chest", "pneumonia"]


def test_areas_are_those_of_the_mask_in_the_archive(drawing):
    with zipfile.ZipFile(io.BytesIO(drawing.archive)) as file:
        mask = pixels(file.read("mask.png"))
        record = json.loads(file.read("record.json"))
        assert {"image.png", "mask.png", "map_chest.png", "record.json"} <= set(file.namelist())
    assert [r.name for r in drawing.regions] == ["left lung", "right lung"]
    for value, region in enumerate(drawing.regions, 1):
        assert region.area == pytest.approx((mask == value).mean())
        assert region.area == pytest.approx(record["scores"][region.name]["area"], abs=1e-4)
    assert record["synthetic"] is True and record["seed"] == 3


def test_same_seed_same_archive_other_seed_another(drawing):
    *_, again = actions.draw("Chest X-ray with pneumonia, zebra", 3, 2, 3.0)
    *_, other = actions.draw("Chest X-ray with pneumonia, zebra", 4, 2, 3.0)
    assert again.archive == drawing.archive
    assert other.image != drawing.image


def test_known_and_unknown_words_are_told_apart(drawing):
    words = actions.check_words("Chest X-ray, zebra")
    assert words.known == ("chest", "x", "ray") and words.unknown == ("zebra",)
    assert drawing.words.unknown == ("zebra",)
    html = text.word_report(words)
    assert "✗</span> zebra" in html and "✓</span> chest" in html


def test_a_prompt_that_cannot_be_drawn_is_told_while_typing():
    words = actions.check_words("zebra <script>")
    assert words.unknown == ("zebra", "script") and "zebra" in words.problem
    assert "<script>" not in text.word_report(words)
    assert text.EMPTY_WORDS in text.word_report(actions.check_words("  "))


@pytest.mark.parametrize("seed", [None, -1, 1.5, 2**53, float("nan"), "1", True])
def test_a_seed_that_is_none_is_refused_in_words(seed):
    with pytest.raises(ConfigError, match=r"`seed` is .*; expected a whole number from 0 to"):
        next(actions.draw("chest", seed, 2, 3.0))


@pytest.mark.parametrize("values", [(0, 0, 3.0), (0, 101, 3.0), (0, 2, 0.5), (0, 2, float("inf"))])
def test_numbers_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="expected"):
        actions.check_numbers(*values)


def test_an_empty_prompt_is_refused():
    with pytest.raises(PromptError, match="The prompt is empty"):
        list(actions.draw("", 0, 2, 3.0))


def test_closing_the_iterator_stops_the_drawing(monkeypatch):
    steps_done = []
    model = actions.synthesizer()
    generate = model.generate

    def counted(*args, on_step, **kwargs):
        def count(step, of, latents):
            steps_done.append(step)
            return on_step(step, of, latents)

        return generate(*args, on_step=count, **kwargs)

    monkeypatch.setattr(model, "generate", counted)
    events = actions.draw("chest", 0, 60, 3.0)
    assert next(events) == actions.Progress(1, 60)
    events.close()
    assert len(steps_done) < 60


def test_a_missing_checkpoint_is_said_and_can_be_mended(monkeypatch, tmp_path, checkpoint):
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(tmp_path / "nothing"))
    state = actions.model_state()
    assert state.name == "nothing" and "no such folder" in state.problem
    assert "could not be loaded" in text.model_line(state)
    with pytest.raises(CheckpointError):
        next(actions.draw("chest", 0, 2, 3.0))
    monkeypatch.setenv(actions.MODEL_VARIABLE, str(checkpoint))
    assert actions.model_state() == actions.ModelState(
        "pipeline", actions.synthesizer().model_hash, ""
    )


def test_the_checkpoint_is_loaded_once():
    assert actions.synthesizer() is actions.synthesizer()


def test_an_empty_mask_is_said_in_words(drawing):
    gone = actions.Region("left lung", (0, 0, 0), 0.0, 0.0, 0, 0.0)
    there = actions.Region("right lung", (0, 0, 0), 0.25, 0.3, 1, 0.9)
    some = actions.Drawing(drawing.words, 0, b"", (), b"", b"", (gone, there), b"", "")
    assert text.summary(some) == (
        "Right lung covers 25% of the picture in 1 part (stability 0.90). Not found: left lung."
    )
    none = actions.Drawing(drawing.words, 0, b"", (), b"", b"", (gone,), b"", "")
    assert text.summary(none) == "No class was found in the picture; the mask is empty."


def test_alt_texts_name_prompt_seed_and_areas(drawing):
    image, coarse, refined = text.alt_texts(drawing, "Chest  X-ray")
    assert image == "Synthetic chest X-ray drawn from “Chest X-ray”, seed 3."
    assert "left lung" in coarse and "stability" in refined


@pytest.mark.parametrize("module", ["space.actions", "space.text"])
def test_needs_neither_gradio_nor_torch_to_be_imported(module):
    heavy = ("gradio", "torch", "publish")
    code = f"import {module}, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_examples_are_known_to_the_wording():
    assert all(issubclass(kind, LungSynthError) for kind in (ConfigError, PromptError))
    assert len(set(text.EXAMPLES)) == len(text.EXAMPLES) > 2
