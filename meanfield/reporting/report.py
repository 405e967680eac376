"""`report`: everything about an activation on one page, each number with what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meanfield import files
from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances
from meanfield.keywords import spelt
from meanfield.reporting.chapters import (
    Entry,
    Section,
    headline_of,
    references_of,
    sections_of,
)
from meanfield.reporting.citations import PAPERS
from meanfield.reporting.findings import Findings, findings_of
from meanfield.reporting.numbers import numbers_of
from meanfield.strict_json import strict_json
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Entry", "Report", "Section", "report"]

_WRAP = 88


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """An activation on one page; prints as text, and renders in a notebook.

    Attributes:
        findings: the results themselves, from which all is written.
        sections: what is told, a `Section` each, of `Entry`s.
        references: keys of `citation`.
    """

    findings: Findings
    sections: tuple[Section, ...]
    references: tuple[str, ...]

    @property
    def activation(self) -> Activation:
        """What the report is about."""
        return self.findings.activation

    @property
    def headline(self) -> tuple[tuple[str, str], ...]:
        """The few numbers that one came for, by name."""
        return headline_of(self.findings)

    def __str__(self) -> str:
        from textwrap import fill

        lines = [f"{self.activation.name}: how to initialise it, and how deep", ""]
        for section in self.sections:
            lines.append(section.title)
            for entry in section.entries:
                lines.append(f"  {entry.name:24} {entry.value}")
                if entry.advice:
                    lines.append(fill(entry.advice, _WRAP, initial_indent=" " * 6,
                                      subsequent_indent=" " * 6))  # fmt: skip
            for block in section.code:
                lines.append(f"  {block.title}")
                lines += [f"    {line}" for line in block.lines]
            lines.append("")
        lines.append("References (BibTeX: meanfield.citation(key))")
        lines += [f"  {key}: {PAPERS[key]}" for key in self.references]
        return "\n".join(lines)

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All that is told: `numbers` for programs, and the sentences of each section.

        `numbers` holds results by their kinds, as floats, booleans and names of verdicts; see
        `meanfield.reporting.numbers`. In JSON an infinite number is the text `"inf"`.
        """
        return {
            "activation": self.activation.name,
            "depth": self.findings.depth,
            "width": self.findings.width,
            "numbers": numbers_of(self.findings),
            "sections": [
                {
                    "title": section.title,
                    "entries": [entry._asdict() for entry in section.entries],
                    "code": {block.title: str(block) for block in section.code},
                }
                for section in self.sections
            ],
            "references": {key: str(PAPERS[key]) for key in self.references},
        }

    def _repr_html_(self) -> str:
        from meanfield.reporting.html import fragment

        return fragment(self)

    def plot(self, ax: Any = None) -> "Any | list[Axes]":
        """Draw its panels; see `meanfield.plot.report`."""
        from meanfield import plot

        return plot.report(self, ax=ax)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it: `.html` (one self-contained page), `.json`, `.txt`, or its figure.

        Args:
            path: where; the suffix says what: `.html`, `.json`, `.txt`, `.png`, `.pdf` or `.svg`.

        Raises:
            ValueError: the suffix is another.
        """
        from meanfield.reporting.html import page

        def picture(path: Path) -> None:
            from meanfield.plot.report import figure

            figure(self).savefig(path)

        texts = {
            ".html": files.text(lambda: page(self)),
            ".json": files.text(lambda: strict_json(self.to_dict())),
            ".txt": files.text(lambda: str(self)),
        }
        return files.save(path, texts | dict.fromkeys((".png", ".pdf", ".svg"), picture))


@spelt
def report(
    phi: Callable | str | Activation,
    q: float | None = None,
    depth: int = 64,
    width: int = 300,
) -> Report:
    r"""One page on an activation: how to initialise it, how deep it can be, and what to watch.

    Its kinks and class, a critical initialisation, what depth does there to signals, correlations
    and gradients, dynamical isometry, finite width, clipping where the variance map asks for it,
    lines of code to paste, and references.

    Args:
        phi: the activation, as for `critical`.
        q: the variance of the pre-activations to recommend; a stable one near 1 if not given.
        depth: number of layers that is asked for.
        width: of the layers.

    Returns:
        A `Report`: print it, `plot()` it, or `save("report.html")`.

    Raises:
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        ValueError: an argument is outside its range.

    Example:
        >>> import meanfield as mf
        >>> page = mf.report("tanh", depth=20)
        >>> print(str(page).splitlines()[0])
        tanh: how to initialise it, and how deep
    """
    from meanfield.clip.numbers import width_of

    activation = as_activation(phi)
    if q is not None:
        q = float(checked_variances("q", q))
    found = findings_of(activation, q, whole_number("depth", depth), width_of(width))
    return Report(found, sections_of(found), references_of(found))
