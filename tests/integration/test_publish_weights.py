"""`python -m publish weights` and `space` against a local Hub, with the real clients."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub.client import run_bare
from hub.server import Hub
from PIL import Image

from lungsynth.about.figures import Figure, write_figures
from lungsynth.about.sources import Source, write_sources

NAME = "lab/cxr"
FIGURE = Figure(
    kind="obedience", name="finding", value=0.49, low=0.44, high=0.55, n=360, command="evaluate"
)


@pytest.fixture(scope="module")
def lora_folder(sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA weights for `sd_folder`, not zero, as diffusers writes them."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    from lungsynth.model.checkpoint import load_pipeline

    unet = load_pipeline(str(sd_folder))[0].unet
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    generator = torch.Generator().manual_seed(0)
    for name, value in unet.named_parameters():
        if "lora_B" in name:
            value.data = torch.randn(value.shape, generator=generator) * 0.5
    out = tmp_path_factory.mktemp("lora") / "lora"
    StableDiffusionPipeline.save_lora_weights(
        out, unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    )
    return out


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n", 2)[1])


def run_snippets(hub: Hub, folder: Path, *cards: str) -> list[Image.Image]:
    """Run the Python of cards, one after the other in a process that has nothing but lungsynth; the
    picture that each saves."""
    program = "from pathlib import Path\n"
    for k, card in enumerate(cards):
        code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
        program += f"exec({code.replace('steps=20', 'steps=2')!r}, {{'__name__': '__main__'}})\n"
        program += f"Path('xray.png').rename('xray-{k}.png')\n"
    done = run_bare(hub, folder, "-c", program)
    assert done.returncode == 0, done.stderr
    return [Image.open(folder / f"xray-{k}.png").convert("RGB") for k in range(len(cards))]


def test_a_pipeline_is_published_and_its_snippet_runs(hub, sd_folder, publish, tmp_path):
    report = tmp_path / "fidelity.json"
    report.write_text(
        json.dumps(
            {
                "command": "python -m lungsynth evaluate fidelity a b",
                "n": 450,
                "frechet": {"value": 13.04, "low": 9.0, "high": 19.5},
                "ok": True,
                "nan": float("nan"),
            }
        )
    )
    words = f"--repo {NAME} --licence apache-2.0 --data nih=cc0-1.0 --data lab/films=cc-by-4.0"
    words += " --steps 3132 --samples 2 --sample-steps 1 --tag v1.0.0 --yes"
    more = ("--training", "train diffusion", "--evaluation", report)
    ran = publish("weights", sd_folder, *words.split(), *more)
    assert ran.code == 0, ran.err
    repo = hub.repo("model", NAME)
    assert repo.private and repo.tags == {"v1.0.0": repo.head.sha} and len(repo.history()) == 2
    files = repo.files()
    assert (
        files["unet/diffusion_pytorch_model.safetensors"]
        == (sd_folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    )
    assert files["evaluation/fidelity.json"] == report.read_bytes()
    card = files["README.md"].decode()
    head = front(card)
    assert head["license"] == "apache-2.0" and head["pipeline_tag"] == "text-to-image"
    assert head["datasets"] == ["lab/films"] and "base_model" not in head
    assert [one["output"]["url"] for one in head["widget"]] == ["samples/0.png", "samples/1.png"]
    assert head["model-index"][0]["results"][0]["metrics"] == [
        {"type": "n", "value": 450.0},
        {"type": "frechet", "value": 13.04},
    ]
    assert "<Gallery />" in card and "3,132 steps" in card and "13.04 [9, 19.5]" in card
    assert "Not for diagnosis" in card
    assert Image.open(__import__("io").BytesIO(files["samples/0.png"])).size == (64, 64)
    [drawn] = run_snippets(hub, tmp_path, card)
    assert drawn.size == (64, 64)


def test_our_own_autoencoder_is_imported_by_the_snippet(
    hub, checkpoint, publish, tmp_path, monkeypatch
):
    args = ("weights", checkpoint, "--repo", NAME, "--licence", "apache-2.0", "--sample-steps", 1)
    ran = publish(*args, "--samples", 1, "--yes")
    assert ran.code == 0, ran.err
    card = hub.repo("model", NAME).files()["README.md"].decode()
    assert (
        "from lungsynth import PatchAutoencoderKL" in card
        and "1 = left lung, 2 = right lung" in card
    )
    assert "tokens/left-lung.safetensors" in hub.repo("model", NAME).files()
    [drawn] = run_snippets(hub, tmp_path, card)
    assert drawn.size == (64, 64)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "mask.png")))) <= {0, 1, 2}
    assert publish(*args, "--samples", 1, "--yes", "--json").out.count('"nothing to do"') == 1


def test_lora_names_its_base_inherits_its_licence_and_changes_the_picture(
    hub, sd_folder, lora_folder, publish, tmp_path, monkeypatch
):
    words = "--repo lab/base --licence creativeml-openrail-m --samples 0 --yes".split()
    assert publish("weights", sd_folder, *words).code == 0
    words = f"--repo {NAME} --base lab/base --base-licence creativeml-openrail-m"
    words += " --data kermany=cc-by-4.0 --samples 1 --sample-steps 1 --yes"
    ran = publish("weights", lora_folder, *words.split())
    assert ran.code == 0, ran.err
    files = hub.repo("model", NAME).files()
    assert set(files) == {"README.md", "pytorch_lora_weights.safetensors", "samples/0.png"}
    card = files["README.md"].decode()
    head = front(card)
    assert head["base_model"] == "lab/base" and head["base_model_relation"] == "adapter"
    assert head["license"] == "creativeml-openrail-m" and "lora" in head["tags"]
    assert "medical advice and medical results interpretation" in card
    plain = card.replace("pipe.load_lora_weights", "(lambda *a, **k: None)")
    assert plain != card
    with_lora, without = run_snippets(hub, tmp_path, card, plain)
    assert not np.array_equal(np.asarray(with_lora), np.asarray(without))


def test_a_card_in_the_checkpoint_is_used_as_it_is(hub, sd_folder, publish, tmp_path):
    """What it says stays; what it lacks is added; its links end at home or are words."""
    folder = shutil.copytree(sd_folder, tmp_path / "code" / "models" / "pipeline")
    (tmp_path / "code" / "pyproject.toml").write_text("")
    text = "---\nlicense: apache-2.0\ndatasets: [mine]\n---\n\n# Mine\n\n[how]({}), [web](https://x.y) "
    text += "[in](unet/config.json)\n\n<!-- made:use -->\n{}<!-- /made:use -->\n\nMine too.\n"
    own = text.format("../../docs/TRAINING.md#steps", "old\n")
    (folder / "README.md").write_text(own)
    write_sources(folder, [Source("films", "cc-by-4.0", "CC BY 4.0 (the owner)", n=7)])
    write_figures(folder, [FIGURE])
    words = ("weights", folder, "--repo", NAME, "--sample-steps", 1, "--yes")
    ran = publish(*words, "--samples", 1, "--home", "https://host.example/lab/code/blob/main")
    assert ran.code == 0, ran.err
    assert "links to ../../docs/TRAINING.md" in ran.err
    files = hub.repo("model", NAME).files()
    card = files["README.md"].decode()
    [made] = re.findall(r"made:use -->\n(.*?)<!--", card, re.DOTALL)
    home = "https://host.example/lab/code/blob/main/docs/TRAINING.md#steps"
    body = text.format(home, made).split("---\n", 2)[2]
    assert card.split("---\n", 2)[2].startswith(body) and f'from_pretrained("{NAME}"' in made
    head = front(card)
    assert head["datasets"] == ["mine"] and head["license"] == "apache-2.0"
    assert [one["output"]["url"] for one in head["widget"]] == ["samples/0.png"]
    [result] = head["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.49 and result["task"]["type"] == "text-to-image"
    assert "CC BY 4.0 \\(the owner\\)" in card and "49.0 %" in card and "<Gallery />" in card
    assert (folder / "README.md").read_text() == own and "samples/0.png" in files

    ran = publish(*words, "--samples", 0, "--data", "nih=cc0-1.0", "--steps", 5)
    assert ran.code == 0 and "so this goes into none: --data, --steps." in ran.err
    card = hub.repo("model", NAME).files()["README.md"].decode()
    assert (
        "\nhow, [web](https://x.y) [in](unet/config.json)\n" in card and "<Gallery />" not in card
    )
    links = re.findall(r"\]\(([^)\s]+)\)", card)
    inside = [one for one in links if "://" not in one and not one.startswith("#")]
    assert inside and all((folder / one).is_file() for one in inside)


def test_the_shipped_checkpoint_can_be_published(publish, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    folder = Path(__file__).parents[2] / "lungsynth" / "checkpoints" / "mini"
    out = tmp_path / "out"
    args = ("--repo", NAME, "--samples", 0, "--dry-run", "--json", "--out", out)
    ran = publish("weights", folder, *args)
    assert ran.code == 0, ran.err
    card = (out / "README.md").read_text()
    head = front(card)
    assert "kermany_v7" in head["datasets"] and head["model-index"][0]["results"]
    assert "](../" not in card and "0 of 600" in card and "Hannover Medical School" in card
    assert "unet/diffusion_pytorch_model.safetensors" in json.loads(ran.out)["plan"]["new"]


def test_a_dry_run_writes_the_repository(sd_folder, publish, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    out = tmp_path / "out"
    options = ("--repo", NAME, "--licence", "mit", "--samples", 0, "--dry-run", "--out", out)
    ran = publish("weights", sd_folder, *options)
    assert ran.code == 0, ran.err
    assert (out / "model_index.json").is_file() and front((out / "README.md").read_text())
    (out / "else.txt").write_text("x")
    ran = publish("weights", sd_folder, *options)
    assert ran.code == 1 and "holds else.txt" in ran.err


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("pickle", "a pickle, which can run code"),
        ("foreign", "not a file of a model repository"),
        ("broken", "not a whole safetensors file"),
        ("nothing", "neither model_index.json"),
        ("no folder", "no such folder"),
        ("unet gone", "No such file|no \\*.safetensors weights"),
        ("no licence", "The licence of the weights is not stated"),
        ("licence contradicts", "whose restrictions go with"),
        ("base without licence", "under which"),
        ("own card without licence", "has no `license`"),
        ("evaluation empty", "holds no number"),
        ("bad data", "expected NAME=LICENCE"),
    ],
)
def test_what_cannot_be_published_is_refused(hub, sd_folder, publish, tmp_path, harm, words):
    folder = shutil.copytree(sd_folder, tmp_path / "pipeline")
    options = ["--licence", "mit"]
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if harm == "pickle":
        (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    elif harm == "foreign":
        (folder / "train.py").write_text("x")
    elif harm == "broken":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "nothing":
        (folder / "model_index.json").unlink()
    elif harm == "no folder":
        folder = tmp_path / "none"
    elif harm == "unet gone":
        weights.unlink()
    elif harm == "no licence":
        options = []
    elif harm == "licence contradicts":
        options += ["--base", "a/b", "--base-licence", "creativeml-openrail-m"]
    elif harm == "base without licence":
        options += ["--base", "a/b"]
    elif harm == "own card without licence":
        (folder / "README.md").write_text("---\ntags: []\n---\n")
    elif harm == "evaluation empty":
        (tmp_path / "e.json").write_text('{"a": "b"}')
        options += ["--evaluation", str(tmp_path / "e.json")]
    elif harm == "bad data":
        options += ["--data", "nih"]
    ran = publish("weights", folder, "--repo", NAME, *options, "--samples", 0, "--yes")
    assert ran.code == 1 and re.search(words, ran.err), ran.err
    assert hub.requests == []


def test_evaluations_of_one_name_are_both_published(sd_folder, publish, tmp_path):
    options = ["--repo", NAME, "--licence", "mit", "--samples", 0, "--dry-run"]
    for name, value in (("a", 0.25), ("b", 0.75)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "masks.json").write_text(json.dumps({"iou": value}))
        options += ["--evaluation", tmp_path / name / "masks.json"]
    ran = publish("weights", sd_folder, *options, "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| iou | 0.25 |" in card and "| iou | 0.75 |" in card
    assert "`evaluation/masks.json`" in card and "`evaluation/masks-2.json`" in card
    kept = (tmp_path / "out" / "evaluation" / "masks-2.json").read_bytes()
    assert kept == (tmp_path / "b" / "masks.json").read_bytes()


def test_strange_names_stay_text(sd_folder, publish, tmp_path):
    ran = publish(
        "weights",
        sd_folder,
        "--repo",
        NAME,
        "--licence",
        "mit",
        "--samples",
        0,
        "--dry-run",
        "--data",
        "<script>|x|\n---\nlicense: evil=cc0-1.0",
        "--prompt",
        'a " quote\n```',
        "--out",
        tmp_path / "out",
    )
    assert ran.code == 0, ran.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert front(card)["license"] == "mit" and "<script>" not in card
    [code] = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    compile(code, "card", "exec")
