"""`python -m lungsynth train student` and `train affinity`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lungsynth.cli.options import precision_option, with_options
from lungsynth.cli.train import _given, resolve_device

LOOP_OPTIONS = [
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        required=True,
        metavar="DIR",
        help="Checkpoint whose class tokens label the films.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="Run folder. The same command again resumes.",
    ),
    click.option(
        "--split",
        default="train",
        show_default=True,
        metavar="NAME",
        help="Value of the `split` column to train on; '' takes every row.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=600,
        show_default=True,
        metavar="N",
        help="At most N films of each --data.",
    ),
    click.option("--steps", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--batch-size", type=click.IntRange(min=1), default=None, metavar="N"),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=None),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    precision_option("the network"),
    click.option(
        "--max-minutes",
        type=click.FloatRange(min=0),
        default=None,
        help="Stop, resumable, after so long.",
    ),
    click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …"),
    click.option("--install", is_flag=True, help="Copy the result into the checkpoint."),
    click.option("--quiet", is_flag=True, help="No progress bar."),
]


def cached(path: Path, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Arrays and a JSON `about` made once and kept beside the run, so that resuming is quick.

    Raises:
        ConfigError: the folder holds films gathered with other options.
    """
    import numpy as np

    from lungsynth.errors import ConfigError

    if path.exists():
        with np.load(path) as stored:
            arrays = dict(stored)
        about = json.loads(str(arrays.pop("about")))
        if about["key"] != json.loads(json.dumps(key)):
            raise ConfigError(
                f"{path} was made with other options. Use another --out, or delete it."
            )
        return {**arrays, **about}
    made = make()
    arrays = {k: v for k, v in made.items() if isinstance(v, np.ndarray)}
    about = {"key": key, **{k: v for k, v in made.items() if k not in arrays}}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp.npz")
    np.savez(temporary, about=np.array(json.dumps(about)), **arrays)
    temporary.replace(path)
    return {**arrays, **about}


def install(folder: Path, checkpoint: Path, name: str) -> Path:
    """Copy a trained part into a checkpoint, in place of an older one."""
    import shutil

    target = checkpoint / name
    temporary = checkpoint / f".{name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
    return target


@click.command("student")
@with_options(LOOP_OPTIONS)
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    help="Films without masks, to be labelled by the chain; repeat for several.",
)
@click.option(
    "--annotated",
    metavar="[CONVENTION=]SOURCE[@K]",
    multiple=True,
    help="Films with expert masks, all or K of them; repeat for several.",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    metavar="DIR",
    help="An earlier student that labels beside the tokens.",
)
@click.option(
    "--teacher-weight",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="What the teacher counts beside the tokens.",
)
def train_student_command(
    checkpoint: Path,
    out: Path,
    split: str,
    limit: int,
    seed: int,
    max_minutes: float | None,
    threads: int | None,
    device: str,
    install: bool,
    quiet: bool,
    sources: tuple[str, ...],
    annotated: tuple[str, ...],
    teacher: Path | None,
    teacher_weight: float,
    **given: Any,
) -> None:
    """Train a small network on the masks the chain makes of many films.

    \b
    python -m lungsynth train student --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/student --install
    python -m lungsynth train student --annotated masks.parquet@24 --data films.parquet …
    """
    import torch

    from lungsynth.masks.classes import load_classes
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.masks.student import STUDENT_FOLDER, load_student
    from lungsynth.pipeline import Synthesizer
    from lungsynth.training.mask_films import Annotated, gather
    from lungsynth.training.student import StudentOptions, train_student

    options = _given(StudentOptions(seed=seed), {**given, "max_minutes": max_minutes})
    if threads:
        torch.set_num_threads(threads)
    chosen = resolve_device(device)
    parsed = [Annotated.parse(text) for text in annotated]
    synthesizer = Synthesizer(str(checkpoint), device=chosen)
    synthesizer.student = load_student(teacher).to(chosen) if teacher else None

    def make() -> dict[str, Any]:
        films = gather(
            synthesizer,
            lambda name: load_classes(checkpoint, name or None),
            parsed,
            sources,
            split=split or None,
            limit=limit,
            seed=seed,
            quiet=quiet,
            config=RefineConfig(student_weight=teacher_weight),
        )
        return asdict(films)

    key = {
        "annotated": annotated,
        "sources": sources,
        "split": split,
        "limit": limit,
        "seed": seed,
        "teacher": str(teacher or ""),
        "teacher_weight": teacher_weight,
    }
    films = cached(out / "films.npz", key, make)
    click.echo(
        f"{films['n_annotated']} films with expert masks, "
        f"{len(films['images']) - films['n_annotated']} labelled by the chain",
        err=True,
    )
    model = train_student(
        films["images"],
        films["targets"],
        films["outputs"],
        out,
        options,
        weights=films["weights"],
        info={"annotated": ",".join(films["annotated_ids"])},
        device=chosen,
        quiet=quiet,
    )
    _end(model is not None, out / STUDENT_FOLDER, checkpoint, do_install=install)


