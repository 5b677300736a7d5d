"""`python -m lungsynth evaluate hearing`, `words`, `changes` and `sides`: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.cli.options import Asking, Drawing, Encoded, RealFilms
from lungsynth.model.options import PRECISION_HELP, PRECISION_NAMES, option


@dataclass(frozen=True, kw_only=True)
class HearingCommand(Asking, RealFilms):
    """Does the network hear the prompt? Loss on real films, right caption against a wrong one.

    The wrong caption differs in one fact: sex, view, finding, age by 30 years, or side. The share of
    films whose right caption has the lower loss is told for each fact; 50 % is chance.

    \b
    python -m lungsynth evaluate hearing --data nih.parquet --data kermany.parquet --out out/hearing
    python -m lungsynth evaluate hearing … --checkpoint runs/diffusion/pipeline --per-fact 60
    """

    precision: str = option(
        default="auto", choices=PRECISION_NAMES, help=PRECISION_HELP.format("the denoising network")
    )
    per_fact: int | None = option(
        default=None,
        min=2,
        metavar="N",
        help="At most N films a fact, half of either truth.  [default: all]",
    )
    timesteps: str = option(
        default="400,600,750,900", metavar="T,T…", help="Where films are noised."
    )
    n_seeds: int = option(
        "--noises", default=2, min=1, metavar="N", help="Noises a film and timestep."
    )
    batch_size: int = option(default=32, min=1, help="Passes at a time.")


@dataclass(frozen=True, kw_only=True)
class WordsMapsCommand(Drawing, Asking, RealFilms):
    """Do words look where they should? Maps of plain words, in the attention that draws.

    On real films (noised, one pass) against experts' masks and boxes of findings; on samples against
    their own masks. AUC, IoU at the best level, energy inside ÷ share of area, pointing game, each
    beside what the mean of other films' maps, of other films' regions, and a blob in the middle get.

    \b
    python -m lungsynth evaluate words --data kermany.parquet --data shenzhen.parquet \\
        --boxes boxes.parquet --out out/words
    """

    boxes: str | None = option(
        default=None,
        metavar="PARQUET",
        help="Boxes of findings, a row each: id, image, width, height, box = [x1, y1, x2, y2].",
    )
    outlines: Path | None = option(
        default=None,
        path="dir",
        exists=True,
        metavar="DIR",
        help="Films outlined by hand, such as examples/annotations/held-out; named by their ids.",
    )
    limit: int = option(
        default=100,
        min=1,
        metavar="N",
        help="At most N films of a mask convention, drawn with the seed.",
    )
    timesteps: str = option(
        default="300,500,700",
        metavar="T,T…",
        help="Where films are noised; maps of the passes are averaged.",
    )
    finding_words: tuple[str, ...] = option(
        "--finding-word",
        default=("pneumonia", "opacity", "consolidation", "infiltration"),
        metavar="WORD",
        help="Compared with the boxes; repeat.",
    )
    n_samples: int = option(
        "--samples",
        default=24,
        min=0,
        metavar="N",
        help="Pictures drawn and compared with their own masks; 0 = none.",
    )
    classes: str | None = option(
        default=None, metavar="NAME", help="Convention of the samples' masks."
    )
    into_checkpoint: bool = option(
        help="Also write words.json into the checkpoint, for the page and the cards."
    )


@dataclass(frozen=True, kw_only=True)
class ChangesCommand(Drawing, Asking, Encoded, RealFilms):
    """Same seed, one word changed: AUC of the encoder between the two pictures.

    Man for woman, normal for pneumonia (adults, children), PA for AP. 0.5 is chance.

    \b
    python -m lungsynth evaluate changes --data nih.parquet --data kermany.parquet --out out/changes
    """

    sources: tuple[str, ...] = option(
        "--data",
        metavar="SOURCE",
        help="Real test films, for what the judge reaches there; repeat for several.",
    )
    n_pairs: int = option(
        "--pairs",
        default=24,
        min=2,
        metavar="N",
        help="Pairs of each change; a pair is two pictures.",
    )
    batch_size: int = option(default=8, min=1, help="Pictures drawn together.")


@dataclass(frozen=True, kw_only=True)
class SidesCommand(Drawing):
    """Is the side obeyed? Pairs of prompts equal but for left and right, drawn with one seed.

    Prints the share of pairs that differ at all, and the share whose asked lung changes: 50 % is
    chance.

    \b
    python -m lungsynth evaluate sides --out runs/sides
    python -m lungsynth evaluate sides --out runs/effusion --prompt 'Chest X-ray, {side} effusion'
    """

    out: Path = option(
        path="dir",
        metavar="DIR",
        help="Pictures, sides.json and sides.png. The same command again resumes.",
    )
    n_pairs: int = option(
        "--pairs", default=40, min=4, metavar="N", help="Pairs of prompts; each is three pictures."
    )
    model: str | None = option(
        default=None, metavar="NAME|DIR|HUB_ID", help="[default: the shipped one]"
    )
    classes: str | None = option(
        default=None,
        metavar="NAME",
        help="Convention of the lung masks.  [default: the checkpoint's first]",
    )
    prompts: tuple[str, ...] = option(
        "--prompt",
        metavar="TEXT",
        help="With {side} in it; repeat for several.  [default: eight of training style]",
    )
    normal_prompt: str = option(
        default="Frontal chest X-ray. Normal.",
        metavar="TEXT",
        help="What --prompt is compared with.",
    )
    seed: int = option(default=0, min=0, help="Pair k is drawn with seed + k.")
    batch_size: int = option(default=6, min=3, help="Pictures drawn together.")
    quiet: bool = option(help="No progress bar.")
