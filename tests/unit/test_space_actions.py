"""What the page does, without a browser."""

from __future__ import annotations

import io
import json
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungsynth.errors import CheckpointError, ConfigError, PromptError
from lungsynth.masks.walk import AffinityField, half_disc
from lungsynth.permalink import Permalink
from space.draw import actions, preview, study
from space.draw.model import MODEL_VARIABLE, model_card, model_state, synthesizer
from space.draw.tuning import Tuning
from space.page import text
from space.share import archive

PROMPT = "Chest X-ray with pneumonia, zebra"


@pytest.fixture(autouse=True)
def _tiny_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def events(checkpoint: Path) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODEL_VARIABLE, str(checkpoint))
        patch.setattr(actions, "SAID_EVERY", 0)
        return list(actions.draw(Permalink(PROMPT, 3, 4, 3.0, precision="auto"), 2))


@pytest.fixture
def drawn(events: list) -> study.Study:
    """The first picture with the mask as it was first made."""
    study.make(events[4].study, Tuning())
    return events[4].study


@pytest.fixture
def with_field(drawn: study.Study):
    """The same with an affinity field."""
    offsets = half_disc(3)
    values = np.random.default_rng(0).uniform(0.5, 1, (len(offsets), 16, 16)).astype(np.float32)
    drawn.field = AffinityField(values, offsets, 16, 16)
    drawn.cache.clear()
    drawn.made = None
    yield drawn
    drawn.field = drawn.made = None
    drawn.cache.clear()


def test_every_step_is_told_and_every_picture_comes(events):
    kinds = [type(event).__name__ for event in events]
    assert kinds == (["Progress"] * 4 + ["Drawing"]) * 2
    assert [(e.step, e.steps, e.picture, e.pictures) for e in events[5:7]] == [
        (1, 4, 2, 2),
        (2, 4, 2, 2),
    ]
    assert events[0].seconds_left is None and events[1].seconds_left > 0
    assert [events[4].study.seed, events[9].study.seed] == [3, 4]


def test_quick_steps_are_told_together_but_the_first_and_last_step_and_pictures_always(monkeypatch):
    monkeypatch.setattr(actions, "SAID_EVERY", 1000)
    *told, drawing = actions.draw(Permalink(PROMPT, 3, 12, 3.0))
    steps = [event.step for event in told]
    assert steps == [1, 2, 5, 8, 11, 12] and isinstance(drawing, actions.Drawing)
    assert all(event.preview is not None for event in told[1:-1])


def test_previews_are_pictures_on_the_way(events):
    previews = [event.preview for event in events[:4]]
    assert previews[3] is None
    assert all(one.shape == (64, 64) and one.dtype == np.uint8 for one in previews[:3])
    noise, ahead = previews[0].astype(int), previews[1].astype(int)
    final = events[4].study.image.astype(int)
    assert np.abs(noise - final).mean() > np.abs(ahead - final).mean()


def test_the_predicted_picture_is_what_the_scheduler_predicts():
    import torch

    scheduler = synthesizer().pipe.scheduler
    scheduler.set_timesteps(5)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    for index, t in enumerate(scheduler.timesteps[:-1]):
        out = scheduler.step(torch.randn(x.shape, generator=generator), t, x)
        found = preview.predicted_x0(scheduler, index, x, out.prev_sample)
        assert torch.allclose(found, out.pred_original_sample, atol=1e-3)
        x = out.prev_sample
    assert preview.predicted_x0(object(), 0, x, x) is None


def test_a_solver_that_works_on_predicted_pictures_shows_them():
    import torch
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler.from_config(actions.synthesizer().pipe.scheduler.config)
    scheduler.set_timesteps(5)
    x, v = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    after = scheduler.step(v, scheduler.timesteps[0], x).prev_sample
    alpha = scheduler.alphas_cumprod[int(scheduler.timesteps[0])]
    found = preview.predicted_x0(scheduler, 0, x, after)
    assert torch.allclose(found, alpha.sqrt() * x - (1 - alpha).sqrt() * v, atol=1e-2)


def test_each_picture_is_the_one_its_seed_draws_alone(events):
    *_, alone = actions.draw(Permalink(PROMPT, 4, 4, 3.0, precision="auto"), previews=False)
    assert archive.archive(alone.study) == archive.archive(events[9].study)
    assert not np.array_equal(alone.study.image, events[4].study.image)


def test_the_archive_is_what_the_command_line_writes(drawn):
    from lungsynth.model.sampling import SampleOptions
    from lungsynth.output import result_files

    model = synthesizer()
    words = actions.words_to_map(model, PROMPT)
    options = SampleOptions(steps=4, guidance=3.0)
    [result] = model.generate([PROMPT], [3], options=options, words=words)
    with zipfile.ZipFile(io.BytesIO(archive.archive(drawn))) as file:
        inside = {name: file.read(name) for name in file.namelist()}
    assert inside == result_files(result)
    assert archive.archive_name(drawn) == "lungsynth-chest-x-ray-with-pneumonia-zebra-seed3.zip"


