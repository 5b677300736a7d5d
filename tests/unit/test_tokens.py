"""Class tokens: files, reading, learning."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lungsynth.errors import CheckpointError, ShapeError
from lungsynth.masks.tokens import ClassToken, learn_token, parse_timesteps, token_logits
from lungsynth.model.backbone import key_weights, read_queries
from lungsynth.training.tokens import add_to_checkpoint

LAYERS = {"a.attn2.processor": (8, 8), "b.attn2.processor": (4, 4)}
KEYS = {
    name: torch.randn(8, 6, generator=torch.Generator().manual_seed(i))
    for i, name in enumerate(LAYERS)
}
TRUE = ClassToken(
    "planted",
    {
        name: torch.randn(6, generator=torch.Generator().manual_seed(9 + i))
        for i, name in enumerate(LAYERS)
    },
    {name: torch.tensor([0.5, -0.5]) for name in LAYERS},
    torch.tensor(0.1),
)


def queries(seed: int, batch: int = 6) -> dict[str, torch.Tensor]:
    """Layer -> (B, 2 heads, h, w, 4)."""
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, 2, *grid, 4, generator=g) for name, grid in LAYERS.items()}


def planted(q: dict[str, torch.Tensor]) -> torch.Tensor:
    return (token_logits(q, KEYS, TRUE, height=8, width=8) > 0).float()


def random_token(unet: Any) -> ClassToken:
    keys = key_weights(unet)
    g = torch.Generator().manual_seed(0)
    return ClassToken(
        "lung",
        {k: torch.randn(v.shape[1], generator=g) for k, v in keys.items()},
        {k: torch.zeros(2) for k in keys},
        torch.tensor(0.25),
        {"timesteps": "50,300", "shots": "8"},
    )


def test_round_trip(pipe: Any, tmp_path: Path) -> None:
    token = random_token(pipe.unet)
    token.save(tmp_path / "lung.safetensors")
    loaded = ClassToken.load(tmp_path / "lung.safetensors")
    assert (loaded.name, loaded.info) == ("lung", {"timesteps": "50,300", "shots": "8"})
    assert loaded.bias == token.bias
    for name, vector in token.vectors.items():
        assert torch.equal(vector, loaded.vectors[name])
        assert torch.equal(token.heads[name], loaded.heads[name])
    loaded.check(pipe.unet)
    assert parse_timesteps(loaded) == (50, 300)
    assert parse_timesteps(TRUE) == (50, 150, 300)


def test_a_token_of_another_model_is_refused(pipe: Any, sd_pipe: Any) -> None:
    with pytest.raises(CheckpointError, match=r"'lung' was learnt on another model.*learn-token"):
        random_token(pipe.unet).check(sd_pipe.unet)


def test_a_renamed_layer_is_refused(pipe: Any) -> None:
    token = random_token(pipe.unet)
    first = next(iter(token.vectors))
    token.vectors["elsewhere." + first] = token.vectors.pop(first)
    with pytest.raises(CheckpointError, match="another model"):
        token.check(pipe.unet)


def test_the_order_of_layers_does_not_matter() -> None:
    q = queries(0)
    turned = {name: q[name] for name in reversed(q)}
    one, two = (token_logits(x, KEYS, TRUE, height=8, width=8) for x in (q, turned))
    assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_file_that_is_no_token(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        ClassToken.load(path)


@pytest.mark.parametrize("about", [None, {"token": "{"}, {"token": "[]"}, {"token": "{}"}])
def test_safetensors_that_are_no_token(tmp_path: Path, about: dict[str, str] | None) -> None:
    from safetensors.torch import save_file

    save_file({"bias": torch.zeros(())}, tmp_path / "x.safetensors", metadata=about)
    with pytest.raises(CheckpointError, match="not a class token"):
        ClassToken.load(tmp_path / "x.safetensors")


def test_the_logit_is_the_modules_equation() -> None:
    name, grid = "a.attn2.processor", (8, 8)
    q = {name: queries(3)[name]}
    key = (KEYS[name] @ TRUE.vectors[name]).view(2, 4)
    expected = (
        TRUE.bias
        + sum((1 + TRUE.heads[name][h]) * (q[name][:, h] @ key[h]) / 2.0 for h in range(2)) / 2
    )  # √d = 2, two heads
    assert torch.allclose(token_logits(q, KEYS, TRUE, height=8, width=8), expected, atol=1e-5)
    assert token_logits(q, KEYS, TRUE, height=16, width=24).shape == (6, 16, 24)
    assert grid == q[name].shape[2:4]


def test_no_queries_is_an_error() -> None:
    with pytest.raises(ShapeError, match="No queries"):
        token_logits({}, KEYS, TRUE, height=8, width=8)


def test_learning_finds_a_planted_token() -> None:
    draws = [(queries(s), planted(queries(s))) for s in range(3)]
    token = learn_token("x", draws, KEYS, n_iters=200, info={"shots": "18"})
    fresh = queries(99)
    agree = (token_logits(fresh, KEYS, token, height=8, width=8) > 0) == planted(fresh).bool()
    assert agree.float().mean() > 0.95
    assert token.info == {"shots": "18"} and not token.bias.requires_grad
    before = learn_token("x", draws, KEYS, n_iters=1)
    chance = (token_logits(fresh, KEYS, before, height=8, width=8) > 0) == planted(fresh).bool()
    assert chance.float().mean() < 0.9


def test_learning_depends_on_its_seed_only() -> None:
    draws = [(queries(0), planted(queries(0)))]
    one, two, other = (learn_token("x", draws, KEYS, n_iters=5, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(one.vectors[k], two.vectors[k]) for k in KEYS)
    assert not all(torch.equal(one.vectors[k], other.vectors[k]) for k in KEYS)


def test_ignored_pixels_have_no_influence() -> None:
    name = "a.attn2.processor"  # at the target's resolution, so a query touches one pixel only
    keys, q = {name: KEYS[name]}, {name: queries(0)[name]}
    target = planted(queries(0))
    target[:, :3] = 255
    elsewhere = {name: q[name].clone()}
    elsewhere[name][:, :, :3] = 50.0
    one = learn_token("x", [(q, target)], keys, n_iters=20)
    two = learn_token("x", [(elsewhere, target)], keys, n_iters=20)
    assert torch.allclose(one.vectors[name], two.vectors[name], atol=1e-6)
    assert torch.allclose(one.bias, two.bias, atol=1e-6)
    changed = {name: q[name].clone()}
    changed[name][:, :, 3:] = 50.0
    three = learn_token("x", [(changed, target)], keys, n_iters=20)
    assert not torch.allclose(one.vectors[name], three.vectors[name], atol=1e-3)


def test_queries_of_a_real_unet(pipe: Any) -> None:
    g = torch.Generator().manual_seed(0)
    latents = torch.randn(2, pipe.unet.config.in_channels, 4, 4, generator=g)
    embeddings = torch.randn(2, 32, pipe.unet.config.cross_attention_dim, generator=g)
    noise = torch.randn(latents.shape, generator=g)
    q = read_queries(pipe.unet, pipe.scheduler, latents, embeddings, t=100, noise=noise)
    keys = key_weights(pipe.unet)
    assert set(q) == set(keys)
    for name, value in q.items():
        assert value.shape[0] == 2 and value.shape[1] * value.shape[-1] == keys[name].shape[0]
    again = read_queries(pipe.unet, pipe.scheduler, latents, embeddings, t=100, noise=noise)
    assert all(torch.equal(q[k], again[k]) for k in q)


def test_names_in_other_letters_have_files_of_their_own(tmp_path: Path) -> None:
    names = {1: "左肺", 2: "右肺", 3: "Herz"}
    (tmp_path / "tokens").mkdir()
    for _ in range(2):  # learnt again, each is written to its own file
        for class_id, name in names.items():
            add_to_checkpoint(replace(TRUE, name=name), tmp_path, class_id=class_id)
    classes = json.loads((tmp_path / "classes.json").read_text())["classes"]
    assert [c["name"] for c in classes] == list(names.values())
    assert [ClassToken.load(tmp_path / c["token"]).name for c in classes] == list(names.values())
    assert len(list((tmp_path / "tokens").iterdir())) == 3
