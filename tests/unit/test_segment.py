"""Masks of real films of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import film, tiny_checkpoint

from lungsynth.errors import ConfigError, DataError, PromptError, ShapeError
from lungsynth.films.framing import whole
from lungsynth.masks.refine import RefineConfig
from lungsynth.pipeline import Synthesizer
from lungsynth.segment import (
    segment_film,
    segment_films,
    segment_settings,
    settings_sha256,
    square_box,
    to_film,
    to_square,
)

PLAIN = RefineConfig(method="none", clean_up=False)


@pytest.fixture(scope="module")
def synthesizer(checkpoint: Path) -> Synthesizer:
    return Synthesizer(str(checkpoint), device="cpu")


# ---------------------------------------------------------------- geometry


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(32, 400), width=st.integers(32, 400), pixels=st.sampled_from([64, 96, 256])
)
def test_the_box_is_where_the_film_is(height: int, width: int, pixels: int) -> None:
    square = to_square(np.full((height, width), 200, np.uint8), pixels=pixels)
    y0, y1, x0, x1 = square_box(height, width, pixels=pixels)
    wanted = np.zeros((pixels, pixels), bool)
    wanted[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(square > 0, wanted)


@pytest.mark.parametrize("shape", [(100, 100), (100, 125), (125, 100), (96, 112)])
def test_common_shapes_are_framed_as_in_training(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)
    np.testing.assert_array_equal(to_square(image, pixels=64), whole(image, pixels=64))


@pytest.mark.parametrize("shape", [(90, 200), (200, 90), (300, 300), (41, 64), (700, 500)])
def test_a_shape_comes_back_where_it_was(shape: tuple[int, int]) -> None:
    """A disc drawn on the film, framed, and mapped back, covers itself."""
    height, width = shape
    rows, columns = np.indices(shape)
    cy, cx, radius = 0.6 * height, 0.3 * width, 0.25 * min(shape)
    disc = (rows + 0.5 - cy) ** 2 + (columns + 0.5 - cx) ** 2 < radius**2
    square = to_square((disc * 255).astype(np.uint8), pixels=256)
    back = to_film(square[None].astype(np.float32) / 255, height, width)[0] > 0.5
    assert back.shape == shape
    assert (back & disc).sum() / (back | disc).sum() > 0.95


# ---------------------------------------------------------------- films


@pytest.mark.parametrize("shape", [(96, 112), (64, 64), (200, 70), (33, 90), (301, 277)])
def test_the_mask_has_the_films_size(synthesizer: Synthesizer, shape: tuple[int, int]) -> None:
    image = film(1, height=shape[0], width=shape[1])[0]
    result = segment_film(synthesizer, image)
    assert result.mask.shape == shape and result.mask.dtype == np.uint8
    assert set(np.unique(result.mask)) <= {0, 1, 2}
    assert result.probability.shape == result.posterior.shape == (3, 64, 64)
    np.testing.assert_allclose(result.probability.sum(0), 1, atol=1e-5)
    assert set(result.scores) == {"left lung", "right lung"}


def test_every_pixel_gets_its_most_probable_class(synthesizer: Synthesizer) -> None:
    image = film(1, height=128, width=128)[0]
    result = segment_film(synthesizer, image, config=PLAIN)
    np.testing.assert_array_equal(result.mask[::2, ::2].shape, (64, 64))
    up = to_film(result.probability, 128, 128)
    np.testing.assert_array_equal(result.mask, up.argmax(0))
    assert len(np.unique(result.mask)) > 1
    assert result.scores["left lung"]["area"] == pytest.approx((result.mask == 1).mean(), abs=1e-5)


def test_a_film_at_the_models_size_equals_the_plain_reading(synthesizer: Synthesizer) -> None:
    """The same numbers as reading tokens by hand: nothing is lost on the way."""
    from lungsynth.masks.reading import no_word, read
    from lungsynth.model.backbone import embed_prompts, encode_images

    image = film(2, height=64, width=64)[0]
    pipe = synthesizer.pipe
    logits = synthesizer.read_tokens(
        encode_images(pipe, image[None]), embed_prompts(pipe, [""]), [5]
    )
    wanted = read(synthesizer.classes, logits, 0, no_word, PLAIN)
    result = segment_film(synthesizer, image, seed=5, config=PLAIN)
    np.testing.assert_allclose(result.probability, wanted, atol=1e-5)
    np.testing.assert_array_equal(result.mask, wanted.argmax(0))


def test_a_film_does_not_depend_on_its_company(synthesizer: Synthesizer) -> None:
    images = [film(k, height=90 + 10 * k, width=100)[0] for k in range(3)]
    together = segment_films(synthesizer, images, seed=3)
    for image, one in zip(images, together, strict=True):
        alone = segment_film(synthesizer, image, seed=3)
        np.testing.assert_allclose(alone.probability, one.probability, atol=1e-4)
        assert (alone.mask != one.mask).mean() < 0.002
    assert segment_films(synthesizer, []) == []


def test_options_do_something(synthesizer: Synthesizer) -> None:
    image = film(1)[0]
    plain = segment_film(synthesizer, image)
    for options in ({"seed": 1}, {"n_noise": 2}, {"prompt": "both lungs"}):
        other = segment_film(synthesizer, image, **options)  # type: ignore[arg-type]
        assert np.abs(other.probability - plain.probability).max() > 1e-4, options
    other = segment_film(synthesizer, image, config=PLAIN)
    assert np.abs(other.posterior - plain.posterior).max() > 1e-3
    np.testing.assert_array_equal(other.posterior, other.probability)


def test_noise_draws_are_averaged_in_logits(synthesizer: Synthesizer) -> None:
    image = film(1, height=64, width=64)[0]

    def logits(**options: Any) -> np.ndarray:
        p = segment_film(synthesizer, image, config=PLAIN, **options).probability
        return np.log(p[1:]) - np.log(p[:1])

    mean = (logits(seed=4) + logits(seed=5)) / 2
    np.testing.assert_allclose(logits(seed=4, n_noise=2), mean, atol=1e-3)


def test_the_affinity_network_is_used_where_the_method_needs_it(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungsynth.masks.affinity import AffinityConfig, AffinityNet, affinity_fields

    network = AffinityNet(AffinityConfig()).eval()
    monkeypatch.setattr(
        synthesizer, "affinity_field", lambda image: affinity_fields(network, image[None])[0]
    )
    image = film(1)[0]
    walked = segment_film(synthesizer, image, config=RefineConfig(method="affinity"))
    plain = segment_film(synthesizer, image, config=RefineConfig(method="none"))
    np.testing.assert_array_equal(walked.probability, plain.probability)
    assert np.abs(walked.posterior - plain.posterior).max() > 1e-3


# ---------------------------------------------------------------- settings, errors


def test_settings_say_everything_and_their_hash_follows(synthesizer: Synthesizer) -> None:
    told = segment_settings(synthesizer)
    assert told["timesteps"] == [50, 300] and told["prompt"] == ""
    assert told["classes"] == {"1": "left lung", "2": "right lung"}
    hashes = {
        settings_sha256(segment_settings(synthesizer, **options))
        for options in (
            {},
            {"seed": 1},
            {"n_noise": 2},
            {"prompt": "both lungs"},
            {"config": PLAIN},
        )
    }
    assert len(hashes) == 5
    assert settings_sha256(told) == settings_sha256(segment_settings(synthesizer))


def test_the_tokens_own_prompt_is_the_default(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = synthesizer.classes[0].token
    assert token is not None
    monkeypatch.setitem(token.info, "prompt", "both lungs")
    assert segment_settings(synthesizer)["prompt"] == "both lungs"
    assert segment_settings(synthesizer, prompt="")["prompt"] == ""


def test_wrong_input_is_refused(synthesizer: Synthesizer) -> None:
    image = film(0)[0]
    for wrong in (image[:31], image.astype(float), image[None]):
        with pytest.raises(ShapeError, match=r"expected \(H, W\) uint8"):
            segment_film(synthesizer, wrong)
    with pytest.raises(ConfigError, match="`n_noise` is 0"):
        segment_film(synthesizer, image, n_noise=0)
    with pytest.raises(ConfigError, match="unknown"):
        segment_film(synthesizer, image, config=RefineConfig(method="magic"))
    with pytest.raises(ConfigError, match="needs an affinity network"):
        segment_film(synthesizer, image, config=RefineConfig(method="affinity"))
    with pytest.raises(PromptError):
        segment_film(synthesizer, image, prompt="xyzzy plugh")


def test_a_checkpoint_without_tokens_is_refused(tmp_path: Path) -> None:
    bare = Synthesizer(str(tiny_checkpoint(tmp_path)), device="cpu")
    with pytest.raises(DataError, match="has no learnt class tokens"):
        segment_film(bare, film(0)[0])
