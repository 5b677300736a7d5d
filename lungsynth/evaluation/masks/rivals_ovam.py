"""The rival that learns a token as OVAM does: one vector shared by all cross-attention layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lungsynth.arrays import IGNORE, FloatArray
from lungsynth.errors import DataError
from lungsynth.evaluation.masks.figures import ALL
from lungsynth.evaluation.masks.reading import Batch, Rival, class_timesteps
from lungsynth.evaluation.masks.registry import RivalContext, rival
from lungsynth.films.framing import cut, draw_framing
from lungsynth.masks.affinity import to_input
from lungsynth.masks.tokens import ClassToken, token_logits
from lungsynth.model.backbone import (
    embed_prompts,
    key_weights,
    network,
    noised_queries,
    read_queries,
    reading_noise,
)
from lungsynth.training.common import torch_generator
from lungsynth.training.segmenter import AugmentOptions, augment, segmentation_loss

N_DRAWS, DRAW = 9, 12
"""Batches, and augmented views of the shots in each, that the OVAM token is learnt on."""


def learn_shared_token(
    name: str,
    draws: Sequence[tuple[dict[str, Tensor], Tensor]],
    keys: Mapping[str, Tensor],
    *,
    n_iters: int = 2000,
    lr: float = 1e-1,
    weight_decay: float = 1e-3,
    seed: int = 0,
    info: Mapping[str, str] | None = None,
) -> ClassToken:
    """Learn OVAM's token: one vector for all layers and no weight of a head.

    Optimiser and kind of losses are those of `lungsynth.masks.tokens.learn_token`; a single vector needs
    more and longer steps, so it is given them.

    Args:
        name: The class.
        draws: Pairs (queries of a batch, target (B, H, W) with 1 = class, 0 = not, 255 = ignored),
            one used per iteration, in turn.
        keys: Layer -> W_k, from `key_weights`; of one text width.
        n_iters: AdamW iterations.
        lr: Learning rate, with cosine decay.
        weight_decay: Decoupled.
        seed: Of the initial vector.
        info: Free facts kept with the token.

    Raises:
        DataError: no draw, or the layers read texts of different widths.

    Source:
        Marcos-Manchón et al., CVPR 2024.
    """
    widths = {v.shape[1] for v in keys.values()}
    if not draws or len(widths) != 1:
        raise DataError(
            f"{len(draws)} draws, text widths {sorted(widths)}; expected a draw and one width."
        )
    generator = torch.Generator().manual_seed(seed)
    vector = (torch.randn(widths.pop(), generator=generator) * 0.02).requires_grad_()
    bias = torch.zeros((), requires_grad=True)
    heads = {layer: torch.zeros(q.shape[1]) for layer, q in draws[0][0].items()}
    token = ClassToken(name, dict.fromkeys(keys, vector), heads, bias, dict(info or {}))
    optimizer = torch.optim.AdamW([vector, bias], lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_iters)
    for step in range(n_iters):
        queries, target = draws[step % len(draws)]
        logits = token_logits(queries, keys, token, height=target.shape[-2], width=target.shape[-1])
        both = torch.stack([torch.zeros_like(logits), logits], 1)
        loss = segmentation_loss(both, target.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    token.vectors, token.bias = dict.fromkeys(keys, vector.detach()), bias.detach()
    return token


def shot_draws(context: RivalContext) -> list[tuple[dict[str, Tensor], Tensor]]:
    """Queries of framed and augmented views of the shots, and their targets, as `learn_token` takes."""
    films, pipe = context.shot_films("ovam"), context.synthesizer.pipe
    timesteps, side = class_timesteps(context.synthesizer), context.pixels
    rng = np.random.default_rng(context.seed)
    masks = []
    for film in films:
        assert film.mask is not None
        regions, valid = context.truth.regions(film.mask)
        masks.append(np.where(valid, regions[ALL], IGNORE).astype(np.uint8))
    draws = []
    for index in range(N_DRAWS):
        chosen = [(index * DRAW + k) % len(films) for k in range(DRAW)]
        shapes = [films[i].image.shape for i in chosen]
        framings = [draw_framing(height, width, rng, p_whole=0.8) for height, width in shapes]
        pairs = list(zip(chosen, framings, strict=True))
        images = np.stack([cut(films[i].image, framing, pixels=side) for i, framing in pairs])
        targets = [cut(masks[i], framing, pixels=side // 4, nearest=True) for i, framing in pairs]
        planes = torch.from_numpy(np.stack(targets))[:, None].float()
        generator = torch_generator(context.seed, index)
        moved, planes = augment(to_input(images), planes, generator, AugmentOptions(flip=True))
        views = ((moved[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
        queries = noised_queries(
            pipe,
            views,
            [films[i].text for i in chosen],
            t=timesteps[index % len(timesteps)],
            seed=context.seed + index,
        )
        draws.append((queries, planes[:, 0]))
    return draws


@rival("ovam", "OVAM token on the same shots")
def _ovam(context: RivalContext) -> Rival:
    pipe: Any = context.synthesizer.pipe
    timesteps, side = class_timesteps(context.synthesizer), context.pixels
    draws = shot_draws(context)
    keys = {layer: key.cpu() for layer, key in key_weights(network(pipe)).items()}
    token = learn_shared_token("shared", draws, keys, seed=context.seed)

    def maps(batch: Batch) -> FloatArray:
        embeddings = embed_prompts(pipe, batch.texts).to(network(pipe).device)
        total = torch.zeros(len(batch.images), side, side)
        with torch.inference_mode():
            for t in timesteps:
                noise = torch.randn(batch.latents.shape[1:], generator=reading_noise(batch.seed, t))
                queries = read_queries(
                    network(pipe),
                    pipe.scheduler,
                    batch.latents.to(network(pipe).device),
                    embeddings,
                    t=t,
                    noise=noise.to(network(pipe).device).expand(batch.latents.shape),
                )
                queries = {layer: q.cpu() for layer, q in queries.items()}
                total += token_logits(queries, keys, token, height=side, width=side) / len(
                    timesteps
                )
        return np.asarray(total.sigmoid().numpy())

    return maps
