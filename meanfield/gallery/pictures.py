"""The pictures of the gallery: name, title, caption, source, and the function that draws it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from meanfield import plot
from meanfield.gallery import sketches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Picture"]


class Picture(NamedTuple):
    """A picture of the gallery.

    Attributes:
        name: of its file.
        title: in a few words.
        caption: what is to be seen.
        source: the paper whose equation or figure it is.
        draw: draws and returns the figure; call `figure` for our style.
        sampled: whether random networks are in it, whose numbers differ by the rounding of single
            precision from machine to machine.
        slow: whether it takes more than a second or so.
    """

    name: str
    title: str
    caption: str
    source: str
    draw: Callable[[], "Figure"]
    sampled: bool = False
    slow: bool = False

    def figure(self) -> "Figure":
        """The figure, in the package's style."""
        with plot.style():
            return self.draw()

    @property
    def tolerance(self) -> float:
        """Relative difference of numbers from those known that counts as none."""
        return 2e-2 if self.sampled else 1e-4


_POOLE = "Poole et al. 2016, arXiv 1606.05340"
_SCHOENHOLZ = "Schoenholz et al. 2017, arXiv 1611.01232"
_HAYOU = "Hayou, Doucet & Rousseau 2019, arXiv 1902.06853"
_PENNINGTON = "Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979"
_PENNINGTON_2017 = "Pennington, Schoenholz & Ganguli 2017, arXiv 1711.04735"
_PDLT = "Roberts, Yaida & Hanin 2022, arXiv 2106.10165"
_BURKHOLZ = "Burkholz & Dubatovka 2019, arXiv 1806.06362"
_ANTOGNINI = "Antognini 2019, arXiv 1908.10030"
_DEZOORT = "DeZoort & Hanin 2023, arXiv 2306.11668"
_YANG = "Yang & Schoenholz 2017, arXiv 1712.08969"
_PRICE = "Price et al. 2024, arXiv 2402.16184"
_DAY = "Day, Kahn & Roberts 2023, arXiv 2310.07765"
_HANIN = "Hanin & Nica 2018, arXiv 1812.05994"

