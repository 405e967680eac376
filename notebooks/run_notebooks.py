"""Run notebooks, keep them with what they show: `python notebooks/run_notebooks.py NAME.ipynb ...`.

Pictures are kept in few colours, a quarter of their size; nothing of the machine is kept.
"""

import base64
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from meanfield.gallery.folder import of_few_colours

ROOT = Path(__file__).resolve().parent.parent
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, run in its folder with this tree's package."""
    book = nbformat.read(path, as_version=4)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    try:
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(book, timeout=600, coalesce_streams=True, resources=where).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return book


def light(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same with small pictures, and without times and versions."""
    book.metadata = nbformat.from_dict(_METADATA)
    for cell in book.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                small = of_few_colours(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(small).decode()
    return book


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(light(executed(Path(name))), name)
        print(f"wrote {name}, {Path(name).stat().st_size // 1000} kB")
