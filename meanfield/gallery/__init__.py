"""The gallery: pictures of what the package computes, each with its source, redrawn by one command.

`PICTURES` is the list. `numbers` is what a figure shows, by which one drawn today is compared with
the one that a person has looked at; `draw_into` fills a folder.
"""

from meanfield.gallery.folder import draw_into, known_numbers
from meanfield.gallery.numbers import differences, numbers
from meanfield.gallery.pictures import PICTURES, Picture

__all__ = ["PICTURES", "Picture", "differences", "draw_into", "known_numbers", "numbers"]
