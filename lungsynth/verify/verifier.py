"""The verifier: an encoder that says whether a picture shows what was asked, and looks like a film.

It must not be the encoder that measures: whoever chooses pictures by a network and then measures them
by the same one measures the choice. So it is trained with another seed on half of the patients
(`train encoder --patients half-b`), and its folder says so beside what it may judge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungsynth.arrays import UInt8Array
from lungsynth.errors import CheckpointError, ConfigError
from lungsynth.files import write_whole
from lungsynth.model.checkpoint import CHECKPOINTS, DEFAULT, VERIFIER_FOLDER
from lungsynth.model.encoder import HEADS, Embedding, Encoder, checksum, embed, load_encoder

VERIFIER_NAME = "verifier.json"
FORMAT = "lungsynth-verifier-1"
SHIPPED = "shipped"
HALVES = ("half-a", "half-b")
MIN_ACCURACY = 0.65  # balanced, on real films; a head below it would reject by chance
QUANTILE = 0.99  # of real films' distances: one real film in a hundred would be rejected


@dataclass(frozen=True, slots=True)
class Rules:
    """What a verifier may reject for."""

    patients: str  # "half-a", "half-b" or "all": whose films it was trained on
    seed: int  # of its training
    farthest: float  # distance to the training films from which a picture is no film
    accuracy: Mapping[str, float]  # see `head_key` -> balanced accuracy on real films


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one picture."""

    reasons: tuple[str, ...]  # why it is rejected; () = accepted
    distance: float  # to the training films; see `distances`
    judged: dict[str, str]  # head -> class, of those that were asked and may be judged


def half_of(patient: str) -> str:
    """Which half a patient belongs to, by a hash of the name: the same everywhere, for ever."""
    return HALVES[hashlib.sha256(patient.encode()).digest()[0] % 2]


def distances(embedding: Embedding) -> NDArray[np.float64]:
    """(N,) root mean square of the standardised features: 1 for a usual film, more the odder it is."""
    return np.asarray(np.sqrt((embedding.features**2).mean(1)))


def head_key(head: str, group: str | None) -> str:
    """Name of a head's accuracy, as `evaluate obedience` names its tasks.

    Findings of children and of adults are different questions; view and sex are asked of adults.
    """
    if head == "age_group":
        return head
    return f"{head} (children)" if head == "finding" and group == "child" else f"{head} (adults)"


class Verifier:
    """A trained encoder with the rules by which it rejects.

    Args:
        encoder: In evaluation mode.
        rules: See `calibrate`.
        name: Checksum of its weights.
    """

    def __init__(self, encoder: Encoder, rules: Rules, name: str) -> None:
        self.encoder, self.rules, self.name = encoder, rules, name

    def judges(self, fields: Mapping[str, str]) -> list[str]:
        """Heads that were asked and that it may judge."""
        return [
            head
            for head, classes in HEADS.items()
            if fields.get(head) in classes
            and self.rules.accuracy.get(head_key(head, fields.get("age_group")), 0.0)
            >= MIN_ACCURACY
        ]

    def verdicts(self, images: UInt8Array, asked: Sequence[Mapping[str, str]]) -> list[Verdict]:
        """Judge square pictures (N, H, W) uint8 against what each was asked to show.

        N mappings say it: some of `age_group`, `view`, `finding`, `sex`.
        """
        seen = embed(self.encoder, images)
        far, out = distances(seen), []
        for index, fields in enumerate(asked):
            judged, reasons = dict[str, str](), list[str]()
            for head in self.judges(fields):
                judged[head] = HEADS[head][int(seen.decisions(head)[index])]
                if judged[head] != fields[head]:
                    reasons.append(f"asked {fields[head]}, looks {judged[head]}")
            if far[index] > self.rules.farthest:
                reasons.append("unlike any film")
            out.append(Verdict(tuple(reasons), round(float(far[index]), 4), judged))
        return out

    def report(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"verifier": self.name, "patients": self.rules.patients, "seed": self.rules.seed}


