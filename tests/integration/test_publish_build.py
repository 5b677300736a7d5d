"""`python -m publish build` from checkpoint to a dataset that loads."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Image, load_dataset
from PIL import Image as PilImage
from publishing import build_options, contents, run_publish
from warm import start

from lungsynth.errors import LungSynthError, OutputError

ROOT = Path(__file__).parents[2]


def test_files_are_those_of_the_manifest(dist):
    manifest = json.loads((dist / "manifest.json").read_text())
    assert manifest["is_complete"] and manifest["n_rows"] == 12 == manifest["n_drawn"]
    assert sum(manifest["splits"].values()) == 12 and list(manifest["splits"]) == ["train", "test"]
    assert all(1 <= s["n_rows"] <= 3 for s in manifest["shards"])
    listed = [one["name"] for one in manifest["shards"] + manifest["files"]]
    assert set(contents(dist)) == {"manifest.json", *listed}
    assert {
        "README.md",
        "croissant.json",
        "CHANGELOG.md",
        "id2label.json",
        "rejected.jsonl",
        "preview/train-00000-of-00001.parquet",
        "figures/examples.png",
    } <= set(listed)
    assert manifest["classes"] == json.loads((dist / "id2label.json").read_text())
    assert str(dist) not in json.dumps(manifest) and "tmp" not in json.dumps(manifest)


@pytest.mark.parametrize("split", ["train", "test"])
def test_datasets_loads_it_with_image_columns(dist, tmp_path, split):
    rows = load_dataset(str(dist), split=split, cache_dir=str(tmp_path))
    assert rows.features["image"] == Image(mode="L") == rows.features["mask"]
    assert rows.features["probability_left_lung"] == Image(mode="L")
    assert len(set(rows["id"])) == len(set(rows["seed"])) == len(rows) > 0
    for row in rows:
        image, mask = np.asarray(row["image"]), np.asarray(row["mask"])
        assert image.shape == mask.shape == (64, 64) and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1, 2}
        assert row["area_left_lung"] == pytest.approx((mask == 1).mean())
        x, y, width, height = row["box_right_lung"]
        assert (mask[y : y + height, x : x + width] == 2).sum() == (mask == 2).sum()
        assert row["synthetic"] is True and row["steps"] == 1 and row["split"] == split
        assert row["scheduler"] == "DDIMScheduler" and row["tokens_hash"]
        scores = json.loads(row["scores"])
        assert row["trust"] is None and all(one["trust"] is None for one in scores.values())
        assert json.loads(row["refine"])["method"] == "crf"
        assert row["model_hash"] and "/" not in row["model"]


def test_no_prompt_is_in_two_splits(dist, tmp_path):
    held = load_dataset(str(dist), cache_dir=str(tmp_path))
    groups = {split: set(rows["prompt_group"]) for split, rows in held.items()}
    assert not groups["train"] & groups["test"]
    assert not set(held["train"]["seed"]) & set(held["test"]["seed"])


def test_streaming_gives_the_same_rows(dist, tmp_path):
    plain = load_dataset(str(dist), split="train", cache_dir=str(tmp_path))
    stream = load_dataset(str(dist), split="train", streaming=True)
    streamed = list(stream)
    assert [r["id"] for r in streamed] == plain["id"][:]
    assert stream.features["mask"] == Image(mode="L")
    assert np.array_equal(np.asarray(streamed[1]["image"]), np.asarray(plain[1]["image"]))


def test_the_preview_is_coloured(dist, tmp_path):
    rows = load_dataset(str(dist), "preview", split="train", cache_dir=str(tmp_path))
    assert len(rows) == 12 and rows.features["overlay"] == Image(mode="RGB")
    colours = np.asarray(rows[0]["overlay"]).astype(int)
    assert (np.ptp(colours, axis=2) > 20).any()  # a grey picture would have none


def test_every_picture_is_marked_as_synthetic(dist):
    for name, data in contents(dist).items():
        if name.endswith(".png"):
            assert b"trainedAlgorithmicMedia" in data, name
    import pyarrow.parquet as pq

    for path in sorted(dist.rglob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            cells = [v for v in row.values() if isinstance(v, dict)]
            assert len(cells) >= 2 and all(b"trainedAlgorithmic" in c["bytes"] for c in cells)


def test_the_card_is_true_of_the_files(dist):
    card = (dist / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    values = yaml.safe_load(front)
    splits = {one["name"]: one["num_examples"] for one in values["dataset_info"][0]["splits"]}
    assert splits == json.loads((dist / "manifest.json").read_text())["splits"]
    assert [one["config_name"] for one in values["configs"]] == ["default", "preview"]
    assert values["configs"][0]["default"] is True and "synthetic" in values["tags"]
    assert re.search(r"name: mask\n\s+dtype:\n\s+image:\n\s+mode: L", front)
    assert body.startswith("\n# Synthetic chest X-rays") and "12 synthetic frontal" in body
    assert "64 × 64" in body and "Not for clinical use" in body and "| 2 | right lung |" in body
    assert "None" not in body and "@@" not in body
    for figure in re.findall(r"!\[[^]]+\]\(([^)]+)\)", body):
        with PilImage.open(dist / figure) as picture:
            assert min(picture.size) > 100, figure


def test_the_snippets_of_the_card_run(dist, tmp_path):
    card = (dist / "README.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    program = "\n".join(snippets).replace("PATH_OR_NAME", str(dist))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "(64, 64) [0" in done.stdout and "\n(64, 64)\n" in done.stdout


def test_again_is_the_same_and_draws_nothing(dist, checkpoint, tmp_path, monkeypatch):
    out = shutil.copytree(dist, tmp_path / "dist")
    monkeypatch.setattr(
        "publish.build.run._load", lambda *_: pytest.fail("drew a finished dataset")
    )
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert contents(out) == contents(dist)


@pytest.mark.parametrize("lost", ["last", "middle, broken", "manifest behind", "figures"])
def test_a_broken_off_build_goes_on_to_the_same_bytes(dist, checkpoint, tmp_path, lost):
    out = shutil.copytree(dist, tmp_path / "dist")
    names = sorted((out / "data").iterdir())
    (out / "README.md").unlink()
    if lost == "last":
        names[2].rename(names[2].with_name(f".{names[2].name}.partial"))
    elif lost == "middle, broken":
        names[1].write_bytes(names[1].read_bytes()[:100])
    elif lost == "figures":
        shutil.rmtree(out / "figures")
        shutil.rmtree(out / "preview")
    else:
        manifest = json.loads((out / "manifest.json").read_text())
        manifest["shards"].pop()
        (out / "manifest.json").write_text(json.dumps(manifest))
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert contents(out) == contents(dist)


KILLED = """
import json, os, random, sys, threading
import matplotlib.backends.backend_agg, matplotlib.figure  # once, for all children
import pyarrow.parquet, scipy.ndimage, torch, yaml
import lungsynth.pipeline
from diffusers import StableDiffusionPipeline
from datasets import DatasetInfo
from transformers import CLIPTextModel, CLIPTokenizerFast
from publish.build import (run as build, finish, plan, worker)
from publish.card import (dataset_card as card, figures)
from publish.data import (shards)
from publish.cli import (main)
torch.set_num_threads(1)

