"""`python -m lungsynth train student`, `affinity`, `trust` and `film-check`: what they do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
import numpy as np

from lungsynth.about.sources import sources_of_data, write_sources
from lungsynth.arrays import IGNORE, UInt8Array
from lungsynth.cli.run.train import given, say_state
from lungsynth.cli.train_masks import (
    TrainAffinityCommand,
    TrainFilmCheckCommand,
    TrainStudentCommand,
    TrainTrustCommand,
)
from lungsynth.errors import ConfigError
from lungsynth.files import check_writable
from lungsynth.masks.affinity import AFFINITY_FOLDER, AffinityNet
from lungsynth.masks.classes import classes_path, load_classes
from lungsynth.masks.fusion import area_mean
from lungsynth.masks.refine import RefineConfig
from lungsynth.masks.student import STUDENT_FOLDER, load_student
from lungsynth.model.backbone import side_pixels
from lungsynth.model.precision import resolve_device
from lungsynth.model.tensor_files import write_folder
from lungsynth.pipeline import Synthesizer
from lungsynth.training.affinity import (
    AffinityOptions,
    make_labels,
    train_affinity,
    walked_labels,
)
from lungsynth.training.film_check.data import gather_pictures
from lungsynth.training.film_check.train import FOLDER, FilmCheckOptions, train_film_check
from lungsynth.training.mask_films import Annotated, Sources, film_probabilities, gather, read_films
from lungsynth.training.student import (
    TARGET_STRIDE,
    MaskFilms,
    StudentOptions,
    train_student,
)
from lungsynth.training.trust.films import TrustFilms, gather_for_trust
from lungsynth.training.trust.fit import fit_trust
from lungsynth.trust.score import TRUST_FOLDER, save_trust


def cached(path: Path, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Arrays and a JSON `about` made once and kept beside the run, so that resuming is quick.

    Raises:
        ConfigError: the folder holds films gathered with other options.
    """
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


def install(folder: Path, checkpoint: Path, name: str | None = None) -> None:
    """Copy a trained part into a checkpoint, in place of an older one, and say so."""
    target = checkpoint / (name or folder.name)
    temporary = checkpoint / f".{target.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
    click.echo(f"{target}: installed", err=True)


def run_train_student(command: TrainStudentCommand) -> None:
    """Train a small network on the masks the chain makes of many films."""
    options = given(StudentOptions(), vars(command))
    chosen = resolve_device(command.device)
    parsed = [Annotated.parse(text) for text in command.annotated]
    synthesizer = Synthesizer(str(command.checkpoint), device=chosen)
    synthesizer.student = load_student(command.teacher).to(chosen) if command.teacher else None

    def make() -> dict[str, Any]:
        films = gather(
            synthesizer,
            lambda name: load_classes(command.checkpoint, name or None),
            parsed,
            Sources(command.sources, command.split or None, command.limit),
            seed=command.seed,
            quiet=command.quiet,
            config=RefineConfig(student_weight=command.teacher_weight),
        )
        return asdict(films)

    named = ("annotated", "sources", "split", "limit", "seed", "teacher_weight")
    key = {name: getattr(command, name) for name in named}
    key |= {"teacher": str(command.teacher or ""), "target_stride": TARGET_STRIDE}
    films = cached(command.out / "films.npz", key, make)
    click.echo(
        f"{films['n_annotated']} films with expert masks, "
        f"{len(films['images']) - films['n_annotated']} labelled by the chain",
        err=True,
    )
    info = {"annotated": ",".join(films["annotated_ids"])}
    model = train_student(
        MaskFilms(**{one.name: films[one.name] for one in fields(MaskFilms)}),
        command.out,
        options,
        start=command.init_from,
        info=info,
        device=chosen,
        quiet=command.quiet,
    )
    say_state(command.out / STUDENT_FOLDER, model is not None)
    if model is None or not command.install:
        return
    install(command.out / STUDENT_FOLDER, command.checkpoint)
    ids, split = films["annotated_ids"], command.split or None
    for one in parsed:  # whose masks taught the checkpoint's student
        found = sources_of_data(one.source, used_for="masks", split=split, ids=ids)
        write_sources(command.checkpoint, found)


