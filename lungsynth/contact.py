"""Contact sheets: many pictures on one, each with a line of text."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw


def contact_sheet(
    pictures: Sequence[Image.Image],
    labels: Sequence[str] = (),
    *,
    n_columns: int = 8,
    pixels: int = 256,
) -> Image.Image:
    """Lay pictures out in rows.

    Args:
        pictures: Pictures of any mode and size; each is fitted into a square.
        labels: One line of text below each picture; fewer labels than pictures leave blanks.
        n_columns: Pictures a row.
        pixels: Side of a cell.
    """
    line = 14 if labels else 0
    n_rows = -(-len(pictures) // n_columns)
    columns = min(n_columns, max(1, len(pictures)))
    sheet = Image.new("RGB", (columns * pixels, max(1, n_rows) * (pixels + line)), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x, y = index % n_columns * pixels, index // n_columns * (pixels + line)
        fitted = picture.convert("RGB")
        fitted.thumbnail((pixels, pixels))
        sheet.paste(fitted, (x + (pixels - fitted.width) // 2, y + (pixels - fitted.height) // 2))
        if index < len(labels):
            draw.text((x + 3, y + pixels + 1), labels[index][: pixels // 6], fill=(230, 230, 230))
    return sheet