def child(seed, options):
    if seed is not None:
        rng = random.Random(seed)
        n_calls, fatal = [0], rng.randrange(70)

        def counted(function):
            def call(*args, **kwargs):
                n_calls[0] += 1
                now = n_calls[0] - 1 == fatal
                if now:  # some time after this call began
                    die = threading.Timer(rng.random() * 0.02, os.kill, (os.getpid(), 9))
                    die.start()
                value = function(*args, **kwargs)
                if now and rng.random() < 0.5:  # or right after it
                    os.kill(os.getpid(), 9)
                return value
            return call

        for module, name in ((shards, "write_shard"), (shards, "write_atomic"),
                             (shards.os, "fsync"), (shards, "_commit"), (worker, "row")):
            old = getattr(module, name)
            for user in [m for m in sys.modules.values() if getattr(m, name, None) is old]:
                setattr(user, name, counted(old))
    sys.argv = ["publish", *options]
    main()

for seeds, options in json.loads(sys.argv[1]):
    for seed in [*seeds, None]:
        pid = os.fork()
        if pid == 0:
            child(seed, options)
            os._exit(9)
        status = os.waitpid(pid, 0)[1]
        print(json.dumps([seed, os.waitstatus_to_exitcode(status)]), flush=True)
"""
"""Builds that kill themselves with SIGKILL at a call, within it, or right after it; then one whole."""


def kill_and_resume(dist: Path, checkpoint: Path, outs: dict[Path, list[int]]) -> int:
    """For each folder: builds that are killed by these seeds, then a whole one; how many died."""
    jobs = [(seeds, build_options(checkpoint, out)) for out, seeds in outs.items()]
    done = start(
        ["-c", KILLED, json.dumps(jobs)], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ).wait(3000)
    assert done.returncode == 0, done.stderr
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(ended) == sum(len(seeds) + 1 for seeds in outs.values())
    for seed, code in ended:
        assert code == 0 or (code == -signal.SIGKILL and seed is not None), done.stderr
    for out in outs:
        assert contents(out) == contents(dist)
    return sum(code != 0 for _, code in ended)


def test_kill_9_never_changes_the_result(dist, checkpoint, tmp_path):
    assert kill_and_resume(dist, checkpoint, {tmp_path / "dist": [1, 2, 3, 4]}) >= 3


@pytest.mark.slow
def test_a_hundred_kills(dist, checkpoint, tmp_path):
    outs = {tmp_path / str(k): [10 + 3 * k + i for i in range(3)] for k in range(45)}
    assert kill_and_resume(dist, checkpoint, outs) >= 100


def test_a_second_build_into_the_same_folder_is_refused(dist, checkpoint, tmp_path):
    from publish.data.shards import locked

    out = shutil.copytree(dist, tmp_path / "dist")
    with locked(out):
        ran = run_publish(*build_options(checkpoint, out))
    assert ran.code == 1 and "another process is writing it" in ran.err
    assert contents(out) == contents(dist)


def test_other_options_into_the_same_folder_are_refused(dist, checkpoint, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    ran = run_publish(*build_options(checkpoint, out, "--guidance", 4))
    assert ran.code == 1
    assert ran.err.startswith(f"ConfigError: {out}: holds a dataset of another")
    assert contents(out) == contents(dist)


@pytest.mark.parametrize(
    ("option", "value", "key", "kept"),
    [
        ("--n", 6, "n", 6),
        ("--seed", 9, "seed", 9),
        ("--shard-rows", 2, "shard_rows", 2),
        ("--steps", 2, "steps", 2),
        ("--guidance", 4.0, "guidance", 4.0),
        ("--batch-size", 2, "batch_size", 2),
        ("--device", "cpu", "device", "cpu"),
        ("--scheduler", "euler", "scheduler", "EulerDiscreteScheduler"),
        ("--classes", "left lung", "classes", {"0": "background", "1": "left lung"}),
        ("--keep-attention", None, "keep_attention", True),
        ("--no-keep-probability", None, "keep_probability", False),
        ("--ignore-band", 0.2, "refine", 0.2),
        ("--split", "all=1", "splits", {"all": 1.0}),
    ],
)
def test_every_option_reaches_the_configuration(checkpoint, tmp_path, option, value, key, kept):
    args = ("--n", 5) if option != "--n" else ()
    out = tmp_path / "dist"
    given = (option,) if value is None else (option, value)
    ran = run_publish("build", *args, *given, "--model", checkpoint, "--out", out, "--dry-run")
    assert ran.code == 0 and not out.exists(), ran.err
    found = json.loads(ran.out)["config"][key]
    assert (found["ignore_band"] if key == "refine" else found) == kept


def test_a_yaml_file_decides_and_options_win(checkpoint, tmp_path):
    file = tmp_path / "release.yaml"
    file.write_text(
        f"n: 4\nseed: 3\nmodel: {checkpoint}\nsteps: 7\nprompts: mine.txt\n"
        "refine: {method: none}\nfilter: {max_area: 0.9, apply: false}\n"
    )
    (tmp_path / "mine.txt").write_text("Chest X-ray\n")
    ran = run_publish("build", "--config", file, "--seed", 5, "--filter", "--dry-run")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    config = told["config"]
    assert (config["n"], config["seed"], config["steps"]) == (4, 5, 7)
    assert config["refine"]["method"] == "none" and told["first_rows"][0]["text"] == "Chest X-ray"
    assert config["filter"]["max_area"] == 0.9 and config["filter"]["apply"] is True


def test_rows_that_fail_the_filter_are_logged_not_published(checkpoint, dist, tmp_path):
    file, out = tmp_path / "release.yaml", tmp_path / "dist"
    areas = np.concatenate(
        [
            np.stack([rows["area_left_lung"], rows["area_right_lung"]], 1)
            for rows in load_dataset(str(dist), cache_dir=str(tmp_path / "c")).values()
        ]
    )
    limit = float(np.median(areas.max(1)))
    file.write_text(
        f"filter: {{min_area: 0, max_area: {limit}, min_trust: 0, min_stability: 0, min_contrast: 0, "
        "max_ratio: 1000, sides: false}\n"
    )
    ran = run_publish(*build_options(checkpoint, out, "--config", file, "--filter"))
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    manifest = json.loads((out / "manifest.json").read_text())
    expected = int((areas.max(1) > limit).sum())
    assert 0 < expected == len(lines) == manifest["n_drawn"] - manifest["n_rows"]
    assert all(one["reasons"] and one["prompt"] and one["seed"] >= 0 for one in lines)
    kept = [
        i
        for rows in load_dataset(str(out), cache_dir=str(tmp_path / "c")).values()
        for i in rows["id"]
    ]
    assert sorted([*kept, *(one["id"] for one in lines)]) == [f"s0-{i:07d}" for i in range(12)]
    assert f"{expected} (" in (out / "README.md").read_text()


def test_nothing_good_enough_is_an_error_that_says_so(checkpoint, tmp_path):
    file = tmp_path / "release.yaml"
    file.write_text("filter: {min_contrast: 128}\n")
    ran = run_publish(*build_options(checkpoint, tmp_path / "d", "--config", file, "--filter"))
    assert ran.code == 1 and "none of 12 rows passed the filter" in ran.err


def test_a_file_of_prompts_is_taken_in_turn(checkpoint, tmp_path):
    file, out = tmp_path / "prompts.txt", tmp_path / "dist"
    file.write_text("Chest X-ray\nchest film, pneumonia\n")
    args = ("build", "--n", 3, "--steps", 1, "--quiet", "--model", checkpoint, "--prompts", file)
    assert run_publish(*args, "--batch-size", 2, "--no-filter", "--out", out).code == 0
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["prompt"][:] == ["Chest X-ray", "chest film, pneumonia", "Chest X-ray"]
    assert rows["view"][:] == [None] * 3
    assert "Drawn from the prompts of a file" in (out / "README.md").read_text()


def test_prompts_with_markup_stay_text(checkpoint, tmp_path):
    evil = [
        "chest <script>alert(1)</script> <!-- human:limitations -->X<!-- /human:limitations -->",
        "chest ---\nlicense: mit",
        "chest | x | [a](javascript:b) ![c](d) `e` {n_rows} %s \u202e",
    ]
    file, out = tmp_path / "prompts.jsonl", tmp_path / "dist"
    file.write_text("".join(json.dumps({"text": one}) + "\n" for one in evil))
    args = ("build", "--n", 3, "--steps", 1, "--quiet", "--model", checkpoint, "--prompts", file)
    ran = run_publish(*args, "--prompt-column", "text", "--no-filter", "--out", out)
    assert ran.code == 0, ran.err
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["prompt"][0] == evil[0]
    card = (out / "README.md").read_text()
    assert "<script" not in card and "javascript" not in card and "\u202e" not in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc0-1.0"


def test_what_people_wrote_survives_a_rebuild(dist, checkpoint, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    card = (out / "README.md").read_text()
    mark = "<!-- human:limitations -->\n"
    mine = "Children only in {n_rows} rows.\n\n- **bold**\n"
    (out / "README.md").write_text(card.replace(mark, mark + mine).replace("12 synthetic", "99"))
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert (out / "README.md").read_text() == card.replace(mark, mark + mine)
    broken = card.replace(mark, mark + mine).replace("<!-- /human:limitations -->", "")
    (out / "README.md").write_text(broken)
    ran = run_publish(*build_options(checkpoint, out))
    assert ran.code == 1 and "markers of human:limitations are broken" in ran.err
    assert (out / "README.md").read_text() == broken  # left as it was, to be mended


def test_a_line_that_cannot_be_drawn_is_named_before_anything_is(checkpoint, tmp_path):
    file, out = tmp_path / "prompts.txt", tmp_path / "dist"
    file.write_text("Chest X-ray\nzebra\n")
    ran = run_publish("build", "--n", 9, "--model", checkpoint, "--prompts", file, "--out", out)
    assert ran.code == 1
    assert "PromptError: --prompts, prompt 2: No word of 'zebra'" in ran.err
    assert not (out / "data").exists()


@pytest.mark.parametrize("model", ["nothing-here", "folder"])
def test_a_checkpoint_that_cannot_be_used_is_refused(checkpoint, tmp_path, model):
    if model == "folder":
        model = str(shutil.copytree(checkpoint, tmp_path / "model"))
        Path(model, "classes.json").unlink()
    ran = run_publish("build", "--n", 1, "--model", model, "--out", tmp_path / "dist")
    assert ran.code == 1
    assert "no such folder" in ran.err or "so its masks have no fixed classes" in ran.err
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ("--classes", "heart"),
            "'heart' is no class of pipeline; expected some of: left lung, right",
        ),
        (("--scheduler", "fast"), "Scheduler 'fast' is unknown"),
        (("--split", "train=0.5"), "add up to"),
        (("--split", "tr-ain=1"), "expected names of letters"),
        (("--split", "train=0.999999", "--split", "test=0.000001"), "'test' gets none of 5 rows"),
        (("--evaluation", "nothing.json"), "nothing.json: cannot be read"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(checkpoint, tmp_path, extra, message):
    out = tmp_path / "dist"
    words = "build --n 5 --steps 1 --no-filter --quiet".split()
    ran = run_publish(*words, "--model", checkpoint, *extra, "--out", out)
    assert ran.code == 1 and message in ran.err
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_refused(checkpoint, tmp_path):
    from publish.build.plan import plan
    from publish.build.run import build
    from publish.data.settings import Settings

    (tmp_path / "file").write_text("in the way")
    the_plan = plan(Settings(n=1, steps=1, model=str(checkpoint)))
    with pytest.raises(OutputError, match="cannot be"):
        build(the_plan, tmp_path / "file" / "dist", quiet=True)
    assert issubclass(OutputError, LungSynthError)


def masks_result() -> dict:
    """As `lungsynth evaluate masks` writes it, of two stages."""

    def told(value: float, low: float, high: float) -> dict:
        return {"value": value, "low": low, "high": high}

    region = {
        "iou": told(0.7123, 0.70, 0.73),
        "dice": told(0.832, 0.82, 0.85),
        "hd95_percent": told(4.0, 3.0, 5.0),
        "mean_distance_percent": told(1.0, 0.8, 1.2),
    }
    return {
        "n": 103,
        "n_patients": 100,
        "split": "test",
        "convention": ["nlm: no heart"],
        "seed": 0,
        "swapped": 2,
        "first_refinement": "crf",
        "main": "crf",
        "auroc": {},
        "trust": {},
        "stages": {
            "crf": {"rival": False, "regions": {"all": region}},
            "otsu": {"rival": True, "regions": {"all": region}},
        },
        "rival_facts": {"shot films": ["patient-7"]},
    }


def test_results_of_real_films_reach_the_card(dist, checkpoint, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    weights = json.loads((dist / "manifest.json").read_text())["model_hash"]
    masks = {**masks_result(), "source": "/home/me/shenzhen.parquet", "model_hash": weights}
    file = tmp_path / "masks.json"
    file.write_text(json.dumps(masks))
    assert run_publish(*build_options(checkpoint, out, "--evaluation", file)).code == 0
    card = (out / "README.md").read_text()
    assert "| 0.712 | 0.700 – 0.730 | 0.832 |" in card and "swapped: 2 of 103" in card
    assert "n = 103" in card
    kept = json.loads((out / "evaluation" / "masks-shenzhen-parquet-test.json").read_text())
    assert kept["source"] == "shenzhen.parquet" and "/home" not in json.dumps(kept)
    for changed, message in (
        ({**masks, "model_hash": "other"}, "measured on the weights 'other'"),
        ({**masks, "stages": {"crf": {"iou": 0.7}}}, "not a result of this version of `masks`"),
        ({"psnr": 36.3}, "no `arms`, `stages`, `groups`, `tasks` in it"),
    ):
        file.write_text(json.dumps(changed))
        ran = run_publish(*build_options(checkpoint, out, "--evaluation", file))
        assert ran.code == 1 and message in ran.err
    assert run_publish(*build_options(checkpoint, out)).code == 0
    assert contents(out) == contents(dist)


def test_models_trained_on_the_set_reach_the_card(dist, checkpoint, tmp_path):
    out = shutil.copytree(dist, tmp_path / "dist")
    told = {"value": 0.9512, "low": 0.94, "high": 0.96}
    arm = {
        "model": "unet",
        "arm": "synthetic",
        "n_real": 0,
        "synthetic": "s",
        "filter": "none",
        "augmentation": "standard",
    }
    figures = {"dice": told, "iou": told, "hd95_percent": told, "mean_distance_percent": told}
    report = {
        "arms": [{**arm, "test": "far|away", "n_films": 67, "seeds": 3, **figures}],
        "comparisons": [
            {
                "test": "far|away",
                "kind": "ratio",
                "of": arm,
                "seeds": 3,
                "with": {**arm, "arm": "real", "synthetic": "", "n_real": 463},
                "dice": {"value": 0.9931, "low": 0.99, "high": 0.996},
            }
        ],
        "preset": {"steps": 400, "batch": 8, "pixels": 128},
        "seeds": 3,
        "real": {"n": 463},
        "synthetic": [{"name": "s", "n": 2000}],
        "tests": [{"name": "far|away", "n": 67}],
        "conventions": ["v7"],
        "notes": ["<b>one</b> note"],
        "arguments": [],
    }
    file = tmp_path / "downstream.json"
    file.write_text(json.dumps(report))
    given = ("--evaluation", file, "--evaluation", file)
    assert run_publish(*build_options(checkpoint, out, *given)).code == 0
    card = (out / "README.md").read_text()
    assert card.index("## Trained on this set, tested on real films") < card.index(
        "## Memorisation"
    )
    assert "| synthetic | 0 | 0.951 [0.940, 0.960] |" in card and "<b>" not in card
    assert "| divided by real, n = 463 | 0.993 [0.990, 0.996] |" in card
    assert "400 steps of 8 films of 128 px" in card and "3 seed(s)" in card
    names = {path.name for path in (out / "evaluation").iterdir()}
    assert names == {"downstream-far-away.json", "downstream-far-away-2.json"}
    assert run_publish("check", out).code == 0


def test_the_mask_in_the_card_is_the_mask_in_the_rows(dist):
    """The example sheet is drawn from the rows, not from anything else."""
    import pyarrow.parquet as pq

    from lungsynth.images import overlay

    first = sorted(dist.glob("data/train-*"))[0]
    row = pq.read_table(first).slice(0, 1).to_pylist()[0]
    image, mask = (
        np.asarray(PilImage.open(io.BytesIO(row[k]["bytes"]))) for k in ("image", "mask")
    )
    with PilImage.open(dist / "figures" / "examples.png") as sheet:
        pixels = np.asarray(sheet)
    x, y = 192 + (192 - 64) // 2, (192 - 64) // 2
    assert np.array_equal(pixels[y : y + 64, x : x + 64], overlay(image, mask))


def test_help_needs_no_heavy_import():
    program = "import sys, publish.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    heavy = {"torch", "datasets", "matplotlib", "pyarrow", "scipy", "diffusers", "huggingface_hub"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(checkpoint, tmp_path):
    from benchmarks.publishing import peak_of_build

    peaks = [peak_of_build(n, str(checkpoint), tmp_path / str(n))[0] for n in (1_000, 10_000)]
    assert peaks[1] / peaks[0] <= 1.1, peaks
