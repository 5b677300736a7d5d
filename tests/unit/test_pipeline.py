"""From a prompt to a result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungsynth import pipeline as pipeline_module
from lungsynth.errors import (
    CheckpointError,
    ConfigError,
    LungSynthError,
    PromptError,
    ShapeError,
    WordError,
)
from lungsynth.masks.refine import RefineConfig
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Synthesizer

QUICK = SampleOptions(steps=2)


@pytest.fixture(scope="module")
def mini(checkpoint: Path) -> Synthesizer:
    return Synthesizer(str(checkpoint))


@pytest.fixture(scope="module")
def foreign(sd_folder: Path) -> Synthesizer:
    return Synthesizer(str(sd_folder))


def test_a_result_holds_everything(mini: Synthesizer, checkpoint: Path) -> None:
    (result,) = mini.generate(["Chest X-ray of a man, both lungs"], [7], options=QUICK)
    assert result.image.shape == result.mask.shape == result.coarse.shape == (64, 64)
    assert result.probability.shape == (3, 64, 64)
    assert np.allclose(result.probability.sum(0), 1, atol=1e-4)
    assert set(np.unique(result.mask)) <= {0, 1, 2}
    assert {"lungs", "class left lung", "class right lung"} <= set(result.maps)
    for heat in result.maps.values():
        assert heat.shape == (64, 64) and heat.min() >= 0 and heat.max() <= 1 + 1e-6
    record = json.loads(json.dumps(result.record, allow_nan=False))
    assert record["seed"] == 7 and record["model"] == checkpoint.name
    assert record["options"]["height"] == 64 and record["synthetic"] is True
    assert record["classes"] == {"1": "left lung", "2": "right lung"}
    assert len(record["model_hash"]) == 16 and "Not for diagnosis" in record["notice"]
    assert set(record["scores"]) == {"left lung", "right lung"}


def test_another_organ_is_a_token_and_an_entry(checkpoint: Path, tmp_path: Path) -> None:
    """Nothing but the checkpoint's folder is touched: masks, scores and ratios learn of it."""
    folder = tmp_path / "with-heart"
    shutil.copytree(checkpoint, folder)
    spec = json.loads((folder / "classes.json").read_text())
    token = folder / spec["classes"][0]["token"]
    shutil.copy(token, token.with_name("heart.safetensors"))
    heart = {"id": 7, "name": "heart", "token": "tokens/heart.safetensors", "group": "heart"}
    lungs = [one["name"] for one in spec["classes"]]
    ratios = {"cardiothoracic": {"of": ["heart"], "within": lungs}}
    spec |= {"classes": [*spec["classes"], heart], "ratios": ratios}
    (folder / "classes.json").write_text(json.dumps(spec))
    model = Synthesizer(str(folder))
    (result,) = model.generate(["Chest X-ray of a man, both lungs"], [7], options=QUICK)
    assert result.probability.shape == (4, 64, 64)
    assert result.record["classes"]["7"] == "heart"
    for part in ("scores", "stages"):
        assert set(result.record[part]) == {*lungs, "heart"}
    assert set(result.record["ratios"]) == {"cardiothoracic"} and "class heart" in result.maps
    # read with the left lung's token, and an organ of its own: it lies where that lung was found
    assert (result.probability[3] > 0.5).any() or not (result.coarse == 1).any()


def test_a_checkpoint_without_classes_takes_a_word(foreign: Synthesizer) -> None:
    (result,) = foreign.generate(["chest x-ray, both lungs"], [0], options=QUICK)
    assert result.record["classes"] == {"1": "lungs"}
    assert result.probability.shape == (2, 64, 64)
    assert set(np.unique(result.coarse)) == {0, 1}


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64)])
def test_a_picture_that_is_not_square_goes_through_every_step(
    mini: Synthesizer, foreign: Synthesizer, height: int, width: int
) -> None:
    options = SampleOptions(steps=2, height=height, width=width)
    for one in (mini, foreign):
        (result,) = one.generate(["chest x-ray, both lungs"], [0], options=options)
        assert result.image.shape == result.mask.shape == (height, width)
        assert result.maps["lungs"].shape == (height, width)
        assert (result.record["options"]["height"], result.record["options"]["width"]) == (
            height,
            width,
        )


