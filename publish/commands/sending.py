"""`python -m publish push`, `weights` and `space`: their options, and those of all that send."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lungsynth.model.options import argument, option


@dataclass(frozen=True, kw_only=True)
class SendOptions:
    """What every command has that sends something to the Hub."""

    repo: str = option(metavar="ORG/NAME", help="Repository on the Hub.")
    tag: str | None = option(
        default=None, metavar="vX.Y.Z", help="Tag of the verified commit; never moved."
    )
    yes: bool = option(help="Do it. Without it the plan is printed only.")
    dry_run: bool = option(help="Check the files and print them; ask the Hub nothing.")
    public: bool = option(help="A repository that is made is public.  [default: private]")
    message: str | None = option(default=None, metavar="TEXT", help="Of the commit.")
    deadline: float = option(
        default=240,
        min=0.1,
        metavar="MINUTES",
        help="When to give up on the Hub, whatever it does; drawing does not count.",
    )
    verify: str = option(
        default="full",
        choices=("full", "tree"),
        help="Read everything back, or compare names and hashes.",
    )
    as_json: bool = option("--json", help="Machine-readable.")

    MORE_HELP: ClassVar = """
    \b
    Exit codes: 0 done, planned, or nothing to do; 1 the folder cannot be published as it is;
    2 wrong options; 3 no token, or it may not write; 4 the tag exists, on other files;
    5 the Hub is down, busy or too slow; 6 somebody else changed the same files meanwhile;
    7 what came back is not what was sent, nothing is tagged; 130 interrupted.
    """


@dataclass(frozen=True, kw_only=True)
class PushCommand(SendOptions):
    """Publish a built dataset: one commit, read back, then tagged.

    \b
    python -m publish push dist/ --repo lab/synthetic-cxr                       the plan
    python -m publish push dist/ --repo lab/synthetic-cxr --tag v1.0.0 --yes    do it

    Shards are uploaded one by one, then all files change in one commit, stale data files included;
    the commit is downloaded and loaded again, plain and streaming, and only then tagged. Whatever
    goes wrong, main holds the old files or the new ones; the same command goes on.

    First the folder is checked as by `publish check`, which does not count for the deadline. A failed
    check ends with exit code 8: nothing is pushed then.

    The token is that of `hf auth login` or HF_TOKEN. HF_ENDPOINT names another server;
    HF_HUB_DISABLE_XET=1 uploads by LFS.
    """

    dist: Path = argument(path="dir")


@dataclass(frozen=True, kw_only=True)
class WeightsCommand(SendOptions):
    """Publish a checkpoint: diffusers layout or LoRA, safetensors only, with its card.

    \b
    python -m publish weights runs/sd/pipeline --repo lab/cxr --licence apache-2.0
    python -m publish weights runs/lora/lora --repo lab/cxr-lora --base ORG/SD15 \\
        --base-licence creativeml-openrail-m --data nih=cc0-1.0 --steps 4000 \\
        --evaluation fidelity.json --tag v1.0.0 --yes

    A README.md in the checkpoint is its card; what stands between its lines `<!-- made:use -->` and
    `<!-- /made:use -->` is replaced by code that loads this repository. Sources and measured figures,
    which the checkpoint keeps, and pictures it draws are added. Without one, a card is written from
    these options.
    """

    checkpoint: Path = argument(path="dir")
    base: str | None = option(default=None, metavar="ORG/NAME", help="Model it was trained from.")
    base_licence: str | None = option(
        default=None, metavar="ID", help="Such as creativeml-openrail-m."
    )
    licence: str | None = option(
        default=None,
        metavar="ID",
        help="Of the weights.  [default: the base's, where that is inherited]",
    )
    data: tuple[str, ...] = option(metavar="NAME=LICENCE", help="Trained on; repeat for several.")
    steps: int | None = option(default=None, min=1, help="Of the training.")
    training: str = option(default="", metavar="TEXT", help="The command that trained it.")
    evaluation: tuple[Path, ...] = option(
        path="file",
        exists=True,
        metavar="JSON",
        help="Written by `lungsynth evaluate`; repeat for several.",
    )
    samples: int = option(
        default=2, min=0, max=16, help="Pictures drawn for the gallery, seeds 0, 1 …"
    )
    prompts: tuple[str, ...] = option("--prompt", metavar="TEXT", help="For the samples, in turn.")
    sample_steps: int = option(default=20, min=1)
    home: str = option(
        default="",
        metavar="URL",
        help="Where the checkpoint's own card links to, such as https://host/lab/code/blob/main.",
    )
    out: Path | None = option(
        default=None, path="dir", metavar="DIR", help="Write the repository here, too."
    )
    plain: bool = option(
        "--plain-diffusers",
        help="Bring the class of the autoencoder, for readers without lungsynth: they give "
        "trust_remote_code=True.",
    )


@dataclass(frozen=True, kw_only=True)
class SpaceCommand(SendOptions):
    """Publish the page as a Space: what it imports, its checkpoint, its pins; one commit.

    \b
    python -m publish space --repo lab/cxr --hardware zero --dry-run --out space-zero/
    python -m publish space --repo lab/cxr --hardware cpu-basic --yes

    A ZeroGPU Space takes certain versions of torch only; a CPU Space takes wheels without CUDA.
    """

    hardware: str = option(
        default="cpu-basic", choices=("cpu-basic", "zero"), help="What the pins are for."
    )
    out: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="Write the Space here; kept. With --dry-run, nothing else is done.",
    )
