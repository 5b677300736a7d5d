"""The U-Net: it learns, it is deterministic, ignores what is ignored, and travels through files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import film

from lungsynth.errors import ConfigError, ShapeError
from lungsynth.films.framing import whole
from lungsynth.masks.body import (
    Segmenter,
    SegmenterConfig,
    predict,
    to_input,
)
from lungsynth.training.segmenter import (
    NO_CHANGE,
    AugmentOptions,
    Fit,
    augment,
    fit_network,
    segmentation_loss,
)

SMALL = (8, 16, 24)


def films(n: int, start: int = 0, pixels: int = 48) -> tuple[np.ndarray, np.ndarray]:
    pairs = [film(start + i) for i in range(n)]
    images = np.stack([whole(image, pixels=pixels) for image, _ in pairs])
    masks = np.stack([whole(mask, pixels=pixels, nearest=True) // 255 for _, mask in pairs])
    return images, masks


def fitted(images: np.ndarray, masks: np.ndarray, fit: Fit) -> Segmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.seed)
        model = Segmenter(SegmenterConfig(widths=SMALL))

    def shown(_: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = rng.integers(0, len(images), fit.batch)
        return images[chosen], masks[chosen]

    fit_network(model, shown, fit)
    return model


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_the_default_is_as_large_as_it_says() -> None:
    assert sum(p.numel() for p in Segmenter().parameters()) == pytest.approx(1.55e6, rel=0.01)


def test_one_film_teaches_the_others() -> None:
    images, masks = films(1)
    model = fitted(images, masks, Fit(steps=60, batch=4, lr=5e-3))
    unseen, truth = films(4, start=50)
    probability = predict(model, unseen)
    assert probability.shape == (4, 2, 48, 48)
    assert probability.sum(1) == pytest.approx(1.0, abs=1e-5)
    scores = [overlap(p[1] > 0.5, t == 1) for p, t in zip(probability, truth, strict=True)]
    assert min(scores) > 0.8
    # a film of another exposure is the same film
    darker = predict(model, (unseen // 2 + 20).astype(np.uint8))
    assert np.abs(darker - probability).mean() < 0.02


def test_the_seed_decides_everything() -> None:
    images, masks = films(3)

    def weights(seed: int) -> torch.Tensor:
        torch.seed()  # the global state must not matter
        model = fitted(images, masks, Fit(steps=2, batch=2, seed=seed))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_training_leaves_the_global_randomness_alone() -> None:
    images, masks = films(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(images, masks, Fit(steps=1, batch=1))
    assert torch.equal(torch.rand(3), expected)


def test_ignored_pixels_teach_nothing() -> None:
    """One of two masks is wrong everywhere; ignoring it is better than learning it."""
    images, masks = films(2)
    wrong, ignored = masks.copy(), masks.copy()
    wrong[1], ignored[1] = 1 - wrong[1], 255
    unseen, truth = films(4, start=50)

    def score(learnt: np.ndarray) -> float:
        fit = Fit(steps=60, batch=4, lr=5e-3)
        found = predict(fitted(images, learnt, fit), unseen)[:, 1] > 0.5
        return float(np.mean([overlap(m, t == 1) for m, t in zip(found, truth, strict=True)]))

    assert score(ignored) > score(wrong) + 0.2


def test_the_loss_of_ignored_pixels_is_none() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    target[:, 4:] = 255
    moved = logits.clone()
    moved[:, :, 4:] += 7 * torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(2))
    assert segmentation_loss(logits, target) == pytest.approx(
        float(segmentation_loss(moved, target))
    )
    sure = torch.nn.functional.one_hot(target.clamp(max=2), 3).permute(0, 3, 1, 2).float() * 40 - 20
    assert float(segmentation_loss(sure, target)) == pytest.approx(0.0, abs=1e-4)
    assert float(segmentation_loss(logits, target)) > 0.5


def test_masks_move_with_their_films() -> None:
    """A film that is its own mask stays so, however it is moved."""
    mask = (np.indices((64, 64)).sum(0) % 40 < 20).astype(np.uint8)
    x = to_input(np.stack([mask * 255] * 6))
    generator = torch.Generator().manual_seed(0)
    still = {"gamma": 0, "contrast": 0, "brightness": 0, "shading": 0, "blur": 0, "noise": 0}
    planes = torch.from_numpy(mask).float().expand(6, 1, 64, 64)
    y, moved = augment(x, planes, generator, AugmentOptions(**still))
    agree = ((y > 0).float() == moved).float().mean((1, 2, 3))
    assert agree.min() > 0.97
    assert ((moved[0] != moved[1]).float().mean()) > 0.1
    assert y.min() >= -1 and y.max() <= 1


def test_no_augmentation_changes_nothing_and_flip_is_off_unless_asked() -> None:
    images, masks = films(16)
    x, planes = to_input(images), torch.from_numpy(masks)[:, None].float()
    y, moved = augment(x, planes, torch.Generator().manual_seed(0), NO_CHANGE)
    assert torch.equal(moved, planes)
    assert (y - x).abs().max() < 2e-3
    flipping = AugmentOptions(**{**{k: 0 for k in NO_CHANGE.__dataclass_fields__}, "flip": True})
    _, mirrored = augment(x, planes, torch.Generator().manual_seed(0), flipping)
    kinds = [
        (torch.equal(m, p), torch.equal(m, p.flip(-1)))
        for m, p in zip(mirrored, planes, strict=True)
    ]
    assert all(a or b for a, b in kinds)
    assert {a for a, _ in kinds} == {True, False}


def test_what_does_not_fit_is_refused() -> None:
    images, _ = films(2)
    with pytest.raises(ShapeError, match="multiples of 4"):
        predict(Segmenter(SegmenterConfig(widths=SMALL)), images[:, :46])
    with pytest.raises(ConfigError, match="widths"):
        Segmenter(SegmenterConfig(widths=(7, 8)))
    assert predict(Segmenter(SegmenterConfig(widths=SMALL)), images[:0]).shape == (0, 2, 48, 48)