def test_every_word_has_a_map(drawn):
    named = ["chest", "x", "ray", "with", "pneumonia", "zebra"]
    assert list(drawn.formation.words) == named
    model = synthesizer()
    assert actions.words_to_map(model, "right lung, chest")[0] == "right lung"
    assert len(actions.words_to_map(model, "chest " + " ".join(map(str, range(60))))) == 16
    of_twenty = "x-ray of the chest of a " + " ".join(map(str, range(13))) + " lung right"
    assert actions.words_to_map(model, of_twenty)[-2:] == ["lung", "right"]


def test_areas_are_those_of_the_mask(drawn):
    made = drawn.made
    record = archive.record_of(drawn)
    assert [r.name for r in made.regions] == ["left lung", "right lung"]
    for value, region in enumerate(made.regions, 1):
        assert region.area == pytest.approx((made.mask == value).mean())
        assert region.area == pytest.approx(record["scores"][region.name]["area"], abs=1e-4)
    assert record["synthetic"] is True and record["seed"] == 3
    assert [name for name, _, _ in made.stages] == ["Threshold", "CRF", "Mask"]
    assert np.array_equal(made.stages[0][2], made.coarse)
    assert np.array_equal(made.stages[-1][2], made.mask)


@pytest.mark.parametrize("method", ["sequential", "cross", "affinity", "none", "crf"])
def test_a_mask_made_anew_is_the_one_the_library_makes(with_field, method):
    from lungsynth.masks.chain import run

    for tuning in (
        Tuning(method=method, n_gammas=5, beta=2.0, walk_steps=20),
        Tuning(method=method, n_gammas=5, beta=9.0, walk_steps=20),
    ):
        made = study.make(with_field, tuning)
        config = tuning.config(with_field.base)
        wanted = run(
            with_field.probability, with_field.image, with_field.specs, config, with_field.aids
        )
        assert np.array_equal(made.mask, wanted.mask)
        assert np.array_equal(made.coarse, wanted.coarse) and made.scores == wanted.scores
        names = [name for name, _, _ in made.stages]
        assert ("Walk" in names) == (method not in ("crf", "none"))
        assert ("CRF" in names) == (method not in ("affinity", "none"))
        masks = dict(study.by_rule(with_field, tuning, ("sequential", "cross", method)))
        assert np.array_equal(masks[method], made.mask)


def test_the_record_follows_the_mask(with_field):
    study.make(with_field, Tuning(method="cross", n_gammas=3, grey_width=4.0))
    record = archive.record_of(with_field)
    assert record["refine"]["method"] == "cross" and record["refine"]["gammas"] == (0.2, 0.5, 0.8)
    assert record["refine"]["crf"]["theta_beta"] == 4.0
    with zipfile.ZipFile(io.BytesIO(archive.archive(with_field))) as file:
        assert np.array_equal(pixels(file.read("mask.png")), with_field.made.mask)
    made = study.make(with_field, Tuning(method="none", ignore_band=0.45))
    assert made.ignored == (made.mask == 255).mean() > 0


@pytest.mark.parametrize(
    "tuning",
    [
        {"method": "magic"},
        {"beta": float("nan")},
        {"beta": -1.0},
        {"walk_steps": -3},
        {"grey_width": 0.0},
        {"n_gammas": 0},
        {"n_gammas": 99},
        {"ignore_band": 0.7},
        {"position_width": "wide"},
        {"method": "cross"},
    ],
)
def test_a_tuning_that_cannot_be_is_refused_in_words(drawn, tuning):
    before = drawn.made
    with pytest.raises(ConfigError):
        study.make(drawn, Tuning(**tuning))
    assert drawn.made is before


def test_known_and_unknown_words_are_told_apart(events):
    words = actions.check_words("Chest X-ray, zebra")
    assert words.known == ("chest", "x", "ray") and words.unknown == ("zebra",)
    assert events[4].words.unknown == ("zebra",)
    html = text.word_report(words)
    assert "✗</span> zebra" in html and "Words the model knows: 3 of 4." in html


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        (" \n\t", "prompt is empty"),
        ("chest " * 2000, "12,000 characters"),
        ("<script>alert()</script>", "No word of"),
        ("🫁🩻", "No word of"),
        ("أشعة الصدر", "No word of"),
        ("胸部のX線", ""),
        (None, "not a text"),
        (7, "not a text"),
    ],
)
def test_prompts_that_cannot_be_drawn_are_refused_in_words(prompt, message):
    if not message:  # "x" is known
        assert actions.check_words(prompt).problem == ""
        return
    with pytest.raises(PromptError, match=message):
        list(actions.draw(Permalink(prompt, 0, 2, 3.0)))


