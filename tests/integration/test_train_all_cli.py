"""A recipe on a tiny checkpoint: a heart by configuration, student, walk, trust, what they change."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import film, png

from lungsynth.masks.classes import load_classes

Cli = Callable[..., Any]

RECIPE = """
steps:
  - name: token left
    command: >-
      learn-token --data {films} --split '' --k 4 --class "left lung" --foreground 1 --id 1
      --convention nlm --checkpoint {checkpoint} --quiet
    reads: [unet]
    writes: [tokens/left-lung-nlm.safetensors]
  - name: token right
    command: >-
      learn-token --data {films} --split '' --k 4 --class "right lung" --foreground 2 --id 2
      --convention nlm --checkpoint {checkpoint} --quiet
    reads: [unet]
    writes: [tokens/right-lung-nlm.safetensors]
  - name: token heart
    command: >-
      learn-token --data {films} --split '' --k 4 --class heart --foreground 3 --id 3 --convention nlm
      --classes nlm-heart --like nlm --ratio "cardiothoracic=heart/left lung+right lung"
      --checkpoint {checkpoint} --quiet
    reads: [unet]
    writes: [tokens/heart-nlm.safetensors]
  - name: student
    command: >-
      train student --checkpoint {checkpoint} --out {out} --annotated nlm={films} --split ''
      --steps 120 --batch-size 4 --lr 5e-3 --install --quiet
    writes: [student]
  - name: affinity
    command: >-
      train affinity --data {films} --split '' --classes nlm-heart --checkpoint {checkpoint} --out {out}
      --limit 6 --steps 3 --batch-size 2 --install --install-as affinity --quiet
    writes: [affinity]
  - name: trust
    command: >-
      train trust --checkpoint {checkpoint} --out {out} --annotated nlm-heart={films} --split ''
      --broken 2 --no-films 8 --limit 0 --install --quiet
    writes: [trust]
"""


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without classes, sixteen outlined films, and a recipe."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("all")
    shutil.copytree(checkpoint, folder / "checkpoint")
    shutil.rmtree(folder / "checkpoint" / "tokens")
    (folder / "checkpoint" / "classes.json").unlink()
    rows = []
    for k in range(16):
        image, lungs = film(k)
        x = np.arange(image.shape[1])[None]
        mask = np.where(lungs == 255, np.where(x < 56, 2, 1), 0).astype(np.uint8)
        mask[44:70, 50:62] = np.where(mask[44:70, 50:62] == 0, 3, mask[44:70, 50:62])
        rows.append({"id": f"f{k}", "image": {"bytes": png(image)}, "mask": {"bytes": png(mask)}})
    pq.write_table(pa.Table.from_pylist(rows), folder / "films.parquet")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def test_everything_that_hangs_on_the_weights(run_cli: Cli, made: Path) -> None:
    checkpoint = made / "checkpoint"
    call = (
        *("train", "all", "--config", made / "recipe.yaml", "--checkpoint", checkpoint),
        *("--runs", made / "runs", "--data", f"films={made / 'films.parquet'}"),
    )
    ran = run_cli(*call)
    assert ran.code == 0, ran.err
    assert ran.err.count(": done in") == 6
    ran = run_cli(*call)
    assert ran.code == 0 and ran.err.count("unchanged, skipped") == 6, ran.err

    assert [c.name for c in load_classes(checkpoint)] == ["left lung", "right lung"]
    heart = load_classes(checkpoint, "nlm-heart")
    assert [(c.id, c.name, c.output) for c in heart][2] == (3, "heart", "nlm/heart")
    about = json.loads((checkpoint / "affinity" / "affinity.json").read_text())
    assert about["info"]["labels"] == "attention and crf" and "nlm/heart" in about["classes"]
    trust = json.loads((checkpoint / "trust" / "trust.json").read_text())
    assert set(trust["shapes"]) == {"nlm/lung", "nlm/heart"}

    ran = run_cli(  # fitted again, shapes kept: from fewer films, of which none would have been learnt
        *("train", "trust", "--checkpoint", checkpoint, "--out", made / "again", "--split", ""),
        *("--annotated", f"nlm={made / 'films.parquet'}@12", "--shapes", checkpoint / "trust"),
        *("--broken", 2, "--no-films", 4, "--quiet"),
    )
    assert ran.code == 0, ran.err
    before, after = (
        load_file(folder / "trust" / "trust.safetensors") for folder in (checkpoint, made / "again")
    )
    assert set(before) == set(after)
    assert all(torch.equal(before[k], after[k]) for k in before if k != "bias")

    Image.fromarray(film(40)[0]).save(made / "x.png")
    records = {}
    for name in ("nlm", "nlm-heart"):
        out = made / f"segmented-{name}"
        ran = run_cli(
            *("segment", made / "x.png", "--model", checkpoint, "--classes", name, "--out", out)
        )
        assert ran.code == 0, ran.err
        [told] = ran.out.split()  # the film's folder
        mask = np.asarray(Image.open(Path(told) / "mask.png"))
        records[name] = (json.loads((Path(told) / "record.json").read_text()), mask)
    (plain, lungs), (more, all_three) = records["nlm"], records["nlm-heart"]
    for value in (1, 2):  # adding an organ changes no other's mask
        np.testing.assert_array_equal(all_three == value, lungs == value)
    stages = more["stages"]
    assert "student" in stages["left lung"]["used"]
    assert stages["heart"]["left_out"] == {"student": "it has not learnt nlm/heart"}
    assert plain["ratios"] == {} and set(more["ratios"]) == {"cardiothoracic"}
    for record in (plain, more):
        assert 0 <= record["trust"] <= 1
        assert all(0 <= one["trust"] <= 1 for one in record["scores"].values())

    ran = run_cli(
        *(
            "evaluate",
            "trust",
            "--model",
            checkpoint,
            "--annotated",
            f"nlm={made / 'films.parquet'}",
        ),
        *("--split", "", "--broken", 2, "--no-films", 4, "--out", made / "trust", "--quiet"),
    )
    assert ran.code == 0, ran.err
    assert re.search(r"^no film +4 ", ran.out, re.MULTILINE)
    assert (made / "trust" / "calibration.png").is_file()
