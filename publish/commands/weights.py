"""`python -m publish weights`."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lungsynth.errors import ConfigError
from publish.commands.sending import current_deadline, hub_options, send

if TYPE_CHECKING:
    from publish.card.model_snippets import ModelFacts
    from publish.hub.weights import Checkpoint


@click.command("weights")
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@click.option("--base", default=None, metavar="ORG/NAME", help="Model it was trained from.")
@click.option("--base-licence", default=None, metavar="ID", help="Such as creativeml-openrail-m.")
@click.option(
    "--licence",
    default=None,
    metavar="ID",
    help="Of the weights.  [default: the base's, where that is inherited]",
)
@click.option(
    "--data", multiple=True, metavar="NAME=LICENCE", help="Trained on; repeat for several."
)
@click.option("--steps", type=click.IntRange(min=1), default=None, help="Of the training.")
@click.option("--training", default="", metavar="TEXT", help="The command that trained it.")
@click.option(
    "--evaluation",
    multiple=True,
    metavar="JSON",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Written by `lungsynth evaluate`; repeat for several.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0, max=16),
    default=2,
    show_default=True,
    help="Pictures drawn for the gallery, seeds 0, 1 …",
)
@click.option(
    "--prompt", "prompts", multiple=True, metavar="TEXT", help="For the samples, in turn."
)
@click.option("--sample-steps", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--home",
    default="",
    metavar="URL",
    help="Where the checkpoint's own card links to, such as https://host/lab/code/blob/main.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    metavar="DIR",
    help="Write the repository here, too.",
)
@click.option(
    "--plain-diffusers",
    "plain",
    is_flag=True,
    help="Bring the class of the autoencoder, for readers without lungsynth: they give "
    "trust_remote_code=True.",
)
@hub_options
def weights_command(
    checkpoint: Path,
    base: str | None,
    base_licence: str | None,
    licence: str | None,
    data: tuple[str, ...],
    steps: int | None,
    training: str,
    evaluation: tuple[Path, ...],
    samples: int,
    prompts: tuple[str, ...],
    sample_steps: int,
    home: str,
    out: Path | None,
    plain: bool,
    repo: str,
    tag: str | None,
    yes: bool,
    dry_run: bool,
    public: bool,
    message: str | None,
    verify: str,
    as_json: bool,
) -> None:
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
    from publish.card.model_snippets import PROMPTS, ModelFacts
    from publish.card.own_card import fill_own_card
    from publish.hub.payload import write_out
    from publish.hub.plain import write_plain
    from publish.hub.push_plan import check_tag
    from publish.hub.repository import check_repo_name
    from publish.hub.weights import check_own_card, payload_of, read_checkpoint

    check_repo_name(repo)
    check_tag(tag)
    found = read_checkpoint(checkpoint)
    facts = ModelFacts(
        repo=repo,
        licence=licence,
        base=base,
        base_licence=base_licence,
        data=tuple(_pair(one) for one in data),
        steps=steps,
        training=training,
        evaluation=evaluation,
        prompts=prompts or PROMPTS,
        plain=plain,
        home=home,
    )
    with ExitStack() as stack:
        generated = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="publish-card-")))
        if plain:
            write_plain(found, generated)
        if found.own_card is not None:
            for warning in check_own_card(found):
                click.echo(f"note: {warning}; it is published as words, or below --home", err=True)
        with current_deadline().paused():
            if found.own_card is not None:
                fill_own_card(found, facts)  # before anything is drawn
                shown = _draw_samples(found, facts, generated, samples, sample_steps)
                card = fill_own_card(found, facts, shown)
                (generated / "README.md").write_text(card, encoding="utf-8")
            else:
                _write_card(found, facts, generated, samples, sample_steps)
        payload = payload_of(found, generated)
        if out is not None:
            write_out(payload, out)
        send(
            payload,
            repo=repo,
            tag=tag,
            yes=yes,
            dry_run=dry_run,
            public=public,
            message=message or (f"Release {tag}" if tag else "Publish weights"),
            verify=verify,
            as_json=as_json,
        )


def _pair(text: str) -> tuple[str, str]:
    name, sign, licence = text.rpartition("=")
    if not (name and sign and licence):
        raise ConfigError(f"--data {text}: expected NAME=LICENCE, such as nih=cc0-1.0.")
    return name, licence


def _write_card(
    checkpoint: Checkpoint, facts: ModelFacts, out: Path, samples: int, steps: int
) -> None:
    """Draw the gallery and write card and evaluation into a folder."""
    from publish.card.model_card import licence_chain, make_model_card, read_report

    licence_chain(facts, is_lora=checkpoint.is_lora)  # before anything is drawn
    for path in facts.evaluation:
        read_report(path)
        (out / "evaluation").mkdir(exist_ok=True)
        shutil.copyfile(path, out / "evaluation" / path.name)
    shown = _draw_samples(checkpoint, facts, out, samples, steps)
    (out / "README.md").write_text(make_model_card(checkpoint, facts, shown), encoding="utf-8")


def _draw_samples(
    checkpoint: Checkpoint, facts: ModelFacts, out: Path, samples: int, steps: int
) -> list[tuple[str, str]]:
    """Draw the gallery into a folder: (prompt, path in the repository) of each picture."""
    from lungsynth.images import png_bytes
    from lungsynth.model.sampling import SampleOptions, draw
    from lungsynth.pipeline import Synthesizer

    if not samples:
        return []
    synthesizer = (
        Synthesizer(facts.base, lora=str(checkpoint.folder))
        if checkpoint.is_lora
        else Synthesizer(str(checkpoint.folder))
    )
    (out / "samples").mkdir()
    shown = []
    for seed in range(samples):
        prompt = facts.prompts[seed % len(facts.prompts)]
        [image] = draw(
            synthesizer.pipe, [prompt], [seed], SampleOptions(steps=steps), capture=False
        ).images
        (out / "samples" / f"{seed}.png").write_bytes(png_bytes(image))
        shown.append((prompt, f"samples/{seed}.png"))
    return shown
