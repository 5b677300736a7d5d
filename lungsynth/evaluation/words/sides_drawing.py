"""The pairs of `evaluate sides`: their prompts, three pictures and a lung mask of each; resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, DataError, OutputError
from lungsynth.evaluation.drawing import check_settings, json_lines, settings_of
from lungsynth.evaluation.words.sides import LUNG_IDS, SIDES, Pair
from lungsynth.files import check_writable
from lungsynth.films.data import decode_grey
from lungsynth.images import contact_sheet, png_bytes
from lungsynth.model.sampling import SampleOptions
from lungsynth.pipeline import Result, Synthesizer

RECORDS_NAME = "pairs.jsonl"
VERSIONS = ("left", "right", "normal")
PARTS = (*VERSIONS, "lungs")

FINDINGS = (
    ("tuberculosis", "pulmonary tuberculosis in the {side} upper field"),
    ("tuberculosis", "{side} pulmonary tuberculosis"),
    ("tuberculosis", "secondary pulmonary tuberculosis in the {side} upper field"),
    ("infiltration", "infiltration in the {side} upper lung"),
    ("tuberculosis", "pulmonary tuberculosis in the {side} lower field"),
    ("tuberculosis", "{side} upper pulmonary tuberculosis"),
    ("tuberculosis", "{side} secondary pulmonary tuberculosis"),
    ("pneumonia", "pneumonia in the {side} lower lung"),
)
"""Finding, and how it is said: tuberculosis as training texts say it; the others have no side there."""


@dataclass(frozen=True, slots=True)
class SidePrompt:
    """A prompt that names a side, in three versions."""

    finding: str
    left: str
    right: str
    normal: str  # of the same patient, without finding

    def texts(self) -> dict[str, str]:
        """Version -> prompt."""
        return {"left": self.left, "right": self.right, "normal": self.normal}


def side_prompts(n: int) -> list[SidePrompt]:
    """`n` prompts in the style of the training texts; the first m of n are those of m."""
    out = []
    for k in range(n):
        finding, words = FINDINGS[k % len(FINDINGS)]
        sex = ("male", "female")[(k // len(FINDINGS) + k) % 2]
        who = f"Frontal PA chest X-ray of a {22 + (k * 7) % 55}-year-old {sex}."

        def told(side: str, who: str = who, words: str = words) -> str:
            said = words.format(side=side)
            return f"{who} {said[0].upper()}{said[1:]}."

        out.append(SidePrompt(finding, told("left"), told("right"), f"{who} Normal."))
    return out


def given_prompts(texts: Sequence[str], normal: str, n: int) -> list[SidePrompt]:
    """`n` prompts from texts with `{side}` in them, in turn.

    Raises:
        ConfigError: a text without `{side}`.
    """
    for text in texts:
        if "{side}" not in text:
            raise ConfigError(
                f"--prompt {text!r}: has no {{side}}, such as in 'Chest X-ray with {{side}} effusion'."
            )
    versions = [
        SidePrompt("given", text.replace("{side}", "left"), text.replace("{side}", "right"), normal)
        for text in texts
    ]
    return [versions[k % len(versions)] for k in range(n)]


def lung_classes(synthesizer: Synthesizer) -> dict[int, int]:
    """The checkpoint's class ids -> ids of `Pair.lungs`.

    Raises:
        DataError: the checkpoint has no classes of both lungs.
    """
    ids = {spec.name: spec.id for spec in synthesizer.classes}
    wanted = {f"{side} lung": LUNG_IDS[side] for side in SIDES}
    if not wanted.keys() <= ids.keys():
        raise DataError(
            f"Checkpoint {synthesizer.name!r} has the classes {', '.join(ids) or 'none'}; the side is "
            "measured within 'left lung' and 'right lung'. Learn them with `annotate` and `learn-token`."
        )
    return {ids[name]: own for name, own in wanted.items()}


def unknown_words(synthesizer: Synthesizer, prompts: Sequence[SidePrompt]) -> list[str]:
    """Words of the prompts that the checkpoint never saw in training.

    Raises:
        PromptError: a prompt cannot be drawn.
    """
    texts = dict.fromkeys(text for prompt in prompts for text in prompt.texts().values())
    return sorted({w for text in texts for w in synthesizer.check(text, words=[])[0].unknown})


def _file(pair: int, part: str) -> str:
    return f"{pair:05d}-{part}.png"


def _done(out: Path) -> list[dict[str, Any]]:
    """Records of the pairs whose files are all there."""
    return [
        entry
        for entry in json_lines(out / RECORDS_NAME)
        if all((out / _file(entry["pair"], part)).is_file() for part in PARTS)
    ]


def draw_pairs(
    synthesizer: Synthesizer,
    out: Path,
    prompts: Sequence[SidePrompt],
    *,
    options: SampleOptions,
    seed: int = 0,
    batch: int = 6,
    quiet: bool = False,
) -> list[Pair]:
    """Draw every prompt's three versions with one seed; pairs already in `out` are kept.

    Args:
        synthesizer: A loaded checkpoint with classes of both lungs.
        out: Folder for `NNNNN-left.png`, `-right`, `-normal`, `-lungs`, `pairs.jsonl` and
            `settings.json`.
        prompts: One a pair.
        options: How pictures are drawn.
        seed: Pair k is drawn with seed `seed + k`.
        batch: Pictures drawn together; a pair's three always are.
        quiet: No progress bar.

    Returns:
        The pairs, in the order of `prompts`.

    Raises:
        DataError: see `lung_classes`.
        ConfigError: `out` holds pairs drawn otherwise.
        OutputError: the folder cannot be written.
    """
    classes = lung_classes(synthesizer)
    check_writable(out)
    settings = settings_of(synthesizer, options, seed)
    settings["convention"] = sorted({spec.convention for spec in synthesizer.classes})
    try:
        check_settings(out, settings)
        done = [
            entry
            for entry in _done(out)
            if entry["pair"] >= len(prompts) or entry["prompts"] == prompts[entry["pair"]].texts()
        ]
        (out / RECORDS_NAME).write_text("".join(json.dumps(entry) + "\n" for entry in done))
        have = {entry["pair"] for entry in done}
        missing = [k for k in range(len(prompts)) if k not in have]
        size = max(1, batch // len(VERSIONS))
        n_done = len(prompts) - len(missing)
        with tqdm(total=len(prompts), initial=n_done, unit="pair", disable=quiet) as bar:
            for start in range(0, len(missing), size):
                part = missing[start : start + size]
                texts = [text for k in part for text in prompts[k].texts().values()]
                seeds = [seed + k for k in part for _ in VERSIONS]
                results = list(
                    synthesizer.generate(
                        texts, seeds, options=options, words=[], batch_size=len(texts)
                    )
                )
                for index, k in enumerate(part):
                    own = results[index * len(VERSIONS) : (index + 1) * len(VERSIONS)]
                    _write(out, k, prompts[k], seed + k, own, classes)
                    bar.update()
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error}). Free space or choose --out."
        ) from error
    return [_read(out, k, prompt) for k, prompt in enumerate(prompts)]


def _write(
    out: Path,
    pair: int,
    prompt: SidePrompt,
    seed: int,
    results: Sequence[Result],
    classes: dict[int, int],
) -> None:
    for version, result in zip(VERSIONS, results, strict=True):
        (out / _file(pair, version)).write_bytes(png_bytes(result.image))
    mask = results[VERSIONS.index("normal")].mask
    lungs: UInt8Array = np.zeros_like(mask)
    for theirs, ours in classes.items():
        lungs[mask == theirs] = ours
    (out / _file(pair, "lungs")).write_bytes(png_bytes(lungs))
    entry = {"pair": pair, "seed": seed, "finding": prompt.finding, "prompts": prompt.texts()}
    with (out / RECORDS_NAME).open("a", encoding="utf-8") as records:
        records.write(json.dumps(entry) + "\n")


def _read(out: Path, pair: int, prompt: SidePrompt) -> Pair:
    left, right, normal, lungs = (
        decode_grey(out / _file(pair, part), where=str(out / _file(pair, part))) for part in PARTS
    )
    return Pair(left, right, normal, lungs, prompt.finding)


def side_sheet(pairs: Sequence[Pair], n: int = 12) -> Image.Image:
    """A row a pair: normal, left, right, and left minus right four times as strong on mid-grey."""
    pictures, labels = [], []
    for index, pair in enumerate(pairs[:n]):
        change = 128 + 4 * (pair.left.astype(np.float64) - pair.right)
        shown = (pair.normal, pair.left, pair.right, change.clip(0, 255).astype(np.uint8))
        pictures += [Image.fromarray(picture) for picture in shown]
        labels += [f"{index} normal", f"{pair.finding}, left", "right", "left - right, times 4"]
    return contact_sheet(pictures, labels, n_columns=4, pixels=192)
