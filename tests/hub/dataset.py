"""A tiny built dataset, made by hand: Parquet shards, manifest, card. No model."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from lungsynth.files import file_sha256
from publish.data.manifest import File, Manifest
from publish.data.shards import Shard

FEATURES = Features(
    {
        "id": Value("string"),
        "image": ImageFeature(mode="L"),
        "mask": ImageFeature(mode="L"),
        "prompt": Value("string"),
    }
)


def picture(seed: int, top: int) -> bytes:
    """A PNG of 8 × 8 pixels with values below `top`."""
    buffer = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, top, (8, 8), dtype=np.uint8)
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"s{seed}-{i:04d}",
            "prompt": f"chest film {i}",
            "image": {"bytes": picture(1000 * seed + i, 256), "path": f"{i}.png"},
            "mask": {"bytes": picture(i, 3), "path": f"{i}_mask.png"},
        }
        for i in range(n)
    ]


def build(out: Path, *, n: int = 5, shard_rows: int = 2, seed: int = 0) -> Path:
    """Write a dataset folder as `publish build` does; other arguments, other rows."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "data").mkdir(parents=True)
    n_shards = -(-n // shard_rows)
    made = rows(n, seed)
    shards = []
    for rank in range(n_shards):
        name = f"data/train-{rank:05d}-of-{n_shards:05d}.parquet"
        part = made[rank * shard_rows : (rank + 1) * shard_rows]
        table = Dataset.from_list(part, features=FEATURES).with_format("arrow")[:]
        pq.write_table(table.replace_schema_metadata(FEATURES.arrow_schema.metadata), out / name)
        size, sha256 = (out / name).stat().st_size, file_sha256(out / name)
        shards.append(Shard(name, len(part), size, size, sha256))
    labels = out / "id2label.json"
    labels.write_text('{"0": "background", "1": "left lung", "2": "right lung"}')
    files = (File(labels.name, labels.stat().st_size, file_sha256(labels)),)
    config = dict.fromkeys(("model", "model_hash", "code_version"), "")
    Manifest(config, {}, {}, tuple(shards), n_shards, files=files).write(out)
    (out / "README.md").write_text(
        "---\nlicense: other\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n"
        f"    path: data/train-*\n---\n\n# {n} films, seed {seed}\n"
    )
    return out