def test_what_was_typed_is_never_markup():
    words = actions.check_words("zebra <img src=x onerror=alert(1)>")
    assert words.unknown[0] == "zebra"
    assert "<img" not in text.word_report(words)
    assert "<b>" not in text.history([{"prompt": "<b>", "seed": "<b>", "link": "http://x/?<b>"}])
    assert "javascript" not in text.history([{"prompt": "a", "seed": 1, "link": "javascript:x"}])
    assert text.EMPTY_WORDS in text.word_report(actions.check_words("  "))


@pytest.mark.parametrize("seed", [None, -1, 1.5, 2**53, float("nan"), "1", True])
def test_a_seed_that_is_none_is_refused_in_words(seed):
    with pytest.raises(ConfigError, match=r"`seed` is .*; expected a whole number from 0 to"):
        next(actions.draw(Permalink("chest", seed, 2, 3.0)))


@pytest.mark.parametrize(
    "values",
    [
        (0, 0, 3.0, 1),
        (0, -5, 3.0, 1),
        (0, 101, 3.0, 1),
        (0, 2, 0.5, 1),
        (0, 2, float("inf"), 1),
        (0, 2, 3.0, 5),
        (0, 2, 3.0, 0),
    ],
)
def test_numbers_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="expected"):
        actions.check_numbers(*values)


def test_closing_the_iterator_stops_the_drawing(monkeypatch):
    steps_done = []
    model = synthesizer()
    generate = model.generate

    def counted(*args, on_step, **kwargs):
        def count(step, of, latents):
            steps_done.append(step)
            return on_step(step, of, latents)

        return generate(*args, on_step=count, **kwargs)

    monkeypatch.setattr(model, "generate", counted)
    drawing = actions.draw(Permalink("chest", 0, 60, 3.0), 4, previews=False)
    assert next(drawing).step == 1
    drawing.close()
    assert len(steps_done) < 60


def test_a_missing_checkpoint_is_said_and_can_be_mended(monkeypatch, tmp_path, checkpoint):
    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "nothing"))
    state = model_state()
    assert state.name == "nothing" and "no such folder" in state.problem
    assert "could not be loaded" in text.model_line(state)
    with pytest.raises(CheckpointError):
        next(actions.draw(Permalink("chest", 0, 2, 3.0)))
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))
    state = model_state()
    assert (state.name, state.problem, state.conventions) == (
        "pipeline",
        "",
        (("the checkpoint's own", ""),),
    )
    assert set(state.methods) == {"none", "crf"}


def test_another_convention_is_loaded_beside_the_first(monkeypatch, tmp_path, checkpoint):
    import shutil

    folder = tmp_path / "two"
    shutil.copytree(checkpoint, folder)
    spec = json.loads((folder / "classes.json").read_text())
    spec["classes"].reverse()
    (folder / "classes-nlm.json").write_text(json.dumps(spec | {"convention": "nlm"}))
    monkeypatch.setenv(MODEL_VARIABLE, str(folder))
    assert model_state().conventions == (("the checkpoint's own", ""), ("nlm", "nlm"))
    (folder / "README.md").write_text("---\na: b\n---\n\n# Card\n")
    assert model_card() == "# Card"
    assert synthesizer("nlm").classes[0].convention == "nlm"
    assert synthesizer() is synthesizer() is not synthesizer("nlm")
    with pytest.raises(ConfigError, match="no such classes"):
        synthesizer("other")


def test_the_mask_in_words():
    gone = study.Region(1, "left lung", (0, 0, 0), 0.0, 0.0, 0, 0.0, 0.0)
    there = study.Region(2, "right lung", (0, 0, 0), 0.25, 0.3, 1, 0.9, 0.8)
    assert text.summary((gone, there), ignored=0.02) == (
        "Right lung covers 25% of the picture in 1 part (stability 0.90, trust 0.80). "
        "Not found: left lung. 2.0% of the picture is left undecided."
    )
    assert text.summary((gone,)) == "No class was found in the picture; the mask is empty."


def test_the_x_ray_has_an_alternative_text(drawn):
    assert text.alt_text(drawn).startswith(f"Synthetic chest X-ray drawn from “{PROMPT}”, seed 3. ")


def test_needs_neither_gradio_nor_torch_to_be_imported():
    import space.draw
    import space.share

    names = [
        f"{room.__name__}.{found.name}"
        for room in (space.draw, space.share)
        for found in pkgutil.iter_modules(room.__path__)
    ]
    names += [f"space.page.{name}" for name in ("text",)]
    assert {"space.draw.study", "space.share.archive"} <= {*names}
    heavy = ("gradio", "torch", "publish")
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    found = [m for m in {heavy} if m in sys.modules]\n"
        "    assert not found, (name, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
