"""Two pictures as pictures: that the whole is composed as it was when a person looked at it.

Text is removed and the rest averaged over blocks of 8 by 8 pixels, so that fonts and the smoothing
of lines, which change with matplotlib, hardly count. `python tests/test_plot_images.py` draws the
references anew: look at them before you commit them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave
from matplotlib.testing.decorators import remove_ticks_and_titles

import meanfield as mf
from meanfield import plot
from test_plot_phase import difficult, draw, erf_diagram

FOLDER = Path(__file__).parent / "images"


def phase_diagram() -> Figure:
    figure = Figure(figsize=(4.8, 3.6), dpi=100)
    ax = draw(difficult(erf_diagram()), figure.add_axes((0.1, 0.1, 0.7, 0.8)))
    ax.get_legend().remove()
    return figure


def variance_map() -> Figure:
    figure = Figure(figsize=(4.8, 3.6), dpi=100)
    network = mf.Network("erf", weight_var=3.0, bias_var=0.02)
    ax: Any = plot.variance_map(
        mf.fixed_points(network), figure.add_axes((0.1, 0.1, 0.8, 0.8)), q0=0.05
    )
    ax.get_legend().remove()
    return figure


DRAWINGS = {"phase_diagram": phase_diagram, "variance_map": variance_map}


def blocks(name: str) -> np.ndarray:
    """The picture in blocks; shape (45, 60, 3), from 0 to 1."""
    with style.context("default"):
        figure = DRAWINGS[name]()
        remove_ticks_and_titles(figure)
        for ax in figure.axes:
            ax.set(xlabel="", ylabel="")
            for text in ax.texts:
                text.remove()
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    return pixels.reshape(45, 8, 60, 8, 3).mean((1, 3))


@pytest.mark.parametrize("name", DRAWINGS)
def test_it_looks_as_it_did(name: str) -> None:
    """A line two pixels wide that moves by a block changes its two blocks by about 1/4 each."""
    difference = np.abs(blocks(name) - imread(FOLDER / f"{name}.png")[..., :3])
    assert np.max(difference) < 0.15


if __name__ == "__main__":
    for name in DRAWINGS:
        imsave(FOLDER / f"{name}.png", blocks(name))
