"""Everything in a dataset folder but its shards, made from them: card, figures, Croissant, files.

Runs again at no cost in drawing: after a change of the card's words, a new evaluation, an erratum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from lungsynth.files import file_sha256
from publish.build.redraws import redraw_figures
from publish.card import croissant, figures
from publish.card import dataset_card as card
from publish.card.evaluation import free_name, taken
from publish.data.changelog import CHANGELOG_NAME, make_changelog
from publish.data.errata import ERRATA_NAME
from publish.data.manifest import File, Manifest, inside, json_bytes, jsonl_bytes, read_json
from publish.data.rows import rejected_rows, summarise
from publish.data.settings import Settings
from publish.data.shards import shard_metadata, write_atomic, write_shard

PREVIEW_NAME = "preview/train-00000-of-00001.parquet"
REJECTED_NAME = "rejected.jsonl"
REDRAWN_NAME = "redrawn.jsonl"
CARD_NAME = "README.md"
EVALUATION = "evaluation"
MEMORISATION_NAME = f"{EVALUATION}/memorisation.json"
FIGURES = ("figures/examples.png", "figures/least_sure.png", "figures/distributions.png")


def finish(out: Path, manifest: Manifest) -> Manifest:
    """Write every file that is made from the shards, and the final manifest; the folder is locked
    by the caller.

    Raises:
        OutputError: a file cannot be written.
        ConfigError: no row passed the filter.
    """
    shards = manifest.shards
    if manifest.n_rows == 0:
        raise ConfigError(
            f"{out}: none of {manifest.n_drawn} rows passed the filter; see the reasons in "
            "--no-filter's `qc_flags`, then loosen `filter` or mend the checkpoint."
        )
    write_atomic(out / "id2label.json", json_bytes(manifest.classes))
    write_atomic(out / REJECTED_NAME, jsonl_bytes(rejected_rows(out, shards)))
    manifest = _with_redraws(out, manifest)
    preview = figures.preview_rows(out, shards, manifest.n_rows)
    write_shard(preview, figures.preview_features(), out, PREVIEW_NAME, metadata={"preview": True})
    summary = summarise(out, manifest)
    write_atomic(out / FIGURES[0], figures.examples(out, shards, manifest.n_rows))
    unsure = [row for _, row in summary.least_sure]
    write_atomic(out / FIGURES[1], figures.pairs_sheet(out, shards, unsure))
    write_atomic(out / FIGURES[2], figures.distributions(summary))
    write_atomic(out / CHANGELOG_NAME, make_changelog(out, manifest).encode())
    write_atomic(out / croissant.CROISSANT_NAME, json_bytes(croissant.make(manifest, out)))
    text = card.make_card(manifest, out, summary, read_reports(out))
    write_atomic(out / CARD_NAME, text.encode())
    files = [
        File(name, (out / name).stat().st_size, file_sha256(out / name))
        for name in repository_files(out)
    ]
    done = replace(manifest, files=tuple(files))
    done.write(out)
    return done


def _with_redraws(out: Path, manifest: Manifest) -> Manifest:
    """Write what a verifier rejected, where there is one, and sum it up."""
    if "verifier" not in manifest.config:
        return manifest
    footers = [shard_metadata(inside(out, shard.name)) for shard in manifest.shards]
    found = sorted((one for told in footers for one in told["redrawn"]), key=lambda one: one["id"])
    write_atomic(out / REDRAWN_NAME, jsonl_bytes(found))
    return replace(manifest, redrawn=redraw_figures(footers, manifest.config, manifest.n_drawn))


def repository_files(out: Path) -> list[str]:
    """Names of the files of a finished dataset besides its shards and manifest, sorted."""
    names = [
        CARD_NAME,
        CHANGELOG_NAME,
        "id2label.json",
        croissant.CROISSANT_NAME,
        REJECTED_NAME,
        REDRAWN_NAME,
        ERRATA_NAME,
        PREVIEW_NAME,
        *FIGURES,
    ]
    names += [f"{EVALUATION}/{path.name}" for path in (out / EVALUATION).glob("*.json")]
    return sorted(name for name in names if (out / name).is_file())


def collect_reports(settings: Settings, model_hash: str) -> dict[str, dict[str, Any]]:
    """Evaluation results as they go into the dataset, file name -> JSON, without names of training
    films.

    Raises:
        DataError: a file cannot be read.
        ConfigError: it is no such result, or of a checkpoint of another hash.
    """
    reports: dict[str, dict[str, Any]] = {}
    for place in settings.evaluation:
        report = read_json(Path(place))
        stem, kept = taken(Path(place), report, model_hash)
        reports[free_name(f"{EVALUATION}/{stem}.json", reports)] = kept
    if settings.memorisation is not None:
        reports[MEMORISATION_NAME] = memorisation_report(Path(settings.memorisation))
    return reports


def write_reports(out: Path, reports: Mapping[str, dict[str, Any]]) -> None:
    """Write what `collect_reports` gave; results of an earlier build that are not among them go.

    Raises:
        OutputError: the folder cannot be written.
    """
    for path in (out / EVALUATION).glob("*.json"):
        if f"{EVALUATION}/{path.name}" not in reports:
            path.unlink()
    for name, report in reports.items():
        write_atomic(out / name, json_bytes(report))


def memorisation_report(path: Path) -> dict[str, Any]:
    """A result of `lungsynth evaluate memorisation` or `neighbours`, without names of training films.

    Raises:
        DataError, ConfigError: it cannot be read, or is no such result.
    """
    report = read_json(path)
    try:
        kept = ("threshold", "caught", "false_alarms")
        gate: dict[str, Any] = {k: report[k] for k in kept if k in report}
        if "copies" in report:  # of `evaluate memorisation`, which says what a copy is
            gate |= {
                "copies": sorted(map(str, report["copies"])),
                "duplicates": report["duplicates"],
                "false_alarms": {k: v for k, v in gate["false_alarms"].items() if k != "films"},
            }
        return gate | {
            "n": report["n"],
            "measures": report["measures"],
            "closer_than_test_0.1": sorted(map(str, report["closer_than_test_0.1"])),
            "pictures": [
                {"picture": str(one["picture"])}
                | {m: float(one[m]["distance"]) for m in report["measures"]}
                for one in report["pictures"]
            ],
            "encoder": report.get("encoder"),
            "seed": report.get("seed"),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: {error!r}; expected neighbours.json of `lungsynth evaluate neighbours`."
        ) from error


def read_reports(out: Path) -> Mapping[str, dict[str, Any]]:
    """Evaluation results in a dataset: name of the file -> JSON."""
    return {
        f"{EVALUATION}/{path.name}": read_json(path)
        for path in sorted((out / EVALUATION).glob("*.json"))
    }
