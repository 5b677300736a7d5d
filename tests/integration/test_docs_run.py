"""Code in the documents is run, document by document, block by block, in the order a reader would.

Shell blocks are expanded by the shell; their commands run in this process through their real entry
points, in a folder that holds what the document takes for granted: small films, small checkpoints, a
Hub on loopback. `SHORTER` says what is made smaller; `NOT_RUN` says what does not run here, and why.
A command that is in neither list runs as it is printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from documents import DOCUMENTS, ROOT, blocks_of, commands, home_of
from hub.client import run_bare
from hub.server import WRITER, Hub
from layouts import write_lora
from PIL import Image
from publishing import contents

SHORTER: dict[str, list[tuple[str, str]]] = {
    "README.md#0": [("-n 4", "-n 1 --steps 2")],
    "docs/ATTENTION.md#0": [("ORG/MODEL", "MODEL"), ("steps=20", "steps=2")],
    "docs/ATTENTION.md#1": [("ORG/MODEL", "MODEL"), ("steps=20", "steps=2")],
    "docs/PUBLISHING.md#6": [
        ("ORG/SD15", "lab/sd15"),
        ("--steps 4000", "--steps 4000 --sample-steps 1"),
    ],
    "docs/PUBLISHING.md#12": [
        ("--n 128 --batch-size 8", "--n 3 --batch-size 1 --steps 1 --workers 1"),
        ("publishing writing", "publishing writing --n 8 --repeats 1"),
        ("1000,10000", "8,16"),
        ("--rows 20000", "--rows 12 --shard-rows 4"),
        ("replay --n 20", "replay --n 2 --steps 1"),
    ],
    "docs/RESULTS.md#4": [("report RUNS", "report kept")],
    "docs/SCALING.md#1": [
        ("--n 256", "--model TINY --no-filter --steps 1 --n 2"),
        ("--shard-rows 128", "--shard-rows 1"),
        ("--precision bf16", "--precision fp32"),  # emulated where the processor has none
        ("--out /tmp/", "--out "),
    ],
    "docs/TRAINING.md#0": [("--preset cpu", "--preset tiny")],
    "docs/TRAINING.md#4": [
        ("runs/vae", "runs/vae-gpu"),  # beside those of the first block
        ("runs/diffusion", "runs/diffusion-gpu"),
        ("--max-megabytes 60", "--max-megabytes 0.03"),
        ("--preset gpu", "--preset tiny"),
    ],
    "docs/TRAINING.md#5": [
        ("train diffusion", "train diffusion --steps 1 --batch-size 2"),
        ("DIR_OR_HUB_ID", "MODEL"),
        ("lungsynth sample", "lungsynth sample --steps 1"),
    ],
}
"""Block -> what stands there and what runs instead."""

INSTALLS = "what it installs is what runs here"
FIGURES = (
    "minutes to hours, on films that are not in the repository, for the figures of that page; the same "
    "commands run on small films in test_cli, test_evaluate_cli, test_evaluate_masks_cli, "
    "test_train_masks_cli, test_tools_cli and in the tests of publish, the page and the benchmarks"
)
VERIFIER = (
    "half of the sixteen patients here are too few to hold any out; test_evaluate_cli trains an encoder, "
    "test_publish_verifier draws with one"
)
NOT_RUN: dict[str, str] = {
    "README.md#0 pip": INSTALLS,
    "README.md#1 pip": INSTALLS,
    "README.md#1 python -m pytest": "it would run itself",
    "docs/RESULTS.md#0 python": FIGURES,
    "docs/RESULTS.md#1 python": FIGURES,
    "docs/RESULTS.md#2 python": FIGURES,
    "docs/RESULTS.md#3 python": FIGURES,
    "docs/RESULTS.md#3 benchmarks/arms.sh": FIGURES,
    "docs/SCALING.md#0 python -m publish build --config release.yaml --engine slurm": (
        "needs a cluster; test_publish_workers runs it with Slurm's commands replaced"
    ),
    "docs/SCALING.md#0 python -m publish build --config release.yaml --engine ray": (
        "needs a cluster; test_publish_workers runs one, slow"
    ),
    "docs/TRAINING.md#0 python -m lungsynth train diffusion --data films.parquet --data nih_rsna": (
        "needs a trained student and boxes; test_training_words runs its parts"
    ),
    "docs/TRAINING.md#1 python -m lungsynth train all": (
        "trains every part on six sets; test_train_all_cli runs it on small ones"
    ),
    "docs/TRAINING.md#2 python -m lungsynth train encoder": VERIFIER,
    "docs/TRAINING.md#2 python -m lungsynth sample": VERIFIER,
    "docs/TRAINING.md#3 python -m benchmarks curve": (
        "needs the runs of the page's other commands; test_benchmarks_curve runs it on small ones"
    ),
    "docs/TRAINING.md#3 python -m benchmarks samplers": FIGURES,
}
"""Block and first words of a command -> why it does not run here."""

SLOW = ("README.md", "docs/PUBLISHING.md", "lungsynth/checkpoints/mini/README.md")
"""Documents whose blocks draw with the shipped checkpoint."""

RUNNABLE = [
    pytest.param(path, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for path in DOCUMENTS
    for name in [str(path.relative_to(ROOT))]
    if {language for _, language, _ in blocks_of(path)} - {""}
]


@pytest.fixture
def desk(
    tmp_path: Path,
    checkpoint: Path,
    sd_folder: Path,
    parquet: Path,
    dist: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The folder a reader works in; it is the current one."""
    desk = tmp_path / "desk"
    shutil.copytree(ROOT / "examples", desk / "examples")
    shutil.copytree(ROOT / "docs", desk / "docs", ignore=shutil.ignore_patterns("images"))
    shutil.copytree(desk / "docs" / "results", desk / "kept")
    shutil.copy(desk / "docs" / "results" / "fidelity.json", desk)
    for name, folder in (("lungsynth", ROOT / "lungsynth"), ("TINY", checkpoint)):
        (desk / name).symlink_to(folder)
    (desk / "MODEL").symlink_to(sd_folder)
    shutil.copy(parquet, desk / "films.parquet")
    shutil.copytree(dist, desk / "rows")
    for name in ("FOLDER", "nih-pictures"):
        pictures_of_outlines(desk / "examples" / "annotations", desk / name)
    (desk / "release.yaml").write_text(
        "{n: 2, steps: 1, shard_rows: 1, model: TINY, device: cpu, filter: {apply: false}}"
    )
    monkeypatch.chdir(desk)
    return desk


