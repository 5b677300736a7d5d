"""`python -m publish space`: the folder holds what the page needs, and starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from hub.client import pointed_at
from hub.server import serve

from publish.hub.space_files import HARDWARE, needed_modules, requirements

NAME = "lab/page"
ROOT = Path(__file__).parents[2]


def paths(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_dry_run_writes_exactly_the_space(publish, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    out = tmp_path / "space"
    assert (
        publish("space", "--repo", NAME, "--hardware", "zero", "--dry-run", "--out", out).code == 0
    )
    there = paths(out)
    assert {
        "app.py",
        "space/page/ui.py",
        "space/page/viewer.js",
        "space/page/page.css",
        "space/precomputed/card.jpg",
        "lungsynth/checkpoints/film_check/film_check.safetensors",
        "lungsynth/pipeline.py",
        "lungsynth/model/autoencoder.py",
        "lungsynth/checkpoints/mini/model_index.json",
        "requirements.txt",
        "packages.txt",
        "lungsynth/checkpoints/encoder/model.safetensors",
        "README.md",
        "LICENSE",
    } <= there
    assert not any(
        part in one
        for one in there
        for part in (
            "__pycache__",
            "tests",
            "publish",
            "evaluation/copies",
            "evaluation/fidelity",
            "cli/",
            ".git",
        )
    )
    front = yaml.safe_load((out / "README.md").read_text().split("---\n", 2)[1])
    assert front["sdk"] == "gradio" and front["app_file"] == "app.py"
    assert front["python_version"] == "3.12.12" and front["suggested_hardware"] == "zero-a10g"
    pins = (out / "requirements.txt").read_text().splitlines()
    assert "torch==2.11.0" in pins and "spaces>=0.51,<1" in pins
    assert not any("gradio" in line or "pytest" in line or "datasets" in line for line in pins)


def test_a_cpu_space_takes_wheels_without_cuda(publish, tmp_path):
    names = needed_modules(ROOT)[1]
    lines = requirements(names, HARDWARE["cpu-basic"]).splitlines()
    assert lines[:2] == ["--extra-index-url https://download.pytorch.org/whl/cpu", "torch==2.13.0"]
    pinned = {line.split("==")[0] for line in lines[1:]}
    assert {"diffusers", "transformers", "pydensecrf2", "pillow", "scikit-image"} <= pinned
    assert all("==" in line for line in lines[1:])


def test_it_is_one_commit_of_a_private_space(publish, tmp_path):
    with serve() as hub, pointed_at(hub, tmp_path / "home"):
        assert (
            publish("space", "--repo", NAME, "--hardware", "zero", "--verify", "tree", "--yes").code
            == 0
        )
        repo = hub.repo("space", NAME)
        assert repo.private and repo.sdk == "gradio" and repo.hardware == "zero-a10g"
        assert len(repo.history()) == 2 and "app.py" in repo.files()
        assert publish("space", "--repo", NAME, "--hardware", "zero", "--yes").code == 0
        assert len(repo.history()) == 2


def test_a_folder_with_other_files_is_refused(publish, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    ran = publish("space", "--repo", NAME, "--dry-run", "--out", tmp_path)
    assert ran.code == 1 and "not empty" in ran.err and paths(tmp_path) == {"mine.txt"}


def starts(python: Path, folder: Path, home: Path) -> None:
    """Start the page, wait for it, draw a picture through its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LUNGSYNTH_MODEL")
    }
    environment |= {
        "HF_HOME": str(home),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
    }
    page = subprocess.Popen(
        [str(python), "app.py", "--port", str(port)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        give_up = time.monotonic() + 180
        while True:
            assert page.poll() is None, page.stdout and page.stdout.read()
            try:
                with urlopen(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert time.monotonic() < give_up, "the page does not answer"
                time.sleep(0.5)
        code = (
            "import sys; from lungsynth.pipeline import Synthesizer\n"
            "from lungsynth.model.sampling import SampleOptions\n"
            "[r] = Synthesizer().generate(['Chest X-ray'], [0], options=SampleOptions(steps=1))\n"
            "assert r.image.shape == r.mask.shape == (256, 256); print('drawn')"
        )
        drawn = subprocess.run(
            [str(python), "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert drawn.stdout.strip() == "drawn", drawn.stderr
    finally:
        page.terminate()
        page.wait(timeout=60)
        if page.stdout:
            page.stdout.close()


@pytest.mark.slow
def test_the_folder_starts_by_itself(publish, tmp_path):
    out = tmp_path / "space"
    assert publish("space", "--repo", NAME, "--dry-run", "--out", out).code == 0
    starts(Path(sys.executable), out, tmp_path / "home")


@pytest.mark.slow
@pytest.mark.skipif(
    "LUNGSYNTH_INSTALL" not in os.environ, reason="LUNGSYNTH_INSTALL=1 lets it install"
)
def test_it_installs_into_a_fresh_environment_and_starts(publish, tmp_path):
    """Two gigabytes from the package index; without its extra one, which tests may not reach."""
    out = tmp_path / "space"
    assert publish("space", "--repo", NAME, "--dry-run", "--out", out).code == 0
    pins = (out / "requirements.txt").read_text().splitlines()
    (tmp_path / "pins.txt").write_text("\n".join(p for p in pins if not p.startswith("--")))
    front = yaml.safe_load((out / "README.md").read_text().split("---\n", 2)[1])
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "-r",
            str(tmp_path / "pins.txt"),
            f"gradio=={front['sdk_version']}",
        ],
        check=True,
        timeout=1500,
    )
    starts(python, out, tmp_path / "home")