def calibrate(
    encoder: Encoder,
    films: UInt8Array,
    accuracy: Mapping[str, float],
    *,
    patients: str,
    seed: int,
) -> Rules:
    """Rules for an encoder, from real films it was not trained on.

    Args:
        encoder: In evaluation mode.
        films: (N, H, W) uint8 held-out real films.
        accuracy: Balanced accuracy of each head on held-out films, by `head_key`.
        patients: Half it was trained on.
        seed: Of its training.
    """
    far = float(np.quantile(distances(embed(encoder, films)), QUANTILE))
    return Rules(patients, seed, far, {k: round(float(v), 4) for k, v in accuracy.items()})


def save_rules(rules: Rules, folder: Path) -> None:
    """Write them beside the encoder they belong to.

    Raises:
        OutputError: the folder cannot be written.
    """
    told = {"format": FORMAT, "encoder": checksum(folder), **asdict(rules)}
    write_whole(folder / VERIFIER_NAME, json.dumps(told, indent=2, sort_keys=True) + "\n")


def verifier_folder(given: str | Path | None, checkpoint: Path | None = None) -> Path:
    """Where the verifier lies.

    Args:
        given: Its folder; None or "shipped" for the one that comes with a checkpoint.
        checkpoint: Folder of the checkpoint that draws; without a verifier of its own, that of the
            shipped default is taken.

    Raises:
        ConfigError: none was given, and none is shipped.
    """
    if given is not None and str(given) != SHIPPED:
        return Path(given)
    for place in (checkpoint, CHECKPOINTS / DEFAULT):
        if place is not None and (place / VERIFIER_FOLDER / VERIFIER_NAME).is_file():
            return place / VERIFIER_FOLDER
    raise ConfigError(
        "No verifier is shipped with this checkpoint. Make one with `train encoder --patients half-b`, "
        "then pass --verifier RUN/encoder."
    )


def refuse_judge(verifier: Verifier, judge: str) -> None:
    """Refuse a verifier that also measures: its figures would measure its own choice.

    Args:
        verifier: Who rejects.
        judge: Checksum of the encoder that measures; see `lungsynth.model.encoder.checksum`.

    Raises:
        ConfigError: they are the same network, or the verifier saw every patient the judge saw.
    """
    if verifier.name == judge:
        raise ConfigError(
            f"The verifier is the encoder {judge} that measures. Whoever chooses pictures by a network "
            "must measure them by another: train one with --patients half-b and another --seed."
        )
    if verifier.rules.patients not in HALVES:
        raise ConfigError(
            f"The verifier {verifier.name} was trained on patients {verifier.rules.patients!r}; expected "
            f"{' or '.join(HALVES)}, so that it does not see what the measuring encoder sees."
        )


def load_verifier(folder: Path) -> Verifier:
    """The verifier in a folder.

    Raises:
        CheckpointError: there is no encoder, no rules, or they do not belong together.
    """
    encoder, path = load_encoder(folder), folder / VERIFIER_NAME
    hint = "Make one with `train encoder --patients half-b`, then pass --verifier RUN/encoder."
    if not path.is_file():
        raise CheckpointError(f"{folder}: an encoder, but no verifier (no {VERIFIER_NAME}). {hint}")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']!r}, expected {FORMAT!r}")
        accuracy = {str(k): float(v) for k, v in dict(told["accuracy"]).items()}
        rules = Rules(str(told["patients"]), int(told["seed"]), float(told["farthest"]), accuracy)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not the rules of a verifier ({error!r}). {hint}") from error
    name = checksum(folder)
    if told.get("encoder") != name:
        raise CheckpointError(
            f"{path}: made for the encoder {told.get('encoder')}, but the weights beside it are {name}. "
            f"{hint}"
        )
    return Verifier(encoder, rules, name)
