"""WebDataset: tar files with `ID.image.png`, `ID.mask.png` and `ID.json`; the same bytes each time."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from lungsynth.images import png_bytes
from publish.data.manifest import Manifest, json_bytes
from publish.export.cases import Case, description, iter_cases

MAX_TAR_BYTES = 1_000_000_000


def write_webdataset(
    dist: Path, manifest: Manifest, out: Path, *, max_bytes: int = MAX_TAR_BYTES
) -> int:
    """Write `<split>-000000.tar` …, `id2label.json` and `dataset.json`.

    A tar holds files of `max_bytes` at most; one row is never split.
    """
    (out / "id2label.json").write_bytes(json_bytes(manifest.classes))
    about = {"description": description(manifest), "version": manifest.version, "synthetic": True}
    (out / "dataset.json").write_bytes(json_bytes(about))
    n_rows, held, number, split = 0, 0, 0, ""
    tar: tarfile.TarFile | None = None
    try:
        for one in iter_cases(dist, manifest):
            files = case_files(one)
            size = sum(map(len, files.values()))
            if tar is None or one.split != split or (held and held + size > max_bytes):
                if tar is not None:
                    tar.close()
                number = number + 1 if tar is not None and one.split == split else 0
                split, held = one.split, 0
                tar = tarfile.open(out / f"{split}-{number:06d}.tar", "w")
            for name, data in files.items():
                info = tarfile.TarInfo(name)  # no owner and no time: the same bytes each time
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            held += size
            n_rows += 1
    finally:
        if tar is not None:
            tar.close()
    return n_rows


def case_files(one: Case) -> dict[str, bytes]:
    """File name -> bytes of a row."""
    text = json.dumps({**one.row, "split": one.split, "synthetic": True}, sort_keys=True)
    return {
        f"{one.name}.image.png": one.image_png,
        f"{one.name}.mask.png": png_bytes(one.mask),
        f"{one.name}.json": text.encode(),
    }
