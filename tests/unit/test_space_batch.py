"""Many prompts at once: rows, resuming, what is taken home."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lungsynth.errors import ConfigError
from lungsynth.permalink import Permalink
from space.draw import actions, batch
from space.draw.model import MODEL_VARIABLE
from space.page import batches


@pytest.fixture(autouse=True)
def _place(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, str(checkpoint))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def test_prompts_are_read_as_lines_or_from_a_table():
    assert batch.read_rows("chest\n\n lung  field \n", seed=5) == [
        batch.Row("chest", 5),
        batch.Row("lung field", 6),
    ]
    table = '\ufeffSeed,Prompt,more\n7,"chest, AP",x\n,lung,\n'
    assert batch.read_rows("ignored", table, 3) == [
        batch.Row("chest, AP", 7),
        batch.Row("lung", 4),
    ]
    indexed = ",prompt\n0,chest\n1,lung\n"  # as pandas writes it: the index has no name
    assert batch.read_rows("", indexed, 40) == [batch.Row("chest", 40), batch.Row("lung", 41)]


@pytest.mark.parametrize(
    ("pasted", "table", "message"),
    [
        ("", "", "0 prompts; expected 1 to 40"),
        ("chest\n" * 41, "", "41 prompts"),
        ("", "text\nchest\n", "has the columns text; expected `prompt`"),
        ("", "prompt,seed\nchest,-1\n", "Row 1: the seed is '-1'"),
        ("", "prompt,seed\nchest,9999999999999999\n", "`seed` is"),
        ("x" * 2001, "", "2,001 characters"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused_in_words(pasted, table, message):
    with pytest.raises(ConfigError, match=message):
        batch.read_rows(pasted, table)


def test_a_batch_goes_on_where_it_was_and_loads_as_a_dataset(tmp_path):
    from datasets import load_dataset

    rows = batch.read_rows("Chest X-ray with pneumonia\n🫁\nchest", seed=3)
    made = batch.begin(rows, 2, 1.0)
    assert batch.find("../etc") is None and batch.find("0" * 32) is None and batch.find(7) is None
    request = SimpleNamespace(client=None, headers={})
    listed, zipped, parquet, turn = batches.draw_next("1", made.name, request)
    assert "1 of 3 drawn" in listed and turn and not zipped["interactive"]
    # the browser is opened again: the same batch, which goes on by itself
    again, _, _, turn = batches.again(made.name)
    assert "1 of 3 drawn" in again and turn
    batches.draw_next(turn, made.name, request)
    listed, zipped, parquet, turn = batches.draw_next("2", made.name, request)
    assert turn == "" and "Done: 3 rows." in listed and "Refused: No word of" in listed
    assert listed.count("<img") == 2 and batches.draw_next("", made.name, request)[0] is not None
    with zipfile.ZipFile(zipped["value"]) as file:
        assert "00001/image.png" not in file.namelist()
        assert json.loads(file.read("00002/record.json"))["seed"] == 5
        alone = np.asarray(Image.open(io.BytesIO(file.read("00002/image.png"))))
    data = load_dataset(
        "parquet", data_files=parquet["value"], split="train", cache_dir=str(tmp_path / "cache")
    )
    assert data.num_rows == 2 and data[1]["prompt"] == "chest" and data[1]["seed"] == 5
    assert np.array_equal(np.asarray(data[1]["image"]), alone)
    assert data[0]["mask"].size == (64, 64)
    *_, drawn = actions.draw(Permalink("chest", 5, 2, 1.0, precision="auto"), previews=False)
    assert np.array_equal(drawn.study.image, alone)


def test_a_batch_is_forgotten_an_hour_after_its_last_row_whether_or_not_anybody_comes(monkeypatch):
    monkeypatch.setattr(batch, "LOOK_SECONDS", 0.05)
    old, young = (batch.begin([batch.Row("chest", 0)], 2, 1.0) for _ in range(2))
    hour_ago = time.time() - batch.KEEP_SECONDS - 1
    os.utime(old.folder, (hour_ago, hour_ago))
    batch.forget_in_time()
    until = time.monotonic() + 60
    while old.folder.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not old.folder.exists() and batch.find(young.name) is not None
