"""A visitor's own film: read, segmented, forgotten. Nothing of it is written or logged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungsynth.errors import DataError, LungSynthError
from lungsynth.files import pack
from lungsynth.images import OKABE_ITO
from space.draw.model import synthesizer
from space.draw.study import Region
from space.draw.tuning import Tuning

MAX_BYTES = 50_000_000
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".dic")
LUNG_SHARE = (0.06, 0.65)
"""Share of a frontal film that both lungs together usually cover; beyond it a warning."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a film."""

    height: int
    width: int
    overlay: bytes  # PNG, at most 1536 pixels a side
    mask: bytes  # PNG (H, W) class ids, the film's own size
    regions: tuple[Region, ...]
    warnings: tuple[str, ...]
    archive: bytes  # ZIP: mask, overlay, record


def segment(path: str | Path, *, tuning: Tuning | None = None, convention: str = "") -> Reading:
    """Segment a film and delete its file, whatever happens.

    Args:
        path: The upload; PNG, JPEG, TIFF, BMP or DICOM, at most `MAX_BYTES`.
        tuning: How the mask is refined; None for the defaults.
        convention: Of the masks.

    Raises:
        DataError: no film that can be read; the message does not name the file.
        LungSynthError: the checkpoint cannot segment.
    """
    path = Path(path)
    try:
        return _segment(path, tuning or Tuning(), convention)
    except LungSynthError as error:
        # messages name files; this one's folder is ours, and its name may be a patient's
        raise type(error)(str(error).replace(str(path), "The file")) from None
    finally:
        path.unlink(missing_ok=True)


def _segment(path: Path, tuning: Tuning, convention: str) -> Reading:
    from lungsynth.films.film import Film, read_film
    from lungsynth.masks.refine import RefineConfig
    from lungsynth.segment import segment_files, segment_film

    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(
            f"The file has {path.stat().st_size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are read."
        )
    read = read_film(path)
    film = Film("film", read.image, tuple(w.replace(str(path), "the file") for w in read.warnings))
    model = synthesizer(convention)
    result = segment_film(model, film.image, config=tuning.config(RefineConfig()))
    files = segment_files(film, result)
    height, width = film.image.shape
    regions = tuple(
        Region(
            spec.name,
            OKABE_ITO[(spec.id - 1) % len(OKABE_ITO)],
            float((result.mask == spec.id).mean()),
            0.0,
            int(result.scores[spec.name]["parts"]),
            float(result.scores[spec.name]["stability"]),
            float(result.scores[spec.name].get("trust", result.scores[spec.name]["stability"])),
        )
        for spec in model.classes
    )
    notes = [*film.warnings, *_doubts(regions)]
    return Reading(
        height, width, files["overlay.png"], files["mask.png"], regions, tuple(notes), pack(files)
    )


def _doubts(regions: tuple[Region, ...]) -> list[str]:
    """Why the picture may be no frontal chest film, by what was found in it."""
    missing = [region.name for region in regions if region.area == 0]
    if missing:
        return [f"no {' and no '.join(missing)} was found, so this may be no frontal chest film"]
    total = sum(region.area for region in regions)
    if not LUNG_SHARE[0] <= total <= LUNG_SHARE[1]:
        return [
            f"the mask covers {total:.0%} of the picture, which is unusual for a frontal chest film"
        ]
    unsure = [region.name for region in regions if region.stability < 0.5]
    return [f"the border of the {' and the '.join(unsure)} is unsure"] if unsure else []
