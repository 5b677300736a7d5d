"""`python -m lungsynth sample`, `words` and `doctor`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import Drawing, Verifying, set_option
from lungsynth.model.options import argument, option


@dataclass(frozen=True, kw_only=True)
class SampleCommand(Verifying, Drawing):
    """Draw X-rays from prompts, with attention maps and masks.

    \b
    python -m lungsynth sample "Frontal chest X-ray of a 60-year-old man with pneumonia" \\
        --seed 7 -n 4 --out out/

    Per picture: image.png, map_WORD.png, coarse.png, mask.png, overlay.png, record.json.
    Same seed and options, same bytes. Folders are printed on stdout as they are finished.
    """

    prompts: tuple[str, ...] = argument(metavar="PROMPT…")
    out: Path = option(
        default=Path("out"), path="dir", metavar="DIR", help="One folder a picture is made in here."
    )
    seed: int = option(
        default=0, min=0, max=2**63 - 1, help="Seed of the first picture; the others count up."
    )
    n: int = option("-n", "--n", default=1, min=1, max=10000, help="Pictures a prompt.")
    height: int | None = option(default=None, help="Pixels.  [default: the checkpoint's]")
    width: int | None = option(default=None, help="Pixels.  [default: the checkpoint's]")
    words: tuple[str, ...] = option(
        "--word",
        metavar="WORD",
        help="Word or phrase of the prompt to map; repeat.  [default: its content words]",
    )
    model: str | None = option(
        default=None,
        metavar="NAME|DIR|HUB_ID",
        help="Any Stable Diffusion 1.x/2.x checkpoint.  [default: mini, shipped]",
    )
    lora: str | None = option(default=None, metavar="DIR|FILE|HUB_ID", help="LoRA weights to add.")
    method: str = option(
        "--refine",
        default="crf",
        refinements=True,
        metavar="NAME",
        help="How the coarse mask is refined: NAMES.",
    )
    refine_values: tuple[str, ...] = set_option()
    classes: str | None = option(
        default=None,
        metavar="NAME",
        help="Convention of the masks.  [default: the checkpoint's first]",
    )
    batch_size: int = option(default=1, min=1, help="Pictures drawn together.")
    threads: int | None = option(default=None, min=1, help="CPU threads.")
    device: str = option(default="auto", help="auto, cpu, cuda …")
    quiet: bool = option(help="No progress bar, no word report.")


@dataclass(frozen=True, kw_only=True)
class WordsCommand:
    """Say which words of PROMPT a checkpoint has learnt (JSON)."""

    prompt: str = argument()
    model: str | None = option(default=None, metavar="NAME|DIR", help="[default: mini, shipped]")


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Print versions, devices, checkpoint, memory, and what is wrong with them.

    Exit code 1 when something is wrong.
    """

    model: str | None = option(default=None, metavar="NAME|DIR", help="[default: mini, shipped]")
    as_json: bool = option("--json", help="Machine-readable.")


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """One page of every figure below a folder, each with its plot, command, n, seeds and intervals.

    Takes the JSON of `evaluate` downstream, masks, fidelity, obedience, sides, memorisation,
    neighbours and reconstruction, at any depth. The HTML page needs no other file.

    \b
    python -m lungsynth report runs/eval
    python -m lungsynth report runs/masks --keep docs/results
    python -m lungsynth report docs/results --into docs/RESULTS.md
    python -m lungsynth report docs/results --checkpoint lungsynth/checkpoints/mini

    A block of --into stands between <!-- figures: masks-shenzhen --> and <!-- end figures -->, each
    on its own line. After "figures:" come names of kept results; several of masks are set side by
    side; "targets NAME …" shows headline figures beside their targets, "plot NAME" the plot.
    """

    folder: Path = argument(path="dir", metavar="DIR")
    out: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="Where report.html and report.md go.  [default: DIR]",
    )
    kept: Path | None = option(
        "--keep",
        default=None,
        path="dir",
        metavar="DIR",
        help="No page: small copies of the results, such as masks-NAME.json, without film-by-film "
        "lists.",
    )
    into: Path | None = option(
        default=None,
        path="file",
        metavar="FILE.md",
        help="No page: fill this file's blocks from the kept results in DIR; other text stays.",
    )
    checkpoint: Path | None = option(
        default=None,
        path="dir",
        metavar="DIR",
        help="No page: write obedience, masks and copies of the kept results in DIR into "
        "figures.json of this checkpoint, for the cards of all it draws.",
    )
