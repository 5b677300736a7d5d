"""`python -m lungsynth evaluate reconstruction`, `sheet`, `draw` and `film-check`: what they do."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lungsynth.arrays import UInt8Array
from lungsynth.cli.evaluate.model import (
    DrawCommand,
    FilmCheckCommand,
    ReconstructionCommand,
    SheetCommand,
)
from lungsynth.cli.run.train import load_vae
from lungsynth.errors import ConfigError, DataError
from lungsynth.evaluation.common import read_films
from lungsynth.evaluation.drawing import balanced_prompts, draw_images, draw_set
from lungsynth.evaluation.film_check import (
    measure_films,
    measure_others,
    other_pictures,
    read_test_films,
    report,
    totals,
)
from lungsynth.evaluation.reports import write_report, write_sheet
from lungsynth.evaluation.words.facts import asked_of
from lungsynth.files import check_writable
from lungsynth.films.data import read_records
from lungsynth.films.framing import whole
from lungsynth.images import contact_sheet, overlay
from lungsynth.masks.affinity import to_input
from lungsynth.model.checkpoint import load_pipeline
from lungsynth.pipeline import Synthesizer
from lungsynth.training.captions import is_child
from lungsynth.training.film_check.no_films import (
    folder_pictures,
    packaged_pictures,
    split_pictures,
)
from lungsynth.training.vae import linear_rival, psnr

SHEET_PROMPTS = (
    "Frontal PA chest X-ray of a 60-year-old man. Normal.",
    "Frontal PA chest X-ray of a 35-year-old woman, clear lungs",
    "Frontal AP chest X-ray of a 70-year-old man with pneumonia",
    "Frontal chest X-ray of a 60-year-old man with pneumonia in the right lower lung",
    "Frontal AP chest X-ray of a young child. Normal.",
    "Frontal AP chest X-ray of a young child with pneumonia",
    "AP chest X-ray of a male patient with COVID-19 pneumonia",
    "PA chest X-ray of a 44-year-old woman, pulmonary tuberculosis in the right upper field",
)


def _squares(
    command: ReconstructionCommand, pixels: int, split: str, *, limit: int | None, grown: bool
) -> UInt8Array:
    """(N, P, P) films of a split, adults alone where `grown`.

    Raises:
        DataError: there is none.
    """
    rows = [
        whole(record.image, pixels=pixels)
        for source in command.sources
        for record in read_records(
            source, image_column=command.image_column, text_column=None, split=split, limit=limit
        )
        if not (grown and is_child(record.fields))
    ]
    if not rows:
        raise DataError(
            f"{', '.join(command.sources)}: no film in split {split!r}; --all counts children too."
        )
    return np.stack(rows)


def _reconstructed(vae: Any, x: Tensor) -> Tensor:
    """(N, 1, P, P) encoded and decoded, colour channels averaged."""
    channels = int(vae.config.in_channels)
    parts = []
    with torch.inference_mode():
        for part in x.split(8):
            latents = vae.encode(part.expand(-1, channels, -1, -1)).latent_dist.mode()
            parts.append(vae.decode(latents, return_dict=False)[0].mean(1, keepdim=True))
    return torch.cat(parts)


def run_reconstruction(command: ReconstructionCommand) -> None:
    """PSNR of the autoencoder on real test films, beside PCA of the same compression."""
    vae = (
        load_vae(command.vae_folder) if command.vae_folder else load_pipeline(command.model)[0].vae
    )
    pixels, stride = int(vae.config.sample_size), 2 ** (len(vae.config.block_out_channels) - 1)
    test = _squares(command, pixels, "test", limit=None, grown=command.adults)
    same = command.adults and command.rival_on == "same"
    train = _squares(command, pixels, "train", limit=800, grown=same)
    x = to_input(test)
    ours = psnr(x, _reconstructed(vae, x))
    rival = linear_rival(train, test, int(vae.config.latent_channels), stride)
    gain = ours - rival
    rng = np.random.default_rng(0)
    boot = gain.numpy()[rng.integers(0, len(gain), (1000, len(gain)))].mean(1)
    low, high = np.percentile(boot, [2.5, 97.5])
    figures = {
        "n": len(test),
        "psnr": float(ours.mean()),
        "pca_psnr": float(rival.mean()),
        "gain": float(gain.mean()),
        "gain_low": float(low),
        "gain_high": float(high),
        "worst": float(ours.min()),
    }
    click.echo(
        f"{len(test)} test films at {pixels} px: autoencoder {figures['psnr']:.2f} dB, "
        f"PCA {figures['pca_psnr']:.2f} dB, gain {figures['gain']:.2f} "
        f"[{low:.2f}, {high:.2f}] dB, worst film {figures['worst']:.2f} dB"
    )
    if command.out:
        write_report(figures, command.out / "reconstruction.json")


def run_sheet(command: SheetCommand) -> None:
    """A contact sheet: a row a prompt, a column a seed. Nothing is picked."""
    if command.out.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(
            f"--out {command.out}: expected the name of a picture, such as sheet.png."
        )
    check_writable(command.out.parent)
    texts = [p for p in (command.prompts or SHEET_PROMPTS) for _ in range(command.seeds)]
    numbers = [
        command.seed + k for _ in (command.prompts or SHEET_PROMPTS) for k in range(command.seeds)
    ]
    synthesizer = Synthesizer(command.model)
    options = command.drawing()
    pictures: list[Image.Image] = []
    if command.masks:
        for result in synthesizer.generate(texts, numbers, options=options, words=[], batch_size=8):
            pictures.append(Image.fromarray(overlay(result.image, result.mask)))
    else:
        drawn = draw_images(synthesizer.pipe, texts, numbers, options, 8)
        pictures = [Image.fromarray(image) for image in drawn]
    labels = [t if k % command.seeds == 0 else f"seed {numbers[k]}" for k, t in enumerate(texts)]
    write_sheet(contact_sheet(pictures, labels, n_columns=command.seeds, pixels=192), command.out)
    click.echo(str(command.out))


def run_draw(command: DrawCommand) -> None:
    """Draw a balanced set of samples with what each prompt asked for. Resumes."""
    options = command.drawing()
    rejection = command.rejection(command.model)
    if command.captions_of:
        films = read_films(
            command.captions_of,
            split=command.split or None,
            limit=command.n,
            seed=command.seed,
            quiet=command.quiet,
        )
        asked = [asked_of(fields) for fields in films.fields]
    else:
        asked = balanced_prompts(command.n)
    drawn = draw_set(
        Synthesizer(command.model),
        command.out,
        asked,
        options=options,
        seed=command.seed,
        batch=command.batch_size,
        quiet=command.quiet,
        rejection=rejection,
    )
    for _ in drawn:
        pass
    if rejection is not None:
        click.echo(f"verifier {rejection.verifier.name}: {rejection.tally.sentence()}", err=True)
    click.echo(str(command.out))


def run_film_check(command: FilmCheckCommand) -> None:
    """Count how often the film check is wrong, both ways: false alarms and what it misses."""
    check_writable(command.out)
    films = read_test_films(
        command.sources, split=command.split or None, limit=command.limit, seed=command.seed
    )
    held = split_pictures(packaged_pictures())[1]
    for one in command.folders:
        held |= folder_pictures(one)
    sets = measure_films(films, n_moved=command.n_moved, folder=command.folder, quiet=command.quiet)
    every = [image for some in films.values() for image in some]
    others = measure_others(
        other_pictures(held, every, n=command.n_other, seed=command.seed), folder=command.folder
    )
    write_report(
        {
            "films": sets,
            "all_films": totals(sets),
            "others": others,
            "split": command.split,
            "seed": command.seed,
        },
        command.out / "film-check.json",
    )
    click.echo(report(sets, others), nl=False)
