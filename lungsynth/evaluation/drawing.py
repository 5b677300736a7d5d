"""Drawing a balanced set of samples for the other evaluations: PNG files and `records.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lungsynth.arrays import UInt8Array
from lungsynth.errors import ConfigError, OutputError
from lungsynth.files import check_writable
from lungsynth.images import png_bytes
from lungsynth.model.sampling import SampleOptions, draw
from lungsynth.pipeline import Synthesizer
from lungsynth.verify.redraw import Rejection, redraw

RECORDS_NAME, SETTINGS_NAME = "records.jsonl", "settings.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and what it asks for."""

    prompt: str
    fields: dict[str, str]  # age_group, view, finding, sex


def balanced_prompts(n: int) -> list[Asked]:
    """`n` prompts: two fifths children (AP), three fifths adults (PA and AP), half with pneumonia.

    Ages, sexes and wordings are taken in turn, so the first m of n prompts are balanced too.
    """
    out: list[Asked] = []
    child_words = ("a young child", "a 3-year-old child", "a small child", "a 5-year-old child")
    for k in range(n):
        sick = bool((k // 5) % 2)
        finding = "pneumonia" if sick else "normal"
        ending = (" with pneumonia", ". Pneumonia.") if sick else (". Normal.", ", no finding")
        tail = ending[(k // 10) % 2]
        if k % 5 < 2:
            who = child_words[(k // 10) % 4]
            out.append(
                Asked(
                    f"Frontal AP chest X-ray of {who}{tail}",
                    {"age_group": "child", "view": "AP", "finding": finding},
                )
            )
            continue
        view = "PA" if (k // 10 + k % 5) % 2 else "AP"
        sex = "M" if (k // 20 + k % 5) % 2 else "F"
        age = 20 + (k * 7) % 60
        noun = "man" if sex == "M" else "woman"
        out.append(
            Asked(
                f"Frontal {view} chest X-ray of a {age}-year-old {noun}{tail}",
                {"age_group": "adult", "view": view, "finding": finding, "sex": sex},
            )
        )
    return out


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file that holds one a line; none where it is missing, and no line cut by a kill."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def settings_of(synthesizer: Synthesizer, options: SampleOptions, seed: int) -> dict[str, Any]:
    """What decides the pictures of a folder beside their prompts, as JSON."""
    return {
        "model": synthesizer.name,
        "model_hash": synthesizer.model_hash,
        "lora": synthesizer.lora,
        "options": asdict(options),
        "seed": seed,
    }


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of a new folder, and refuse to mix pictures of others.

    Raises:
        ConfigError: the folder was drawn otherwise.
    """
    path = out / SETTINGS_NAME
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            before = {}
        changed = sorted(k for k in settings if before.get(k) != settings[k])
        if changed:
            raise ConfigError(
                f"{out}: its pictures were drawn with other settings ({', '.join(changed)}). Use the "
                "same ones to resume, or another --out."
            )
        return
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def draw_images(
    pipe: Any, prompts: Sequence[str], seeds: Sequence[int], options: SampleOptions, batch: int
) -> Iterator[UInt8Array]:
    """Pictures (H, W) in the order of the prompts, `batch` drawn together; no map is kept."""
    for start in range(0, len(prompts), batch):
        part = slice(start, start + batch)
        yield from draw(pipe, prompts[part], seeds[part], options, capture=False).images


def draw_set(
    synthesizer: Synthesizer,
    out: Path,
    asked: Sequence[Asked],
    *,
    options: SampleOptions,
    seed: int = 0,
    batch: int = 8,
    quiet: bool = False,
    rejection: Rejection | None = None,
) -> Iterator[Path]:
    """Draw samples into `out`; pictures already there are kept, so the same command resumes.

    Args:
        synthesizer: A loaded checkpoint.
        out: Folder for `NNNNN.png`, `records.jsonl` and `settings.json`.
        asked: What each shows.
        options: How they are drawn.
        seed: Sample k is drawn with seed `seed + k`.
        batch: Samples drawn together.
        quiet: No progress bar.
        rejection: Draw again what a verifier rejects; None keeps every first drawing.

    Raises:
        ConfigError: `out` holds pictures drawn otherwise.
        OutputError: the folder cannot be written or the disk is full.
    """
    check_writable(out)
    check_settings(out, settings_of(synthesizer, options, seed))
    n = len(asked)
    done = [one for one in json_lines(out / RECORDS_NAME) if (out / one["file"]).is_file()]
    prompts = {f"{k:05d}.png": one.prompt for k, one in enumerate(asked)}
    for entry in done:
        if prompts.get(str(entry["file"]), entry["prompt"]) != entry["prompt"]:
            raise OutputError(
                f"{out}/{entry['file']} was drawn for {entry['prompt']!r}, and now "
                f"{prompts[str(entry['file'])]!r} is asked for. Choose another --out."
            )
    (out / RECORDS_NAME).write_text("".join(json.dumps(entry) + "\n" for entry in done))
    have = {entry["file"] for entry in done}
    missing = [k for k in range(n) if f"{k:05d}.png" not in have]

    def pictures(own: Sequence[int], seeds: Sequence[int]) -> Sequence[UInt8Array]:
        texts = [asked[missing[k]].prompt for k in own]
        return list(draw_images(synthesizer.pipe, texts, seeds, options, batch))

    kept = _drawn(
        pictures, [seed + k for k in missing], [asked[k].fields for k in missing], rejection, batch
    )
    with tqdm(total=n, initial=n - len(missing), unit="image", disable=quiet) as bar:
        try:
            with (out / RECORDS_NAME).open("a") as records:
                for k, (image, told) in zip(missing, kept, strict=True):
                    path = out / f"{k:05d}.png"
                    path.write_bytes(png_bytes(image))
                    entry = {"file": path.name, "prompt": asked[k].prompt, **told}
                    records.write(json.dumps({**entry, "fields": asked[k].fields}) + "\n")
                    records.flush()
                    yield path
                    bar.update()
        except OSError as error:
            raise OutputError(
                f"{out}: cannot be written ({error}). Free space or choose --out."
            ) from error


def _drawn(
    pictures: Callable[[Sequence[int], Sequence[int]], Sequence[UInt8Array]],
    seeds: Sequence[int],
    asked: Sequence[Mapping[str, str]],
    rejection: Rejection | None,
    batch: int,
) -> Iterator[tuple[UInt8Array, dict[str, Any]]]:
    """Each picture, with what its record says of how it was drawn."""
    if rejection is None:
        for start in range(0, len(seeds), batch):
            part = range(start, min(start + batch, len(seeds)))
            own = [seeds[k] for k in part]
            for one, image in zip(own, pictures(part, own), strict=True):
                yield image, {"seed": one}
        return
    for kept in redraw(
        pictures,
        lambda image: image,
        seeds,
        asked,
        rejection.verifier,
        rejection.n_redraws,
        batch_size=batch,
    ):
        rejection.tally.add(kept)
        yield kept.value, {"seed": kept.seed, "verify": kept.report(rejection.verifier)}