@click.command("affinity")
@with_options(LOOP_OPTIONS)
@click.option(
    "--data",
    "sources",
    metavar="SOURCE",
    multiple=True,
    required=True,
    help="Films; their masks, if they have any, are not read. Repeat for several.",
)
@click.option("--classes", default=None, metavar="NAME", help="Convention of the classes.")
@click.option(
    "--student-weight",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="What the checkpoint's student counts in the maps that label; 0 = attention and CRF alone.",
)
def train_affinity_command(
    checkpoint: Path,
    out: Path,
    split: str,
    limit: int,
    seed: int,
    max_minutes: float | None,
    threads: int | None,
    device: str,
    install: bool,
    quiet: bool,
    sources: tuple[str, ...],
    classes: str | None,
    student_weight: float,
    **given: Any,
) -> None:
    """Train AffinityNet, without pixel labels, on places attention and CRF alone are certain of.

    \b
    python -m lungsynth train affinity --data films.parquet --checkpoint runs/diffusion/pipeline \\
        --out runs/affinity --install
    """
    import numpy as np
    import torch

    from lungsynth.masks.affinity import AFFINITY_FOLDER
    from lungsynth.masks.classes import classes_path
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.model.backbone import side_pixels
    from lungsynth.pipeline import Synthesizer
    from lungsynth.training.affinity import AffinityOptions, make_labels, train_affinity
    from lungsynth.training.mask_films import film_probabilities, read_films

    options = _given(AffinityOptions(seed=seed), {**given, "max_minutes": max_minutes})
    if threads:
        torch.set_num_threads(threads)
    chosen = resolve_device(device)
    synthesizer = Synthesizer(str(checkpoint), device=chosen, classes=classes)
    config = RefineConfig(student_weight=student_weight)

    def make() -> dict[str, Any]:
        pixels = side_pixels(synthesizer.pipe)
        rng = np.random.default_rng(seed)
        films = [
            film
            for source in sources
            for film in read_films(source, pixels=pixels, split=split or None, limit=limit, rng=rng)
        ]
        found = film_probabilities(
            synthesizer, films, [synthesizer.classes], config=config, seed=seed, quiet=quiet
        )
        labels = [
            make_labels(p, image, crf=config.crf) for image, (p,) in zip(films, found, strict=True)
        ]
        return {"images": np.stack(films), "labels": np.stack(labels)}

    key = {
        "sources": sources,
        "split": split,
        "limit": limit,
        "seed": seed,
        "classes": classes,
        "student_weight": student_weight,
    }
    films = cached(out / "films.npz", key, make)
    certain = float((films["labels"] != 255).mean())
    click.echo(f"{len(films['images'])} films, {certain:.1%} of their places certain", err=True)
    model = train_affinity(
        films["images"],
        films["labels"],
        out,
        options,
        classes=[spec.output for spec in synthesizer.classes],
        info={
            "labels": "attention and crf" + (", with the student" if student_weight else ""),
            "student_weight": f"{student_weight:g}",
        },
        device=chosen,
        quiet=quiet,
    )
    second = classes is not None and classes_path(checkpoint, classes).is_file()
    _end(
        model is not None,
        out / AFFINITY_FOLDER,
        checkpoint,
        do_install=install,
        name=f"{AFFINITY_FOLDER}-{classes}" if second else None,
    )


def _end(
    done: bool, folder: Path, checkpoint: Path, *, do_install: bool, name: str | None = None
) -> None:
    click.echo(
        f"{folder}: {'complete' if done else 'stopped, run the same command to resume'}", err=True
    )
    if done and do_install:
        click.echo(f"{install(folder, checkpoint, name or folder.name)}: installed", err=True)
