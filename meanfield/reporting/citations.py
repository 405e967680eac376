"""The papers that a report rests on, as a line of text and as BibTeX."""

from typing import NamedTuple

__all__ = ["PAPERS", "Paper", "citation"]


class Paper(NamedTuple):
    """A paper, and what it is cited for."""

    authors: str
    year: int
    title: str
    eprint: str  # of arXiv
    about: str

    def __str__(self) -> str:
        names = self.authors.split(" and ")
        first = names[0].split(", ")[0]
        second = f" & {names[1].split(', ')[0]}" if len(names) == 2 else " et al."
        who = first + (second if len(names) > 1 else "")
        return f"{who} {self.year}, {self.title}, arXiv {self.eprint}"


PAPERS = {
    "poole2016": Paper(
        "Poole, Ben and Lahiri, Subhaneil and Raghu, Maithra and Sohl-Dickstein, Jascha and "
        "Ganguli, Surya", 2016,
        "Exponential expressivity in deep neural networks through transient chaos", "1606.05340",
        "variance and correlation maps",
    ),
    "schoenholz2017": Paper(
        "Schoenholz, Samuel S. and Gilmer, Justin and Ganguli, Surya and Sohl-Dickstein, Jascha",
        2017, "Deep information propagation", "1611.01232", "depth scales and trainable depth",
    ),
    "hayou2019": Paper(
        "Hayou, Soufiane and Doucet, Arnaud and Rousseau, Judith", 2019,
        "On the impact of the activation function on deep neural networks training", "1902.06853",
        "the edge of chaos of general activations",
    ),
    "roberts2022": Paper(
        "Roberts, Daniel A. and Yaida, Sho and Hanin, Boris", 2022,
        "The principles of deep learning theory", "2106.10165",
        "universality classes and corrections of order 1/n",
    ),
    "pennington2018": Paper(
        "Pennington, Jeffrey and Schoenholz, Samuel S. and Ganguli, Surya", 2018,
        "The emergence of spectral universality in deep networks", "1802.09979",
        "Jacobian spectra and dynamical isometry",
    ),
    "day2023": Paper(
        "Day, Hannah and Kahn, Yonatan and Roberts, Daniel A.", 2023,
        "Feature learning and generalization in deep networks with orthogonal weights",
        "2310.07765", "orthogonal weights at finite width",
    ),
    "hanin2018": Paper(
        "Hanin, Boris and Nica, Mihai", 2018,
        "Products of many large random matrices and gradients in deep neural networks",
        "1812.05994", "the spread of gradients at finite width",
    ),
    "price2024": Paper(
        "Price, Ilan and Daultry Ball, Nicholas and Lam, Samuel C. H. and Jones, Adam C. and "
        "Tanner, Jared", 2024, "Deep neural network initialization with sparsity inducing "
        "activations", "2402.16184", "clipping of sparsity-inducing activations",
    ),
}  # fmt: skip


def citation(key: str | None = None) -> str:
    r"""BibTeX of a paper that the package rests on, or of all of them.

    Args:
        key: as printed at the end of a report, such as `"poole2016"`; all papers if not given.

    Raises:
        ValueError: there is no paper of this key.

    Example:
        >>> import meanfield as mf
        >>> print(mf.citation("schoenholz2017").splitlines()[0])
        @misc{schoenholz2017,
    """
    if key is not None and key not in PAPERS:
        raise ValueError(f"key: must be one of {', '.join(PAPERS)}; got {key!r}")
    return "\n\n".join(_bibtex(name) for name in ([key] if key else PAPERS))


def _bibtex(key: str) -> str:
    paper = PAPERS[key]
    fields = {
        "author": paper.authors, "title": paper.title, "year": paper.year,
        "eprint": paper.eprint, "archivePrefix": "arXiv",
    }  # fmt: skip
    return "\n".join([f"@misc{{{key},", *(f"  {k} = {{{v}}}," for k, v in fields.items()), "}"])
