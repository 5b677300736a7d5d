"""`python -m lungsynth evaluate reconstruction` and `evaluate sheet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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


@click.command("reconstruction")
@click.option("--data", "sources", multiple=True, required=True, metavar="SOURCE")
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID", help="Whose autoencoder.")
@click.option(
    "--vae",
    "vae_folder",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="An autoencoder of `train vae` instead.",
)
@click.option("--adults/--all", default=True, show_default=True, help="Which test films.")
@click.option(
    "--rival-on",
    type=click.Choice(["same", "all"]),
    default="same",
    show_default=True,
    help="Train films PCA is fitted on: those like the test films, or all.",
)
@click.option("--image-column", default="image", show_default=True, metavar="NAME")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="DIR"
)
def reconstruction_command(
    sources: tuple[str, ...],
    model: str | None,
    vae_folder: Path | None,
    adults: bool,
    rival_on: str,
    image_column: str,
    out: Path | None,
) -> None:
    """PSNR of the autoencoder on real test films, beside PCA of the same compression.

    PCA is fitted on patches of the train split: 16x16 patches with as many components as the
    autoencoder has channels.
    """
    import numpy as np
    import torch

    from lungsynth.cli.train import load_vae
    from lungsynth.errors import DataError
    from lungsynth.evaluation.common import write_report
    from lungsynth.films.data import read_records
    from lungsynth.films.framing import whole
    from lungsynth.model.checkpoint import load_pipeline
    from lungsynth.training.captions import is_child
    from lungsynth.training.vae import linear_rival, psnr, to_unit

    vae = load_vae(vae_folder) if vae_folder else load_pipeline(model)[0].vae
    pixels, stride = int(vae.config.sample_size), 2 ** (len(vae.config.block_out_channels) - 1)

    def films(split: str, limit: int | None, grown: bool = adults) -> list[Any]:
        rows = []
        for source in sources:
            for record in read_records(
                source, image_column=image_column, text_column=None, split=split, limit=limit
            ):
                if not (grown and is_child(record.fields)):
                    rows.append(whole(record.image, pixels=pixels))
        if not rows:
            raise DataError(
                f"{', '.join(sources)}: no film in split {split!r}; --all counts children too."
            )
        return rows

    test, train = (
        np.stack(films("test", None)),
        np.stack(films("train", 800, adults and rival_on == "same")),
    )
    x = to_unit(test)
    channels = int(vae.config.in_channels)
    with torch.inference_mode():
        back = torch.cat(
            [
                vae.decode(
                    vae.encode(part.expand(-1, channels, -1, -1)).latent_dist.mode(),
                    return_dict=False,
                )[0].mean(1, keepdim=True)
                for part in x.split(8)
            ]
        )
    ours = psnr(x, back)
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
    if out:
        write_report(figures, out / "reconstruction.json")


@click.command("sheet")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="PNG"
)
@click.option("--model", default=None, metavar="NAME|DIR|HUB_ID")
@click.option("--seeds", type=click.IntRange(min=1, max=32), default=8, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first.")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="[default: eight]")
@click.option("--steps", type=click.IntRange(min=1, max=1000), default=20, show_default=True)
@click.option(
    "--guidance", type=click.FloatRange(min=1.0, max=50.0), default=1.5, show_default=True
)
@click.option("--masks", is_flag=True, help="With the refined masks drawn in.")
def sheet_command(
    out: Path,
    model: str | None,
    seeds: int,
    seed: int,
    prompts: tuple[str, ...],
    steps: int,
    guidance: float,
    masks: bool,
) -> None:
    """A contact sheet: a row a prompt, a column a seed. Nothing is picked."""
    from PIL import Image

    from lungsynth.contact import contact_sheet
    from lungsynth.images import overlay
    from lungsynth.model.sampling import SampleOptions, draw
    from lungsynth.pipeline import Synthesizer

    texts = [p for p in (prompts or SHEET_PROMPTS) for _ in range(seeds)]
    numbers = [seed + k for _ in (prompts or SHEET_PROMPTS) for k in range(seeds)]
    synthesizer = Synthesizer(model)
    options = SampleOptions(steps=steps, guidance=guidance)
    pictures: list[Image.Image] = []
    if masks:
        for result in synthesizer.generate(texts, numbers, options=options, words=[], batch_size=8):
            pictures.append(Image.fromarray(overlay(result.image, result.mask)))
    else:
        for start in range(0, len(texts), 8):
            drawn = draw(
                synthesizer.pipe,
                texts[start : start + 8],
                numbers[start : start + 8],
                options,
                capture=False,
            )
            pictures += [Image.fromarray(image) for image in drawn.images]
    labels = [t if k % seeds == 0 else f"seed {numbers[k]}" for k, t in enumerate(texts)]
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures, labels, n_columns=seeds, pixels=192).save(out)
    click.echo(str(out))
