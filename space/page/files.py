"""Files that the page hands out: each a whole one under the name of its content, deleted when old."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from gradio.utils import get_upload_folder


def kept(name: str, data: bytes) -> str:
    """Path of a file of Gradio's cache that holds `data`, under the name a visitor saves it by.

    Whoever else was given the same content has the same file; it is never written twice, so that a
    download of it is not cut off. (Gradio's own `save_bytes_to_cache` writes into the file there
    is.) The page deletes what a component was given and nobody asked for again within its
    `delete_cache`.
    """
    folder = Path(get_upload_folder()).resolve() / hashlib.sha256(data).hexdigest()
    path = folder / name
    while True:
        try:
            os.utime(path)  # the age counts from now
            return str(path)
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