PICTURES = (
    Picture(
        "phases_of_tanh", "The phase diagram of tanh",
        "Ordered networks make all inputs alike, chaotic ones tear near ones apart. Between them, "
        "on the edge of chaos, `chi1 = sigma_w^2 E[phi'(sqrt(q) z)^2] = 1`, signals reach any "
        "depth. Contours: depth scales `xi_c = -1/ln C'(c*)` of 3, 6 and 12 layers.",
        f"{_POOLE}, figure 1, and {_SCHOENHOLZ}, figure 5", sketches.phases_of_tanh,
    ),
    Picture(
        "phases_of_relu", "The phase diagram of ReLU",
        "`V(q) = sigma_w^2 q / 2 + sigma_b^2`: the edge of chaos is one point, `(2, 0)`; beyond a "
        "weight variance of 2 the variance explodes.",
        f"{_HAYOU}, on the edge of chaos of ReLU-like functions", sketches.phases_of_relu,
    ),
    Picture(
        "phases_of_gelu", "The phase diagram of GELU",
        "The curve `chi1 = 1` is an edge of chaos only where `V' < 1` holds the variance; "
        "elsewhere (dashed) the variance leaves it. It changes at the half-stable point "
        "`(1.983, 0.1729)`.",
        f"{_PDLT}, on half-stable activations", sketches.phases_of_gelu,
    ),
    Picture(
        "edges_of_chaos", "Edges of chaos",
        "Of each activation all points with `sigma_w^2 E[phi'^2] = 1` and "
        "`sigma_b^2 = q - sigma_w^2 E[phi^2] >= 0`, by `q`.",
        f"{_HAYOU}, figure 1", sketches.edges_of_chaos,
    ),
    Picture(
        "variance_maps", "The variance map",
        "`V(q) = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2`, and the way of a signal that starts "
        "at 5.5: tanh forgets its length within a few layers.",
        f"{_POOLE}, figure 1", sketches.variance_maps,
    ),
    Picture(
        "correlation_maps", "The correlation map",
        "`C(c) = (sigma_w^2 E[phi(u) phi(v)] + sigma_b^2) / q*` of two signals of correlation `c`. "
        "Its slope at 1 is `chi1`: above 1, two equal inputs are an unstable fixed point.",
        f"{_POOLE}, figure 2", sketches.correlation_maps,
    ),
    Picture(
        "correlations_with_depth", "What depth does to two inputs",
        "On the edge of chaos powers of the depth, elsewhere exponentials: `1 - c` goes like "
        "`9 pi^2 / (2 l^2)` with ReLU and like `2 E[phi'^2] / (q E[phi''^2] l)` with smooth "
        "activations.",
        _HAYOU, sketches.correlations_with_depth,
    ),
    Picture(
        "clip_curves", "Choosing a clip level",
        "Slope and curvature of the variance map of `min(max(x - tau, 0), m)` at `q = 1` on the "
        "edge of chaos. Unclipped, the slope is 1; each dot has the slope 0.7.",
        f"{_PRICE}, figure 4", sketches.clip_curves,
    ),
    Picture(
        "clip_map", "Sparsity and clip level",
        "Where hatched, a second variance is stable, and the noise of a finite width can carry a "
        "network there. Dotted: where two standard deviations of it at width 300 reach the "
        "border.",
        f"the variance map of {_PRICE}; basins and noise are this package's", sketches.clip_map,
    ),
    Picture(
        "clip_choice", "A clip level too high",
        "At 90 % sparsity and slope 0.9 the clipped map crosses the diagonal three times, and the "
        "unstable crossing is nearer than two standard deviations of the variance at width 300.",
        f"{_PRICE}, figure 2; basin and noise are this package's", sketches.clip_choice,
    ),
    Picture(
        "spectrum", "Singular values of a Jacobian",
        "Density by free probability, `S_JJ = prod S_phi'^2 S_WW`, against those of ten random "
        "networks of width 200.",
        _PENNINGTON, sketches.spectrum, sampled=True, slow=True,
    ),
    Picture(
        "spectra_with_depth", "Jacobians and depth",
        "`Var(s^2) = L (E[phi'^4]/E[phi'^2]^2 - 1)` with orthogonal weights. A small `q` keeps it "
        "small for tanh; for ReLU it is `L` at every `q`.",
        f"{_PENNINGTON_2017} and {_PENNINGTON}", sketches.spectra_with_depth,
    ),
    Picture(
        "universality", "Universality classes",
        "With `Var(s^2) = 1/2` kept while the depth grows, the spectrum has a limit that depends "
        "on the class alone: `S = exp(-v m)` where all slopes differ a little, "
        "`S = exp(-v m / (1 + m))` where a few units are off.",
        f"{_PENNINGTON}, section 4", sketches.universality,
    ),
    Picture(
        "growth", "The largest singular value",
        "Orthogonal weights keep tanh nearly isometric, at the `q` that suits 64 layers; ReLU only "
        "if mirrored (`[[W, -W], [-W, W]]`, exactly 1).",
        f"{_PENNINGTON_2017}; mirrored weights: {_BURKHOLZ}", sketches.growth, slow=True,
    ),
    Picture(
        "fluctuations", "Fluctuations of finite networks",
        "The four-point vertex `V4/K^2` grows with depth for Gaussian weights. Orthogonal ones "
        "hold it at -2 for tanh, and lower its growth from 5 to 3 a layer for ReLU.",
        _DAY, sketches.fluctuations,
    ),
    Picture(
        "output_density", "The law of an output",
        "The Gaussian of infinite width, its first correction "
        "`1 + V4/(8 n K^2) He4(z/sqrt(K))`, and the exact law of ReLU.",
        f"{_ANTOGNINI}; exact law: {_BURKHOLZ}", sketches.output_density,
    ),
    Picture(
        "gradient_fan", "Gradients of finite networks",
        "`ln |J u|^2` is nearly normal, of mean `-beta/2` and variance `beta = 5 L/n`: most "
        "gradients shrink, while their mean stays the same.",
        _HANIN, sketches.gradient_fan,
    ),
    Picture(
        "valid_region", "How wide is wide enough",
        "Above the line `V4/(n K^2)` and `G1/(n K)` are below 1/2, above the dashed one gradients "
        "differ by less than a factor e from network to network.",
        f"{_PDLT}, whose expansion it is; the limit 1/2 is this package's", sketches.valid_region,
    ),
    Picture(
        "simulation", "Theory against random networks",
        "Order 1/n against 2000 networks of width 64, with the deviation in standard errors.",
        f"{_PDLT}, recursions of `V4` and `G1`; {_HANIN}",
        sketches.simulation, sampled=True, slow=True,
    ),
    Picture(
        "oversmoothing", "Oversmoothing of graph networks",
        "`K' = C A F(K) A^T`. With a fixed aggregation `1 - c` of two nodes falls exponentially, "
        "with residual aggregation by a power of the depth; residual branches keep it.",
        _DEZOORT, sketches.oversmoothing,
    ),
    Picture(
        "architectures", "Architectures",
        "Residual branches double the variance in each block of ReLU, `q' = q + a^2 V(q)`, unless "
        "their variance is `a^2 = 1/L` or a normalisation comes before them.",
        f"{_YANG}, for residual networks", sketches.architectures,
    ),
    Picture(
        "schemes", "Named initialisation schemes",
        "Where the variances that each scheme chooses for tanh lie in its phase diagram.",
        f"phases: {_POOLE}; schemes: `meanfield schemes tanh`", sketches.schemes,
    ),
    Picture(
        "report", "A report",
        "`meanfield report gelu -o report.png`: all of it on one page.",
        "those of its panels, listed at the end of `meanfield report gelu`",
        sketches.report, slow=True,
    ),
)  # fmt: skip
