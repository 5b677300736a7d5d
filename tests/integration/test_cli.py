"""`python -m lungsynth …` from end to end, on small random checkpoints."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from warm import start

PROMPT = "Frontal chest X-ray of a man with pneumonia, both lungs"
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
Cli = Callable[..., Any]


@pytest.fixture
def sample(run_cli: Cli, checkpoint: Path, tmp_path: Path) -> Cli:
    """`sample` with few steps; keyword arguments become options."""

    def call(*prompts: str, **options: Any) -> Any:
        given = {"model": checkpoint, "steps": 2, "out": tmp_path / "out"} | options
        names = {k: "-n" if k == "n" else f"--{k.replace('_', '-')}" for k in given}
        flags = [x for k, v in given.items() for x in (names[k], v)]
        return run_cli("sample", *prompts, *flags)

    return call


def tree(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def picture(folder: Path, name: str = "image.png") -> np.ndarray:
    with Image.open(folder / name) as opened:
        return np.asarray(opened).astype(int)


def weights(folder: Path, name: str) -> dict[str, Any]:
    return {k: v.float() for k, v in load_file(folder / name).items()}


def differing(one: dict[str, Any], two: dict[str, Any]) -> int:
    assert one.keys() == two.keys()
    return sum(not one[k].equal(two[k]) for k in one)


# ---------------------------------------------------------------- sample, words


def test_sample_writes_pictures_maps_masks_and_records(sample: Cli, tmp_path: Path) -> None:
    ran = sample(PROMPT, seed=7, n=2)
    assert ran.code == 0, ran.err
    folders = [Path(line) for line in ran.out.split()]
    assert folders == [tmp_path / "out" / "000-seed7", tmp_path / "out" / "000-seed8"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["000-seed7", "000-seed8"]
    assert "knows: frontal, chest" in ran.err
    for folder in folders:
        names = {p.name for p in folder.iterdir()}
        assert {
            "image.png",
            "coarse.png",
            "mask.png",
            "overlay.png",
            "record.json",
            "map_lungs.png",
            "map_lungs_overlay.png",
            "map_class-left-lung.png",
        } <= names
        for path in folder.glob("*.png"):
            with Image.open(path) as opened:
                assert opened.size == (64, 64), path
                assert "trainedAlgorithmicMedia" in opened.info["XML:com.adobe.xmp"]
        assert set(np.unique(picture(folder, "mask.png"))) <= {0, 1, 2}
        record = json.loads((folder / "record.json").read_text())
        assert record["prompt"] == PROMPT and record["seed"] == int(folder.name[-1])
        assert {
            "notice",
            "synthetic",
            "options",
            "refine",
            "model",
            "lora",
            "model_hash",
            "code_version",
            "known_words",
            "unknown_words",
            "dropped_text",
            "classes",
            "scores",
        } <= set(record)
    assert not np.array_equal(picture(folders[0]), picture(folders[1]))


def test_the_same_seed_gives_the_same_bytes(sample: Cli, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert sample(PROMPT, seed=3, out=tmp_path / name).code == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert sample(PROMPT, seed=4, out=tmp_path / "c").code == 0
    assert not np.array_equal(picture(tmp_path / "a/000-seed3"), picture(tmp_path / "c/000-seed4"))


def test_a_picture_of_a_batch_equals_the_one_drawn_alone(sample: Cli, tmp_path: Path) -> None:
    assert sample(PROMPT, n=4, batch_size=4, out=tmp_path / "four").code == 0
    for k in range(4):
        assert sample(PROMPT, seed=k, out=tmp_path / "one").code == 0
        alone, among = (picture(tmp_path / out / f"000-seed{k}") for out in ("one", "four"))
        assert np.abs(alone - among).max() <= 2


def test_a_picture_that_is_not_square(sample: Cli, tmp_path: Path) -> None:
    assert sample(PROMPT, height=64, width=96).code == 0
    for path in (tmp_path / "out" / "000-seed0").glob("*.png"):
        with Image.open(path) as opened:
            assert opened.size == (96, 64)


def test_a_stable_diffusion_checkpoint_is_drawn_from(
    sample: Cli, sd_folder: Path, tmp_path: Path
) -> None:
    assert sample("chest x-ray, both lungs", model=sd_folder, word="both lungs").code == 0
    names = {p.name for p in (tmp_path / "out" / "000-seed0").iterdir()}
    assert {n for n in names if n.startswith("map_")} == {
        "map_both-lungs.png",
        "map_both-lungs_overlay.png",
    }


def test_several_prompts(sample: Cli, tmp_path: Path) -> None:
    assert sample("both lungs", "a child, normal lungs", n=2).code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "000-seed0",
        "000-seed1",
        "001-seed0",
        "001-seed1",
    ]


def test_words(run_cli: Cli, checkpoint: Path) -> None:
    ran = run_cli("words", "chest x-ray of a dragon", "--model", checkpoint)
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["unknown"] == ["dragon"] and "chest" in told["known"] and told["dropped"] == ""


def test_unknown_words_and_dropped_text_are_told(sample: Cli) -> None:
    ran = sample("both lungs of a dragon")
    assert "never seen in training: dragon" in ran.err
    ran = sample("both lungs " + "normal " * 40 + "heart")
    assert ran.code == 0 and "not read:" in ran.err
    assert "heart" in ran.err.split("not read:")[1]


BAD = {
    "empty prompt": ({"prompt": ""}, "PromptError: The prompt is empty. Describe the film"),
    "blank prompt": ({"prompt": "  \n"}, "The prompt is empty"),
    "10,000 characters": ({"prompt": "lung " * 2000}, "10,000 characters; at most 2,000"),
    "no known word": ({"prompt": "xyzzy plugh"}, "No word of 'xyzzy plugh' was seen in training"),
    "unknown word": (
        {"word": "spleen"},
        "The word 'spleen' does not occur in the prompt. Its words are",
    ),
    "word beyond": (
        {"prompt": "lungs " * 60 + "heart", "word": "heart"},
        "lies beyond the 32 tokens",
    ),
    "height": ({"height": 50}, "`height` is 50 pixels; expected a multiple of 32"),
    "width": ({"width": 100000}, "The nearest is 256"),
    "scheduler": ({"scheduler": "magic"}, "Scheduler 'magic' is unknown; there are default, ddim"),
    "refinement": ({"refine": "magic"}, "Refinement 'magic' is unknown; there are"),
    "device": ({"device": "nonsense"}, "--device nonsense: cannot be used"),
    "steps": ({"steps": 0}, "Invalid value for '--steps'"),
    "guidance": ({"guidance": 0.5}, "Invalid value for '--guidance'"),
    "seed": ({"seed": -1}, "Invalid value for '--seed'"),
    "number": ({"n": 0}, "Invalid value"),
    "no folder": ({"model": "no/such/model"}, "no such folder, and not a Hub id"),
    "no lora": ({"lora": "no/such/lora"}, "with LoRA no/such/lora: cannot be loaded"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_line_and_nothing_is_written(
    sample: Cli, tmp_path: Path, name: str
) -> None:
    options, words = BAD[name]
    given = dict(options)
    ran = sample(given.pop("prompt", PROMPT), **given)
    assert ran.code != 0
    assert words in " ".join(ran.err.split()), ran.err
    assert "Traceback" not in ran.err
    assert not tree(tmp_path) and ran.out == ""


def test_no_prompt_at_all(run_cli: Cli) -> None:
    ran = run_cli("sample")
    assert ran.code == 2 and "Missing argument 'PROMPT" in ran.err


def corrupt(folder: Path) -> None:
    (folder / UNET).write_bytes(b"\xff" * 100)


def pickled(folder: Path) -> None:
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")


def missing(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def bad_classes(folder: Path) -> None:
    (folder / "classes.json").write_text("{")


def bad_words(folder: Path) -> None:
    (folder / "vocabulary.json").write_text("[]")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (corrupt, "cannot be loaded"),
        (pickled, "only pickled weights"),
        (missing, "no *.safetensors weights"),
        (bad_classes, "not JSON"),
        (bad_words, "not a vocabulary file"),
    ],
)
def test_a_broken_checkpoint(
    sample: Cli, checkpoint: Path, tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "broken")
    harm(folder)
    ran = sample(PROMPT, model=folder)
    assert ran.code == 1 and "Error: " in ran.err and words in ran.err
    assert not tree(tmp_path / "out")


@pytest.mark.parametrize("deeper", ["", "below"])
def test_a_place_that_cannot_be_written(sample: Cli, tmp_path: Path, deeper: str) -> None:
    (tmp_path / "file").write_text("keep me")
    ran = sample(PROMPT, out=tmp_path / "file" / deeper)
    assert ran.code != 0 and "file" in ran.err
    assert tree(tmp_path) == {"file": b"keep me"}


def test_a_full_disk(sample: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "mask.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = sample(PROMPT, n=2)
    assert ran.code == 1 and "No space left on device" in ran.err and "Free space" in ran.err
    assert not list((tmp_path / "out").iterdir()) and ran.out == ""


def test_the_module_runs_as_a_program(checkpoint: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = ["-m", "lungsynth", "sample", PROMPT, "--model", checkpoint, "--steps", 1, "--quiet"]
    done = start(words, cwd=tmp_path, env=environment, from_nothing=True).wait()
    assert done.returncode == 0 and done.stdout == f"{Path('out') / '000-seed0'}\n"
    assert done.stderr == ""
    words = ["-m", "lungsynth", "report", tmp_path / "none"]
    done = start(words, cwd=tmp_path, env=environment, from_nothing=True).wait()
    assert done.returncode == 1 and "Traceback" not in done.stderr and "none" in done.stderr
    words = ["-m", "lungsynth", "--version"]
    done = start(words, cwd=tmp_path, env=environment, from_nothing=True).wait()
    assert "lungsynth, version" in done.stdout


# ---------------------------------------------------------------- train


@pytest.fixture
def train(run_cli: Cli, parquet: Path) -> Cli:
    """`train` on the small films; keyword arguments become options, True a flag."""

    def call(what: str, out: Path, *flags: object, **options: Any) -> Any:
        given = {"data": parquet, "preset": "tiny", "pixels": 64, "out": out} | options
        pairs = [
            x for k, v in given.items() if v is not None for x in (f"--{k.replace('_', '-')}", v)
        ]
        return run_cli("train", what, *pairs, "--quiet", *flags)

    return call


def test_from_films_to_a_picture(train: Cli, run_cli: Cli, tmp_path: Path) -> None:
    ran = train("vae", tmp_path / "vae", steps=2)
    assert ran.code == 0 and "complete" in ran.err, ran.err
    vae = tmp_path / "vae" / "vae"
    ran = train(
        "diffusion",
        tmp_path / "run",
        "--sample-prompt",
        "both lungs",
        vae=vae,
        pixels=None,
        steps=2,
    )
    assert ran.code == 0 and "complete" in ran.err, ran.err
    made = tmp_path / "run" / "pipeline"
    assert {p.name for p in made.iterdir()} == {
        "model_index.json",
        "vocabulary.json",
        "unet",
        "vae",
        "text_encoder",
        "tokenizer",
        "scheduler",
        "sources.json",
    }
    assert (tmp_path / "run" / "sample_0000002.png").is_file()
    ran = run_cli("sample", "both lungs", "--model", made, "--steps", 1, "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert picture(tmp_path / "out" / "000-seed0").shape == (64, 64)
    before = tree(made)
    ran = train(
        "diffusion",
        tmp_path / "run",
        "--sample-prompt",
        "both lungs",
        vae=vae,
        pixels=None,
        steps=2,
    )
    assert ran.code == 0 and tree(made) == before  # a finished run is left as it is


def test_fine_tuning_changes_the_unet_only(
    train: Cli, run_cli: Cli, sd_folder: Path, tmp_path: Path
) -> None:
    ran = train("diffusion", tmp_path / "run", init_from=sd_folder, steps=2, lr=0.01)
    assert ran.code == 0, ran.err
    made = tmp_path / "run" / "pipeline"
    moved = differing(weights(sd_folder, UNET), weights(made, UNET))
    assert moved > 50
    before, after = weights(sd_folder, TEXT), weights(made, TEXT)
    assert before.keys() == after.keys()
    assert all(before[k].half().equal(after[k].half()) for k in before)  # saved in half precision
    vae = "vae/diffusion_pytorch_model.safetensors"
    before, after = weights(sd_folder, vae), weights(made, vae)
    assert all(before[k].half().equal(after[k].half()) for k in before)
    prompt = "chest x-ray, both lungs"
    for name, model in (("a", sd_folder), ("b", made)):
        ran = run_cli("sample", prompt, "--model", model, "--steps", 1, "--out", tmp_path / name)
        assert ran.code == 0, ran.err
    assert not np.array_equal(picture(tmp_path / "a/000-seed0"), picture(tmp_path / "b/000-seed0"))


def test_lora_adapters_are_trained_and_used(
    train: Cli, run_cli: Cli, sd_folder: Path, tmp_path: Path
) -> None:
    ran = train("diffusion", tmp_path / "run", init_from=sd_folder, lora_rank=2, steps=3, lr=0.05)
    assert ran.code == 0, ran.err
    assert sorted(p.name for p in (tmp_path / "run" / "lora").iterdir()) == [
        "pytorch_lora_weights.safetensors",
        "sources.json",
    ]
    assert not (tmp_path / "run" / "pipeline").exists()
    adapters = load_file(tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors")
    assert adapters and all(min(v.shape) == 2 for v in adapters.values())
    for name, extra in (("a", []), ("b", ["--lora", tmp_path / "run" / "lora"])):
        ran = run_cli(
            "sample",
            "chest x-ray, both lungs",
            "--model",
            sd_folder,
            "--steps",
            1,
            "--out",
            tmp_path / name,
            *extra,
        )
        assert ran.code == 0, ran.err
    assert not np.array_equal(picture(tmp_path / "a/000-seed0"), picture(tmp_path / "b/000-seed0"))
    record = json.loads((tmp_path / "b/000-seed0/record.json").read_text())
    assert record["lora"] == "lora"  # its name; where it lies on this machine stays here


@pytest.mark.parametrize("what", ["vae", "diffusion"])
def test_dry_run_prints_the_options_and_writes_nothing(
    train: Cli, tmp_path: Path, what: str
) -> None:
    extra = {"vae": tmp_path / "nowhere"} if what == "diffusion" else {}
    ran = train(
        what,
        tmp_path / "run",
        "--dry-run",
        steps=77,
        lr=0.5,
        seed=3,
        data="nowhere.parquet",
        **extra,
    )
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["steps"], told["lr"], told["seed"], told["warmup_steps"]) == (
        77,
        0.5,
        3,
        told["warmup_steps"],
    )
    assert not list(tmp_path.iterdir())


BAD_TRAINING = {
    "preset": ("vae", {"preset": "huge"}, "--preset huge: unknown; there are cpu, gpu, tiny"),
    "no such data": ("vae", {"data": "nowhere.parquet"}, "nowhere.parquet: no such file"),
    "column": ("vae", {"image_column": "scan"}, "No image column 'scan'"),
    "text column": (
        "diffusion",
        {"text_column": "report", "init_from": "SD"},
        "No text column 'report'",
    ),
    "split": ("vae", {"split": "holdout"}, "no usable row"),
    "pixels": ("vae", {"pixels": 72}, "multiples of 16"),
    "sizes of a checkpoint": (
        "diffusion",
        {"pixels": 100, "init_from": "SD"},
        "--pixels 100 is not a multiple",
    ),
    "device": ("vae", {"device": "nonsense"}, "--device nonsense: cannot be used"),
    "nothing to start from": ("diffusion", {}, "exactly one of --vae"),
    "two to start from": ("diffusion", {"vae": "x", "init_from": "y"}, "exactly one of --vae"),
    "no autoencoder": ("diffusion", {"vae": "no/such", "pixels": None}, "--vae no/such"),
    "no checkpoint": ("diffusion", {"init_from": "no/such/model"}, "no such folder"),
    "steps": ("vae", {"steps": 0}, "Invalid value for '--steps'"),
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_training_input_is_told(train: Cli, sd_folder: Path, tmp_path: Path, name: str) -> None:
    what, options, words = BAD_TRAINING[name]
    given = {k: sd_folder if v == "SD" else v for k, v in options.items()}
    ran = train(what, tmp_path / "run", **given)
    assert ran.code != 0
    assert words in " ".join(ran.err.split()), ran.err
    assert "Traceback" not in ran.err and not tree(tmp_path)


def test_a_damaged_parquet_file(train: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 these are not the bytes of a table PAR1")
    ran = train("vae", tmp_path / "run", data=tmp_path / "x.parquet")
    assert ran.code == 1 and "DataError" in ran.err and "x.parquet" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_run_with_other_options_is_refused(train: Cli, tmp_path: Path) -> None:
    assert train("vae", tmp_path / "run", steps=1).code == 0
    before = tree(tmp_path / "run")
    ran = train("vae", tmp_path / "run", steps=2)
    assert ran.code == 1 and "steps: 1 then, 2 now" in ran.err and "another --out" in ran.err
    assert tree(tmp_path / "run") == before


def test_a_run_folder_that_cannot_be_written(train: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep me")
    ran = train("vae", tmp_path / "file" / "run", steps=1)
    assert ran.code == 1 and "OutputError" in ran.err
    assert tree(tmp_path) == {"file": b"keep me"}


def test_every_option_of_training_reaches_the_run(train: Cli, tmp_path: Path) -> None:
    """An option that is parsed and then forgotten would go unnoticed."""
    from lungsynth.cli.main import cli

    given = {
        "steps": 9,
        "batch_size": 3,
        "lr": 0.25,
        "seed": 5,
        "precision": "fp32",
        "max_minutes": 2.0,
        "sample_every": 4,
        "save_minutes": 1.5,
    }
    own = {
        "vae": {"latent_channels": 6},
        "diffusion": {"lora_rank": 3, "max_shard_size": "1MB", "workers": 2},
    }
    elsewhere = {
        "sources",
        "image_column",
        "text_column",
        "split",
        "out",
        "preset",
        "threads",
        "device",
        "quiet",
        "dry_run",
        "pixels",
        "vae_folder",
        "init_from",
        "sample_prompts",
        "help",
        "train_text_encoder",
        "boxes",
        "regions_from",
    }
    for what, extra in own.items():
        options = given | extra
        start = {"vae": "x"} if what == "diffusion" else {}
        told = json.loads(train(what, tmp_path / "run", "--dry-run", **options, **start).out)
        assert {k: told[k] for k in options} == options
        command = cli.commands["train"].commands[what]  # type: ignore[attr-defined]
        assert {p.name for p in command.params} == set(options) | (
            elsewhere & {p.name for p in command.params}
        )
        assert not {p.name for p in command.params} - set(options) - elsewhere
    told = json.loads(
        train("diffusion", tmp_path / "run", "--dry-run", "--freeze-text-encoder", vae="x").out
    )
    assert told["train_text_encoder"] is False
    told = json.loads(train("diffusion", tmp_path / "run", "--dry-run", init_from="x").out)
    assert told["train_text_encoder"] is False