def pictures_of_outlines(outlines: Path, folder: Path) -> None:
    """Grey pictures of the sizes that outlines were drawn on; the films themselves are NIH's."""
    folder.mkdir()
    for path in outlines.glob("*.json"):
        told = json.loads(path.read_text())
        grey = np.arange(256, dtype=np.uint8).repeat(16)
        picture = np.resize(grey, (told["imageHeight"], told["imageWidth"]))
        Image.fromarray(picture).save(folder / told["imagePath"])


def batch_of_the_page(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Parquet file that the page's Batch gives."""
    from space.draw import batch, model
    from space.page import batches

    monkeypatch.setenv(model.MODEL_VARIABLE, str(desk / "TINY"))
    made = batch.begin(batch.read_rows("chest x-ray"), 1, 1.0)
    request = SimpleNamespace(client=None, headers={})
    _, _, parquet, _ = batches.draw_next("1", made.name, request)
    shutil.copy(parquet["value"], desk / "lungsynth-batch.parquet")


def lora_and_its_base(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers that were trained, and the checkpoint they go on top of, on the Hub."""
    write_lora(desk / "MODEL", desk / "runs/lora/lora")
    told = "publish weights MODEL --repo lab/sd15 --licence creativeml-openrail-m --samples 0 --yes"
    run_command("the base of a LoRA", ["python", "-m", *told.split()], monkeypatch)


BEFORE: dict[str, Callable[[Path, pytest.MonkeyPatch], object]] = {
    "docs/PUBLISHING.md#6": lora_and_its_base,
    "docs/PUBLISHING.md#10": lambda desk, _: shutil.copytree(desk / "dist", desk / "before"),
    "docs/SPACE.md#0": batch_of_the_page,
}
"""Block -> what its document takes for granted."""

PRELUDE = {
    "docs/SPACE.md#1": "from datasets import load_dataset; dataset = load_dataset('rows')",
}
"""Python block -> what stands before it."""


def shorter(place: str, code: str) -> str:
    """The code of a block as it runs here."""
    for old, new in SHORTER.get(place, ()):
        assert old in code, f"{place} has no {old!r} any more"
        code = code.replace(old, new)
    return code


def reason_against(place: str, words: list[str]) -> str | None:
    """The key of `NOT_RUN` that a command falls under."""
    told = f"{place} {' '.join(words)}"
    return next((key for key in NOT_RUN if told.startswith(key)), None)


def run_command(place: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `python -m …` in this process."""
    assert words[:2] == ["python", "-m"], f"{place}: {words} is neither run nor listed"
    if words[2] == "hub":
        starts_a_hub()
        return
    monkeypatch.setattr(sys, "argv", words[2:])
    try:
        home_of(words[2]).main()
    except SystemExit as leaving:
        assert not leaving.code, f"{place}: {' '.join(words)} ended with {leaving.code}"


def starts_a_hub() -> None:
    """`PYTHONPATH=tests python -m hub` prints what the second shell is told."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(
        [sys.executable, "-m", "hub"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert line.startswith("export HF_ENDPOINT=http://127.0.0.1:") and f"HF_TOKEN={WRITER}" in line


def run_python(place: str, code: str, desk: Path, hub: Hub) -> None:
    """Run Python as a reader would, in a new process."""
    program = f"{PRELUDE.get(place, '')}\n{code}"
    done = run_bare(hub, desk, "-c", program, HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, f"{place}: {done.stderr}"


@pytest.mark.parametrize("path", RUNNABLE)
def test_the_code_of_a_document_runs(path, desk, hub, monkeypatch):
    for place, language, code in blocks_of(path):
        BEFORE.get(place, lambda *_: None)(desk, monkeypatch)
        code = shorter(place, code)
        if language == "yaml":
            name = code.split("\n")[0].removeprefix("# ")
            assert (desk / name).is_file(), f"{place} does not begin with the name of its file"
            (desk / name).write_text(code)
        elif language == "python":
            run_python(place, code, desk, hub)
        elif language == "bash":
            for words in commands(code, desk):
                if not reason_against(place, words):
                    run_command(place, words, monkeypatch)


def test_what_does_not_run_is_still_there(tmp_path):
    """Every reason has its command, so that none outlives it; every shortening has its words."""
    used = set()
    for path in DOCUMENTS:
        for place, language, code in blocks_of(path):
            shorter(place, code)
            if language == "bash":
                used |= {reason_against(place, words) for words in commands(code, tmp_path)}
    assert used - {None} == set(NOT_RUN)
    assert contents(tmp_path).keys() == {"log"}
