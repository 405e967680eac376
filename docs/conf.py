"""How Sphinx builds these pages: `sphinx-build -W docs site`, after pip install '.[docs]'."""

import os
import re
from dataclasses import is_dataclass
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole

import meanfield

os.environ.setdefault("KERAS_BACKEND", "jax")  # which is here in any case

project = "meanfield"
author = "The meanfield developers"
release = version = meanfield.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "meanfield"
html_show_sphinx = html_show_copyright = False

default_role = "name-or-code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88


class NameOrCode(PyXRefRole):
    """What stands in single backticks: a link if it is a public name, and code otherwise."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The nodes."""
        name = self.target.removeprefix("meanfield.").partition("(")[0]
        if name not in meanfield.__all__:
            return [nodes.literal(self.rawtext, self.text, classes=["code"])], []
        self.name, self.target = "py:obj", f"meanfield.{name}"
        return super().run()


_ARRAY_LIKE = re.compile(r"_Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]")


def shorter(
    app: Sphinx, what: str, name: str, made: Any, options: Any, signature: str | None, returned: str
) -> tuple[str, str] | None:
    """No constructors of results, which functions make; and numpy's union has a name."""
    if what == "class" and is_dataclass(made) and not made.__dataclass_params__.eq:
        return "", ""
    return signature and (_ARRAY_LIKE.sub("ArrayLike", signature), returned)


_SEVERAL = re.compile(r"^( {4,})(\w+(?:, \w+)+): (.*)$")


def as_restructured_text(
    app: Sphinx, what: str, name: str, made: Any, options: Any, lines: list[str]
) -> None:
    """Google's style, where it is not napoleon's: `a, b: text`, and a plural s after a name."""
    written: list[str] = []
    several: list[list[str]] = []  # the same field under each of its names
    for line in lines:
        line = re.sub(r"(`[\w.]+`)s\b", r"\1\\ s", line)
        field = _SEVERAL.match(line)
        deeper = several and line.startswith(several[0][0][: -len(several[0][0].lstrip())] + " ")
        if deeper:
            for one in several:
                one.append(line)
            continue
        written += [text for one in several for text in one]
        several = []
        if field:
            indent, names, text = field.groups()
            several = [[f"{indent}{one}: {text}"] for one in names.split(", ")]
        else:
            written.append(line)
    lines[:] = written + [text for one in several for text in one]


def setup(app: Sphinx) -> None:
    """Register them."""
    app.add_role("name-or-code", NameOrCode())
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", shorter)
