"""Films for the evaluation tests: bright squares whose place and tone tell what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tiny import png

from lungsynth.evaluation.common import ImageSet
from lungsynth.model.encoder import Encoder, EncoderConfig


def picture(seed: int, *, tone: float = 90, pixels: int = 256) -> np.ndarray:
    """(pixels, pixels) uint8: smooth random shapes of mean `tone`."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(tone, 35, (8, 8))
    fine = np.kron(coarse, np.ones((pixels // 8, pixels // 8)))
    return (fine + rng.normal(0, 6, fine.shape)).clip(0, 255).astype(np.uint8)


def fields_of(index: int) -> dict[str, str]:
    """Alternating ages; every other head alternates within each."""
    child = index % 2 == 0
    sick = index // 2 % 2 == 1
    return {
        "age": "1-5" if child else "60",
        "view": "AP" if child or index // 4 % 2 else "PA",
        "label": "pneumonia" if sick else "normal",
        "sex": "" if child else "MF"[index // 2 % 2],
        "patient": f"p{index // 3}",
        "source_set": "children" if child else "adults",
    }


def image_set(
    n: int, *, seed: int = 0, tone: float = 90, fields: list[Mapping[str, str]] | None = None
) -> ImageSet:
    """`n` different pictures."""
    return ImageSet(
        np.stack([picture(seed + i, tone=tone) for i in range(n)]),
        [f"picture-{seed + i}" for i in range(n)],
        fields if fields is not None else [fields_of(i) for i in range(n)],
    )


def random_encoder() -> Encoder:
    """A small encoder with random weights."""
    import torch

    torch.manual_seed(0)
    config = EncoderConfig(pixels=32, stem=4, widths=(6, 8), n_blocks=(1, 1))
    encoder = Encoder(config).eval()
    encoder.feature_std.fill_(0.01)
    return encoder


def write_films(path: Path, n: int = 48) -> Path:
    """A Parquet source: half train, a quarter val, a quarter test, in blocks of eight."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    splits = ("train", "train", "val", "test")
    rows = [
        {
            "id": f"film-{i}",
            "image": {"bytes": png(picture(i, pixels=64)), "path": None},
            "split": splits[i // 8 % 4],
            **fields_of(i),
        }
        for i in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
