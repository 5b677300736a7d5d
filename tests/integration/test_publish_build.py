"""`python -m publish build` from checkpoint to a dataset that loads."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import Image, load_dataset

from lungsynth.errors import LungSynthError, OutputError
from publish.cli import main

OPTIONS = ("--n", 5, "--shard-rows", 2, "--steps", 1, "--quiet")


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call `python -m publish ARGS…` in this process; its exit code."""

    def call(*args: object) -> int:
        monkeypatch.setattr(sys, "argv", ["publish", *map(str, args)])
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
        return 0

    return call


@pytest.fixture(scope="module")
def dataset(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five rows in three shards; not to be changed."""
    out = tmp_path_factory.mktemp("dataset") / "dist"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["publish", "build", *map(str, OPTIONS), "--model",
                                    str(checkpoint), "--out", str(out)])  # fmt: skip
        with pytest.raises(SystemExit) as leaving:
            main()
    assert not leaving.value.code
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_files_are_those_of_the_manifest(dataset):
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert manifest["is_complete"] and manifest["n_rows"] == 5
    assert [s["n_rows"] for s in manifest["shards"]] == [2, 2, 1]
    assert set(contents(dataset)) == {
        "README.md", "manifest.json", "id2label.json", *(s["name"] for s in manifest["shards"]),
    }  # fmt: skip
    assert manifest["classes"] == json.loads((dataset / "id2label.json").read_text())
    assert str(dataset) not in json.dumps(manifest) and "tmp" not in json.dumps(manifest)


def test_datasets_loads_it_with_image_columns(dataset, tmp_path):
    rows = load_dataset(str(dataset), split="train", cache_dir=str(tmp_path))
    assert rows.features["image"] == Image(mode="L") == rows.features["mask"]
    assert len(rows) == 5 and len(set(rows["id"])) == 5 and len(set(rows["seed"])) == 5
    for row in rows:
        image, mask = np.asarray(row["image"]), np.asarray(row["mask"])
        assert image.shape == mask.shape == (64, 64) and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1, 2}
        assert row["area_left_lung"] == pytest.approx((mask == 1).mean())
        assert row["synthetic"] is True and row["steps"] == 1
        assert row["scheduler"] == "DDIMScheduler"
        assert json.loads(row["scores"]).keys() == {"left lung", "right lung"}
        assert row["model_hash"] and "/" not in row["model"]


def test_streaming_gives_the_same_rows(dataset, tmp_path):
    plain = load_dataset(str(dataset), split="train", cache_dir=str(tmp_path))
    stream = load_dataset(str(dataset), split="train", streaming=True)
    streamed = list(stream)
    assert [r["id"] for r in streamed] == plain["id"][:]
    assert stream.features["mask"] == Image(mode="L")
    assert np.array_equal(np.asarray(streamed[4]["image"]), np.asarray(plain[4]["image"]))


def test_a_published_row_is_drawn_again_from_its_own_values(dataset, checkpoint, tmp_path):
    from lungsynth.pipeline import Synthesizer
    from lungsynth.sampling import SampleOptions

    row = load_dataset(str(dataset), split="train", cache_dir=str(tmp_path))[3]
    options = SampleOptions(steps=row["steps"], guidance=row["guidance"])
    [drawn] = Synthesizer(str(checkpoint)).generate([row["prompt"]], [row["seed"]], options=options)
    assert np.array_equal(drawn.image, np.asarray(row["image"]))
    assert np.array_equal(drawn.mask, np.asarray(row["mask"]))


def test_the_card_is_true_of_the_files(dataset):
    card = (dataset / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert "num_examples: 5" in front and "path: data/train-*" in front
    assert re.search(r"name: mask\n\s+dtype:\n\s+image:\n\s+mode: L", front)
    assert body.startswith("\n# Synthetic chest X-rays") and "5 synthetic frontal" in body
    assert "64 × 64" in body and "Not for diagnosis" in body and "| 2 | right lung |" in body
    assert "{" not in body and "None" not in body


def test_again_is_the_same_and_draws_nothing(dataset, checkpoint, tmp_path, publish, monkeypatch):
    out = tmp_path / "dist"
    shutil.copytree(dataset, out)
    monkeypatch.setattr("publish.build._load", lambda _: pytest.fail("drew a finished dataset"))
    assert publish("build", *OPTIONS, "--model", checkpoint, "--out", out) == 0
    assert contents(out) == contents(dataset)


@pytest.mark.parametrize("lost", ["last", "middle, broken", "manifest behind"])
def test_a_broken_off_build_goes_on_to_the_same_bytes(
    dataset, checkpoint, tmp_path, publish, lost
):  # fmt: skip
    out = tmp_path / "dist"
    shutil.copytree(dataset, out)
    names = sorted((out / "data").iterdir())
    (out / "README.md").unlink()
    if lost == "last":
        names[2].rename(names[2].with_name(f".{names[2].name}.partial"))
    elif lost == "middle, broken":
        names[1].write_bytes(names[1].read_bytes()[:100])
    else:
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["shards"].pop()
        (out / "manifest.json").write_text(json.dumps(manifest))
    assert publish("build", *OPTIONS, "--model", checkpoint, "--out", out) == 0
    assert contents(out) == contents(dataset)


def test_other_options_into_the_same_folder_are_refused(
    dataset, checkpoint, tmp_path, publish, capsys
):  # fmt: skip
    out = tmp_path / "dist"
    shutil.copytree(dataset, out)
    code = publish("build", *OPTIONS, "--model", checkpoint, "--out", out, "--guidance", 4)
    assert code == 1
    assert capsys.readouterr().err.startswith(f"ConfigError: {out}: holds a dataset of another")
    assert contents(out) == contents(dataset)


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [("--n", 6, "n"), ("--seed", 9, "seed"), ("--shard-rows", 3, "shard_rows"),
     ("--steps", 2, "steps"), ("--guidance", 4.0, "guidance"), ("--batch-size", 2, "batch_size"),
     ("--device", "cpu", "device")],
)  # fmt: skip
def test_every_option_reaches_the_configuration(
    checkpoint, tmp_path, publish, capsys, option, value, key
):  # fmt: skip
    args = ("--n", 5) if option != "--n" else ()
    out = tmp_path / "dist"
    code = publish("build", *args, option, value, "--model", checkpoint, "--out", out, "--dry-run")
    assert code == 0 and not out.exists()
    assert json.loads(capsys.readouterr().out)["config"][key] == value


def test_a_file_of_prompts_is_taken_in_turn(checkpoint, tmp_path, publish):
    file, out = tmp_path / "prompts.txt", tmp_path / "dist"
    file.write_text("Chest X-ray\nchest film, pneumonia\n")
    args = ("build", "--n", 3, "--steps", 1, "--quiet", "--model", checkpoint, "--prompts", file)
    assert publish(*args, "--batch-size", 2, "--out", out) == 0
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["prompt"][:] == ["Chest X-ray", "chest film, pneumonia", "Chest X-ray"]
    assert rows["view"][:] == [None] * 3
    assert "--prompts FILE --batch-size 2" in (out / "README.md").read_text()


def test_a_line_that_cannot_be_drawn_is_named_before_anything_is(
    checkpoint, tmp_path, publish, capsys
):  # fmt: skip
    file, out = tmp_path / "prompts.txt", tmp_path / "dist"
    file.write_text("Chest X-ray\nzebra\n")
    assert publish("build", "--n", 9, "--model", checkpoint, "--prompts", file, "--out", out) == 1
    assert "PromptError: --prompts, prompt 2: No word of 'zebra'" in capsys.readouterr().err
    assert not (out / "data").exists()


@pytest.mark.parametrize("model", ["nothing-here", "folder"])
def test_a_checkpoint_that_cannot_be_used_is_refused(
    checkpoint, tmp_path, publish, capsys, model
):  # fmt: skip
    if model == "folder":
        model = str(shutil.copytree(checkpoint, tmp_path / "model"))
        Path(model, "classes.json").unlink()
    assert publish("build", "--n", 1, "--model", model, "--out", tmp_path / "dist") == 1
    told = capsys.readouterr().err
    assert "no such folder" in told or "so its masks have no fixed classes" in told
    assert not (tmp_path / "dist").exists()


def test_a_folder_that_cannot_be_made_is_refused(checkpoint, tmp_path):
    from publish.build import build, plan

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be"):
        build(plan(n=1, steps=1, model=str(checkpoint)), tmp_path / "file" / "dist", quiet=True)
    assert issubclass(OutputError, LungSynthError)
