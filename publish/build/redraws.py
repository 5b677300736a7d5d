"""Reject and redraw inside a build: who may reject, what was rejected, and how often.

The verifier chooses and never measures, so it is another network, of another seed and half of the
patients, than the encoder of `evaluate obedience`. Every drawing it rejects goes into the footer of its
shard, from there into `redrawn.jsonl`, and the rate into the manifest and the card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungsynth.errors import ConfigError
from lungsynth.files import file_sha256
from lungsynth.model.encoder import DEFAULT_FOLDER, checksum
from lungsynth.verify.redraw import Kept
from lungsynth.verify.verifier import VERIFIER_NAME, Verifier, load_verifier, refuse_judge

FLAG = "verifier: "
"""Begins a reason of the verifier among a row's `qc_flags`."""


def told_of_verifier(folder: Path | None, n_redraws: int) -> dict[str, Any]:
    """What the configuration says of who rejects; {} for nobody, as in builds before there was one.

    Raises:
        CheckpointError: the folder holds no verifier.
        ConfigError: it is the encoder that measures, or was trained on every patient.
    """
    if folder is None:
        return {}
    verifier = load_verifier(folder)
    refuse_judge(verifier, checksum(DEFAULT_FOLDER))
    rules = file_sha256(folder / VERIFIER_NAME)[:16]
    return {"verifier": {**verifier.report(), "rules": rules, "redraws": n_redraws}}


def verifier_of(folder: Path, config: Mapping[str, Any]) -> Verifier:
    """The verifier a configuration names.

    Raises:
        CheckpointError, ConfigError: it is not there, or another.
    """
    verifier, wanted = load_verifier(folder), config["verifier"]
    rules = file_sha256(folder / VERIFIER_NAME)[:16]
    if (verifier.name, rules) != (wanted["verifier"], wanted["rules"]):
        raise ConfigError(
            f"{folder}: verifier {verifier.name} with rules {rules}; the build was started with "
            f"{wanted['verifier']} and {wanted['rules']}. Give every machine the same folder."
        )
    return verifier


def flags_of(kept: Kept[Any]) -> list[str]:
    """Why the verifier rejects even the drawing that was kept, as `qc_flags` say it."""
    reasons = next(one.reasons for one in kept.attempts if one.seed == kept.seed)
    return [FLAG + reason for reason in reasons]


def rejections(row_id: str, split: str, kept: Kept[Any]) -> list[dict[str, Any]]:
    """A line of the log for each drawing of a row that was rejected; the prompt stands in the row."""
    return [
        {
            "id": row_id,
            "split": split,
            "seed": one.seed,
            "reasons": list(one.reasons),
            "distance": one.distance,
        }
        for one in kept.attempts
        if one.reasons
    ]


def redraw_figures(
    footers: Sequence[Mapping[str, Any]], config: Mapping[str, Any], n_rows: int
) -> dict[str, Any]:
    """How often drawings were rejected, by reason, of `n_rows` rows drawn; {} where nobody rejects.

    Returns:
        JSON: `rows`, `drawings`, `rejected` drawings, `first_rejected` (rows whose first drawing was),
        `unmet` (rows whose every drawing was), `by_reason`.
    """
    if "verifier" not in config:
        return {}
    lines = [one for footer in footers for one in footer["redrawn"]]
    each, limit = Counter(str(one["id"]) for one in lines), int(config["verifier"]["redraws"]) + 1
    unmet = sum(n == limit for n in each.values())
    reasons = Counter(reason for one in lines for reason in one["reasons"])
    return {
        "rows": n_rows,
        "drawings": n_rows + len(lines) - unmet,
        "rejected": len(lines),
        "first_rejected": len(each),
        "unmet": unmet,
        "by_reason": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    }
