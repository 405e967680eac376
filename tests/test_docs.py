"""The reference is whole: every public name is on one of its pages, and has something to say."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import meanfield as mf

PAGES = Path(__file__).parent.parent / "docs"
REFERENCE = "\n".join(page.read_text() for page in sorted(PAGES.glob("reference/*.rst")))
BRIDGES = [f"bridges.{name}" for name in mf.bridges.__all__]


def test_every_public_name_has_its_entry() -> None:
    names = re.findall(r"^\.\. auto(?:class|function):: (\w+)$", REFERENCE, flags=re.MULTILINE)
    assert sorted(names) == sorted(mf.__all__)


def test_every_public_module_has_its_entry() -> None:
    modules = re.findall(r"^\.\. automodule:: meanfield\.([\w.]+)$", REFERENCE, flags=re.MULTILINE)
    assert sorted(modules) == sorted(["ensembles", "layers", "plot", "schemes", *BRIDGES])


@pytest.mark.parametrize("module", ["", ".ensembles", ".layers", ".plot", ".schemes"])
def test_every_entry_says_something(module: str) -> None:
    """What has no docstring is left out by Sphinx without a word."""
    home = import_module(f"meanfield{module}")
    for name in home.__all__:
        made = getattr(home, name)
        said = (made.__doc__ or "").strip()
        # a dataclass without one is given its signature
        assert not callable(made) or (said and not said.startswith(f"{name}(")), name


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^[\w/]+$", (PAGES / "index.md").read_text(), flags=re.MULTILINE))
    pages = {
        str(page.relative_to(PAGES).with_suffix(""))
        for pattern in ("**/*.md", "**/*.rst")
        for page in PAGES.glob(pattern)
    }
    assert pages == listed | {"index"}
