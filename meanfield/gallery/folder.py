"""A folder of pictures: each as .png, all their numbers, and a page that shows them."""

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meanfield.gallery.numbers import Series, numbers
from meanfield.gallery.pictures import PICTURES, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_into", "known_numbers"]

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
        _save(figure, path)
        known[picture.name] = numbers(figure)
        drawn = [p for p in PICTURES if p.name in known]
        _write(folder / _NUMBERS, {p.name: known[p.name] for p in drawn})
        (folder / _PAGE).write_text(_page(drawn), "utf-8")
        yield path


def _save(figure: "Figure", path: Path) -> None:
    """As .png of few colours, a quarter in size, and without the version of matplotlib in it."""
    from PIL import Image

    file = BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    image = Image.open(file).convert("RGB")
    image.quantize(_COLOURS, kmeans=4, dither=Image.Dither.NONE).save(path, optimize=True)


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
