"""A folder of pictures: each as .png, all their numbers, and a page that shows them."""

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from meanfield.gallery.numbers import Series, numbers
from meanfield.gallery.pictures import PICTURES, Picture

__all__ = ["draw_into", "known_numbers", "of_few_colours"]

_NUMBERS, _PAGE = "gallery.json", "README.md"
_DPI, _COLOURS = 100, 256
_HEAD = """# Gallery

Drawn by `meanfield gallery`. What each picture shows is kept as numbers in
[gallery.json](gallery.json), with which the tests compare pictures drawn anew.
"""


def known_numbers(folder: Path) -> dict[str, list[Series]]:
    """What the pictures in a folder show, by their names; nothing where none were drawn."""
    path = folder / _NUMBERS
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def draw_into(folder: Path, pictures: Iterable[Picture]) -> Iterator[Path]:
    """Draw into a folder, one picture after the other, and say which is done.

    After each its numbers and the page are written too, so that an interrupt loses one picture at
    most. Pictures that lie there already stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = known_numbers(folder)
    for picture in pictures:
        figure = picture.figure()
        path = folder / f"{picture.name}.png"
        file = BytesIO()
        figure.savefig(file, format="png", dpi=_DPI)
        path.write_bytes(of_few_colours(file.getvalue()))
        known[picture.name] = numbers(figure)
        drawn = [p for p in PICTURES if p.name in known]
        _write(folder / _NUMBERS, {p.name: known[p.name] for p in drawn})
        (folder / _PAGE).write_text(_page(drawn), "utf-8")
        yield path


def of_few_colours(png: bytes) -> bytes:
    """A picture with 256 colours at most: a quarter in size, and no eye sees a difference."""
    from PIL import Image

    image, file = Image.open(BytesIO(png)).convert("RGB"), BytesIO()
    few = image.quantize(_COLOURS, kmeans=4, dither=Image.Dither.NONE)
    few.save(file, format="png", optimize=True)
    return file.getvalue()


def _write(path: Path, known: dict[str, list[Series]]) -> None:
    """Strict JSON, a line for each series: a change shows as the lines that changed."""
    blocks = []
    for name, series in known.items():
        lines = ",\n".join("    " + json.dumps(one, allow_nan=False) for one in series)
        blocks.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", "utf-8")


def _page(pictures: list[Picture]) -> str:
    parts: list[Any] = [_HEAD]
    for picture in pictures:
        parts.append(f"## {picture.title}\n\n![{picture.title}]({picture.name}.png)\n")
        parts.append(f"{picture.caption}\n\nSource: {picture.source}.\n")
    return "\n".join(parts)