def _affinity_films(command: TrainAffinityCommand, synthesizer: Synthesizer) -> dict[str, Any]:
    """Films and the places attention and CRF are certain of, kept in the run folder."""
    config = RefineConfig(student_weight=command.student_weight)

    def make() -> dict[str, Any]:
        pixels = side_pixels(synthesizer.pipe)
        rng = np.random.default_rng(command.seed)
        films = [
            film
            for source in command.sources
            for film in read_films(
                source, pixels=pixels, split=command.split or None, limit=command.limit, rng=rng
            )
        ]
        found = film_probabilities(
            synthesizer,
            films,
            [synthesizer.classes],
            config=config,
            seed=command.seed,
            quiet=command.quiet,
        )
        each = [(image, p) for image, (p,) in zip(films, found, strict=True)]
        quarter = pixels // 4
        return {
            "images": np.stack(films),
            "labels": np.stack([make_labels(p, image) for image, p in each]),
            "coarse": np.stack([area_mean(p, quarter, quarter) for _, p in each]).astype(
                np.float16
            ),
        }

    # the last round learns in --out itself, so a folder belongs to one number of rounds
    named = ("sources", "split", "limit", "seed", "classes", "student_weight", "rounds")
    key = {name: getattr(command, name) for name in named}
    return cached(command.out / "films.npz", key, make)


def run_train_affinity(command: TrainAffinityCommand) -> None:
    """Train AffinityNet, without pixel labels, on places attention and CRF alone are certain of."""
    options = given(AffinityOptions(), vars(command))
    chosen = resolve_device(command.device)
    synthesizer = Synthesizer(str(command.checkpoint), device=chosen, classes=command.classes)
    films = _affinity_films(command, synthesizer)
    labels, model = films["labels"], None
    for number in range(1, command.rounds + 1):
        out = command.out if number == command.rounds else command.out / f"round-{number}"
        if model is not None:
            labels = _walked_by(model, films, labels, out)
        certain = float((labels != IGNORE).mean())
        click.echo(f"{len(labels)} films, {certain:.1%} of their places certain", err=True)
        model = train_affinity(
            films["images"],
            labels,
            out,
            options,
            classes=[spec.output for spec in synthesizer.classes],
            info={
                "labels": "attention and crf"
                + (", with the student" if command.student_weight else ""),
                "student_weight": f"{command.student_weight:g}",
                "round": str(number),
            },
            device=chosen,
            quiet=command.quiet,
        )
        say_state(out / AFFINITY_FOLDER, model is not None)
        if model is None:
            return
    if command.install:
        name, classes = command.install_as, command.classes
        if classes is not None and classes_path(command.checkpoint, classes).is_file():
            name = name or f"{AFFINITY_FOLDER}-{classes}"
        install(command.out / AFFINITY_FOLDER, command.checkpoint, name)


def _walked_by(
    model: AffinityNet, films: dict[str, Any], before: UInt8Array, out: Path
) -> UInt8Array:
    """Certain places of a further round, kept in its folder."""

    def make() -> dict[str, Any]:
        return {"labels": walked_labels(model, films["images"], films["coarse"], before)}

    labels: UInt8Array = cached(out / "labels.npz", {}, make)["labels"]
    return labels


def run_train_trust(command: TrainTrustCommand) -> None:
    """Fit trust, the IoU a mask is likely to have, on films with expert masks."""
    check_writable(command.out)
    films = given(TrustFilms(annotated=command.annotated), vars(command))
    samples, shapes = gather_for_trust(
        Synthesizer(str(command.checkpoint)), command.checkpoint, films, quiet=command.quiet
    )
    info = {"annotated": [Path(text.partition("=")[2] or text).name for text in films.annotated]}
    model = fit_trust(samples, shapes, info=info)
    rows = json.dumps([asdict(one) for one in samples], indent=1) + "\n"
    (command.out / "samples.json").write_text(rows, encoding="utf-8")
    write_folder(command.out / TRUST_FOLDER, lambda folder: save_trust(model, folder))
    for name, weight in model.weights.items():
        click.echo(f"{name:20} {weight:+.3f}", err=True)
    click.echo(f"{command.out / TRUST_FOLDER}: {len(samples)} samples", err=True)
    if command.install:
        install(command.out / TRUST_FOLDER, command.checkpoint)


def run_train_film_check(command: TrainFilmCheckCommand) -> None:
    """Train the network that tells upright frontal chest films from everything else."""
    options = given(FilmCheckOptions(), vars(command))
    pictures, weights = gather_pictures(
        command.sources,
        command.chests,
        command.others,
        command.folders,
        split=command.split or None,
        limit=command.limit,
        n_other=command.n_other,
        seed=command.seed,
    )
    click.echo(
        f"{len(pictures[0])} films, {len(pictures[1])} lateral views, {len(pictures[2])} other pictures",
        err=True,
    )
    info = {
        "data": [Path(source).stem for source in command.sources],
        "volumes": [path.name for path in (*command.chests, *command.others)],
    }
    model = train_film_check(
        pictures, command.out, options, film_weights=weights, info=info, quiet=command.quiet
    )
    say_state(command.out / FOLDER, model is not None)