def test_a_picture_does_not_depend_on_its_batch(mini: Synthesizer) -> None:
    prompts = ["both lungs", "chest x-ray of a man", "a child with pneumonia", "normal lungs"]
    seeds = [4, 5, 6, 7]
    together = list(mini.generate(prompts, seeds, options=QUICK, batch_size=4))
    in_threes = list(mini.generate(prompts, seeds, options=QUICK, batch_size=3))
    for k in range(4):
        (alone,) = mini.generate(prompts[k : k + 1], seeds[k : k + 1], options=QUICK)
        for other in (together[k], in_threes[k]):
            assert np.abs(other.image.astype(int) - alone.image.astype(int)).max() <= 2
            assert np.abs(other.probability - alone.probability).max() < 0.02
            assert other.record["seed"] == seeds[k] and other.record["prompt"] == prompts[k]


def test_the_same_seed_gives_the_same_result(mini: Synthesizer) -> None:
    one, two = (next(mini.generate(["both lungs"], [3], options=QUICK)) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)
    assert one.record == two.record


def test_a_scheduler_does_not_outlast_its_drawing(mini: Synthesizer) -> None:
    one = next(mini.generate(["both lungs"], [3], options=QUICK))
    next(mini.generate(["both lungs"], [3], options=SampleOptions(steps=2, scheduler="euler")))
    two = next(mini.generate(["both lungs"], [3], options=QUICK))
    assert np.array_equal(one.image, two.image)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"prompts": [""]}, PromptError),
        ({"prompts": ["both lungs", "xyzzy plugh"], "seeds": [0, 1]}, PromptError),
        ({"words": ["heart"]}, WordError),
        ({"options": SampleOptions(height=50)}, ShapeError),
        ({"seeds": []}, ConfigError),
        ({"prompts": [], "seeds": []}, ConfigError),
        ({"refine_config": RefineConfig(method="magic")}, ConfigError),
        ({"refine_config": RefineConfig(threshold="magic")}, ConfigError),
    ],
)
def test_nothing_is_drawn_before_everything_is_checked(
    mini: Synthesizer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    kind: type[LungSynthError],
) -> None:
    def drawn(*_: Any, **__: Any) -> None:
        raise AssertionError("a picture was drawn first")

    monkeypatch.setattr(pipeline_module, "draw", drawn)
    values: dict[str, Any] = {"prompts": ["both lungs"], "seeds": [0], "options": QUICK}
    with pytest.raises(kind):
        list(mini.generate(**(values | changes)))


@pytest.mark.parametrize("prompt", ["60 - 70", "🫁", "of the and with", "a " * 90 + "pneumonia"])
def test_without_a_word_for_the_mask_nothing_is_drawn(
    foreign: Synthesizer, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    monkeypatch.setattr(pipeline_module, "draw", None)
    with pytest.raises(WordError, match="no word to read a mask from"):
        list(foreign.generate([prompt], [0], options=QUICK))


def test_a_word_beyond_the_limit_is_passed_over(foreign: Synthesizer) -> None:
    """Anatomy is taken first, but not where the model does not read."""
    (result,) = foreign.generate(["pneumonia " + "a " * 90 + "lungs"], [0], options=QUICK)
    assert result.record["classes"] == {"1": "pneumonia"}
    assert "lungs" in result.record["dropped_text"]


def test_words_asked_for_are_those_mapped(mini: Synthesizer) -> None:
    (result,) = mini.generate(
        ["a man, both lungs"], [0], options=QUICK, words=["man", "both lungs"]
    )
    assert [w for w in result.maps if not w.startswith("class ")] == ["man", "both lungs"]


def test_a_device_that_is_not_there(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="--device nonsense"):
        Synthesizer(str(checkpoint), device="nonsense")


def test_a_token_of_another_model_is_refused(
    checkpoint: Path, sd_folder: Path, tmp_path: Path
) -> None:
    mixed = shutil.copytree(sd_folder, tmp_path / "mixed")
    shutil.copytree(checkpoint / "tokens", mixed / "tokens")
    shutil.copy(checkpoint / "classes.json", mixed)
    with pytest.raises(CheckpointError, match="learnt on another model"):
        Synthesizer(str(mixed))
