"""The pictures of the gallery: name, title, caption, source, and the function that draws it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import meanfield as mf
from meanfield import plot

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


def _figure(width: float = 6.0, height: float = 4.4) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _one(title: str, width: float = 6.0, height: float = 4.4) -> Any:
    ax = _figure(width, height).subplots()
    ax.set_title(title)
    return ax


def _phases_of_tanh() -> "Figure":
    grid = np.linspace(0.5, 3.0, 120) ** 2, np.linspace(0.0, 0.7, 120) ** 2
    ax = _one("phases of tanh")
    mf.phase_diagram("tanh", *grid).plot(ax, units="standard deviation", contours=(3, 6, 12))
    return ax.figure


def _phases_of_relu() -> "Figure":
    ax = _one("phases of ReLU")
    mf.phase_diagram("relu", np.linspace(0.5, 3.0, 80), np.linspace(0.0, 1.0, 80)).plot(ax)
    return ax.figure


def _phases_of_gelu() -> "Figure":
    ax = _one("phases of GELU")
    mf.phase_diagram("gelu", np.linspace(1.4, 2.8, 120), np.linspace(0.0, 0.3, 120)).plot(ax)
    return ax.figure


def _edges_of_chaos() -> "Figure":
    ax = _one("edges of chaos")
    plot.edges_of_chaos(["tanh", "erf", "gelu", "silu", "elu", "relu"], ax)
    return ax.figure


def _variance_maps() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, weight_std in zip(made.subplots(1, 2), (1.3, 2.5), strict=True):
        net = mf.Network("tanh", weight_var=weight_std**2, bias_var=0.3**2)
        plot.variance_map(mf.fixed_points(net), ax, q=np.linspace(0, 6, 201), q0=5.5)
        ax.set_title(rf"tanh, $\sigma_w$ = {weight_std}, $\sigma_b$ = 0.3")
    return made


def _correlation_maps() -> "Figure":
    made = _figure(12.0, 4.2)
    for ax, weight_std in zip(made.subplots(1, 3, sharey=True), (1.3, 2.5, 4.0), strict=True):
        net = mf.Network("tanh", weight_var=weight_std**2, bias_var=0.3**2)
        plot.correlation_map(mf.correlation_map(net), ax, correlation=np.linspace(0, 1, 129))
        ax.set_title(rf"tanh, $\sigma_w$ = {weight_std}, $\sigma_b$ = 0.3")
    return made


def _correlations_with_depth() -> "Figure":
    ax = _one("two inputs become one")
    networks = {
        "ReLU, critical: $44.4/\\ell^2$": mf.critical("relu"),
        "tanh, critical: $3.09/\\ell$": mf.critical("tanh"),
        "tanh, ordered": mf.Network("tanh", weight_var=1.7, bias_var=0.15),
        "tanh, chaotic": mf.Network("tanh", weight_var=2.6, bias_var=0.15),
    }
    for (label, net), (color, dashes) in zip(networks.items(), plot.CYCLE, strict=False):
        way = mf.correlation_map(net).iterate(c0=0.5, depth=1000)
        way.plot(ax, complement=True, color=color, linestyle=dashes, label=label)
    ax.set(ylim=(1e-7, 1.5))
    ax.legend(loc="lower left")
    return ax.figure


def _clip_curves() -> "Figure":
    made = _figure(9.6, 4.2)
    plot.clip_curves(mf.clip_diagram("shifted_relu", [0.7, 0.85, 0.9, 0.95]), made.subplots(1, 2))
    made.suptitle("shifted ReLU clipped at $m$, on the edge of chaos")
    return made


def _clip_map() -> "Figure":
    ax = _one("shifted ReLU clipped at $m$", 6.6)
    levels = np.linspace(0.2, 3.0, 90)
    diagram = mf.clip_diagram("shifted_relu", np.linspace(0.5, 0.95, 60), m=levels, width=300)
    plot.clip_map(diagram, ax)
    return ax.figure


def _clip_choice() -> "Figure":
    ax = _one("90 % sparsity, slope 0.9: a second stable variance")
    plot.clip_choice(mf.clip_threshold("shifted_relu", sparsity=0.9, slope=0.9), ax)
    return ax.figure


def _spectrum() -> "Figure":
    point = mf.critical("tanh", q=0.2, weights="orthogonal")
    drawn = mf.simulate(point, width=200, depth=16, draws=10, jacobian=True, progress=False)
    ax = _one("Jacobian of 16 layers of tanh, orthogonal weights")
    mf.jacobian_spectrum(point, depth=16).plot(ax, sampled=drawn.jacobian_singular_values)
    return ax.figure


def _spectra_with_depth() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, (phi, q) in zip(made.subplots(1, 2), (("tanh", 0.05), ("relu", 1.0)), strict=True):
        point = mf.critical(phi, q)
        depths = (4, 16, 64) if phi == "tanh" else (2, 4, 8)
        shown = {f"{n} layers": mf.jacobian_spectrum(point, n, "orthogonal") for n in depths}
        plot.spectra(shown, ax)
        ax.set_title(f"{phi}, critical at $q$ = {q:g}, orthogonal")
    return made


def _universality() -> "Figure":
    made = _figure(9.6, 4.2)
    classes = {"smooth": "tanh", "bernoulli": "hard_tanh"}
    for ax, (kind, phi) in zip(made.subplots(1, 2), classes.items(), strict=True):
        shown: dict[str, Any] = {
            f"{phi}, {depth} layers": mf.jacobian_spectrum(
                mf.critical(phi, mf.q_for_depth(phi, depth, 0.5)), depth, "orthogonal"
            )
            for depth in (16, 128)
        }
        plot.spectra(shown | {"limit": mf.universal_spectrum(0.5, kind)}, ax)
        ax.set_title(f"{kind} class")
    return made


def _growth() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, phi in zip(made.subplots(1, 2), ("tanh", "relu"), strict=True):
        mf.isometry(phi, depth=64).growth().plot(ax, quantity="s_max")
        ax.set_title(phi)
    return made


def _fluctuations() -> "Figure":
    made = _figure(9.6, 4.2)
    cases = ("tanh", mf.Network("tanh", 1.0), 0.5), ("ReLU", mf.Network("relu", 2.0), 1.0)
    for ax, (name, net, q) in zip(made.subplots(1, 2), cases, strict=True):
        both = [mf.finite_width(net, 50, 300, q=q, weights=w) for w in ("gaussian", "orthogonal")]
        plot.finite_width(both, ax, scaled=True, exact=False)
        ax.set_title(f"{name}, critical")
    return made


def _output_density() -> "Figure":
    ax = _one("an output over networks: 4 layers of 40, ReLU")
    plot.output_density(mf.finite_width(mf.critical("relu"), depth=4, width=40), ax, log=True)
    return ax.figure


def _gradient_fan() -> "Figure":
    ax = _one("gradients in networks of width 100, ReLU")
    plot.gradient_fan(mf.finite_width(mf.critical("relu"), depth=100, width=100), ax)
    return ax.figure


def _valid_region() -> "Figure":
    ax = _one("where 1/width is small, GELU")
    plot.valid_region(mf.finite_width(mf.critical_points("gelu")[0], depth=200, width=300), ax)
    return ax.figure


def _simulation() -> "Figure":
    point = mf.critical("tanh", q=0.5)
    drawn = mf.simulate(point, width=64, depth=20, draws=2000, progress=False)
    names = ("variance", "four_point", "gradient_log_norm_var")
    made = _figure(10.8, 5.0)
    made.suptitle(f"2000 networks: {drawn.title}")
    grid = made.subplots(2, 3, sharex=True, height_ratios=(2, 1))
    comparison = drawn.compare(mf.finite_width(point, depth=20, width=64))
    plot.comparison(comparison, grid, quantities=names)
    return made


def _oversmoothing() -> "Figure":
    import meanfield.layers as ml

    near = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    ring = np.isin(np.minimum(near, 30 - near), (1, 2)).astype(float)
    kinds: dict[str, dict[str, Any]] = {
        "fixed aggregation": {},
        "residual aggregation, $e = 2/L$": {"residual_aggregation": 2 / 50},
        "no graph": {"residual_aggregation": 0.0},
        "residual branches, variance $1/L$": {"residual_scale": "depth"},
    }
    networks = [ml.graph_network(ring, depth=50, **options) for options in kinds.values()]
    ax = _one("30 nodes in a ring, each with 4 neighbours, ReLU")
    plot.oversmoothing(networks, ax, labels=list(kinds))
    return ax.figure


def _architectures() -> "Figure":
    import meanfield.layers as ml

    branch = ml.serial(ml.activation("relu"), ml.dense(2.0))
    blocks = {
        "plain": branch,
        "residual": ml.residual(branch),
        "residual, variance $1/L$": ml.residual(branch, scale=0.1),
        "pre-norm residual": ml.residual(ml.serial(ml.layer_norm(), branch)),
    }
    made = _figure(9.6, 4.2)
    signal, difference = made.subplots(1, 2)
    for (label, block), (color, dashes) in zip(blocks.items(), plot.CYCLE, strict=False):
        trace = ml.propagate(ml.repeat(block, 100), q=1.0, correlation=0.3)
        look = {"color": color, "linestyle": dashes, "label": label}
        signal.semilogy(trace.variance, **look)
        difference.semilogy(np.ravel(trace.one_minus), **look)
    signal.set(
        xlabel="depth (blocks)",
        ylabel="variance of the signal",
        yticks=10.0 ** np.arange(0, 31, 10),
    )
    difference.set(xlabel="depth (blocks)", ylabel="difference $1 - c$ of two inputs")
    signal.legend(loc="upper left")
    return made


def _schemes() -> "Figure":
    ax = _one("initialisation schemes for tanh", 6.6, 4.8)
    mf.schemes.compare("tanh").plot(ax)
    return ax.figure


def _report() -> "Figure":
    from meanfield.plot.report import figure

    return figure(mf.report("gelu"))


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
        f"{_POOLE}, figure 1, and {_SCHOENHOLZ}, figure 5", _phases_of_tanh,
    ),
    Picture(
        "phases_of_relu", "The phase diagram of ReLU",
        "`V(q) = sigma_w^2 q / 2 + sigma_b^2`: the edge of chaos is one point, `(2, 0)`; beyond a "
        "weight variance of 2 the variance explodes.",
        f"{_HAYOU}, on the edge of chaos of ReLU-like functions", _phases_of_relu,
    ),
    Picture(
        "phases_of_gelu", "The phase diagram of GELU",
        "The curve `chi1 = 1` is an edge of chaos only where `V' < 1` holds the variance; "
        "elsewhere (dashed) the variance leaves it. It changes at the half-stable point "
        "`(1.983, 0.1729)`.",
        f"{_PDLT}, on half-stable activations", _phases_of_gelu,
    ),
    Picture(
        "edges_of_chaos", "Edges of chaos",
        "Of each activation all points with `sigma_w^2 E[phi'^2] = 1` and "
        "`sigma_b^2 = q - sigma_w^2 E[phi^2] >= 0`, by `q`.",
        f"{_HAYOU}, figure 1", _edges_of_chaos,
    ),
    Picture(
        "variance_maps", "The variance map",
        "`V(q) = sigma_w^2 E[phi(sqrt(q) z)^2] + sigma_b^2`, and the way of a signal that starts "
        "at 5.5: tanh forgets its length within a few layers.",
        f"{_POOLE}, figure 1", _variance_maps,
    ),
    Picture(
        "correlation_maps", "The correlation map",
        "`C(c) = (sigma_w^2 E[phi(u) phi(v)] + sigma_b^2) / q*` of two signals of correlation `c`. "
        "Its slope at 1 is `chi1`: above 1, two equal inputs are an unstable fixed point.",
        f"{_POOLE}, figure 2", _correlation_maps,
    ),
    Picture(
        "correlations_with_depth", "What depth does to two inputs",
        "On the edge of chaos powers of the depth, elsewhere exponentials: `1 - c` goes like "
        "`9 pi^2 / (2 l^2)` with ReLU and like `2 E[phi'^2] / (q E[phi''^2] l)` with smooth "
        "activations.",
        _HAYOU, _correlations_with_depth,
    ),
    Picture(
        "clip_curves", "Choosing a clip level",
        "Slope and curvature of the variance map of `min(max(x - tau, 0), m)` at `q = 1` on the "
        "edge of chaos. Unclipped, the slope is 1; each dot has the slope 0.7.",
        f"{_PRICE}, figure 4", _clip_curves,
    ),
    Picture(
        "clip_map", "Sparsity and clip level",
        "Where hatched, a second variance is stable, and the noise of a finite width can carry a "
        "network there. Dotted: where two standard deviations of it at width 300 reach the "
        "border.",
        f"the variance map of {_PRICE}; basins and noise are this package's", _clip_map,
    ),
    Picture(
        "clip_choice", "A clip level too high",
        "At 90 % sparsity and slope 0.9 the clipped map crosses the diagonal three times, and the "
        "unstable crossing is nearer than two standard deviations of the variance at width 300.",
        f"{_PRICE}, figure 2; basin and noise are this package's", _clip_choice,
    ),
    Picture(
        "spectrum", "Singular values of a Jacobian",
        "Density by free probability, `S_JJ = prod S_phi'^2 S_WW`, against those of ten random "
        "networks of width 200.",
        _PENNINGTON, _spectrum, sampled=True, slow=True,
    ),
    Picture(
        "spectra_with_depth", "Jacobians and depth",
        "`Var(s^2) = L (E[phi'^4]/E[phi'^2]^2 - 1)` with orthogonal weights. A small `q` keeps it "
        "small for tanh; for ReLU it is `L` at every `q`.",
        f"{_PENNINGTON_2017} and {_PENNINGTON}", _spectra_with_depth,
    ),
    Picture(
        "universality", "Universality classes",
        "With `Var(s^2) = 1/2` kept while the depth grows, the spectrum has a limit that depends "
        "on the class alone: `S = exp(-v m)` where all slopes differ a little, "
        "`S = exp(-v m / (1 + m))` where a few units are off.",
        f"{_PENNINGTON}, section 4", _universality,
    ),
    Picture(
        "growth", "The largest singular value",
        "Orthogonal weights keep tanh nearly isometric, at the `q` that suits 64 layers; ReLU only "
        "if mirrored (`[[W, -W], [-W, W]]`, exactly 1).",
        f"{_PENNINGTON_2017}; mirrored weights: {_BURKHOLZ}", _growth, slow=True,
    ),
    Picture(
        "fluctuations", "Fluctuations of finite networks",
        "The four-point vertex `V4/K^2` grows with depth for Gaussian weights. Orthogonal ones "
        "hold it at -2 for tanh, and lower its growth from 5 to 3 a layer for ReLU.",
        _DAY, _fluctuations,
    ),
    Picture(
        "output_density", "The law of an output",
        "The Gaussian of infinite width, its first correction "
        "`1 + V4/(8 n K^2) He4(z/sqrt(K))`, and the exact law of ReLU.",
        f"{_ANTOGNINI}; exact law: {_BURKHOLZ}", _output_density,
    ),
    Picture(
        "gradient_fan", "Gradients of finite networks",
        "`ln |J u|^2` is nearly normal, of mean `-beta/2` and variance `beta = 5 L/n`: most "
        "gradients shrink, while their mean stays the same.",
        _HANIN, _gradient_fan,
    ),
    Picture(
        "valid_region", "How wide is wide enough",
        "Above the line `V4/(n K^2)` and `G1/(n K)` are below 1/2, above the dashed one gradients "
        "differ by less than a factor e from network to network.",
        f"{_PDLT}, whose expansion it is; the limit 1/2 is this package's", _valid_region,
    ),
    Picture(
        "simulation", "Theory against random networks",
        "Order 1/n against 2000 networks of width 64, with the deviation in standard errors.",
        f"{_PDLT}, recursions of `V4` and `G1`; {_HANIN}", _simulation, sampled=True, slow=True,
    ),
    Picture(
        "oversmoothing", "Oversmoothing of graph networks",
        "`K' = C A F(K) A^T`. With a fixed aggregation `1 - c` of two nodes falls exponentially, "
        "with residual aggregation by a power of the depth; residual branches keep it.",
        _DEZOORT, _oversmoothing,
    ),
    Picture(
        "architectures", "Architectures",
        "Residual branches double the variance in each block of ReLU, `q' = q + a^2 V(q)`, unless "
        "their variance is `a^2 = 1/L` or a normalisation comes before them.",
        f"{_YANG}, for residual networks", _architectures,
    ),
    Picture(
        "schemes", "Named initialisation schemes",
        "Where the variances that each scheme chooses for tanh lie in its phase diagram.",
        f"phases: {_POOLE}; schemes: `meanfield schemes tanh`", _schemes,
    ),
    Picture(
        "report", "A report",
        "`meanfield report gelu -o report.png`: all of it on one page.",
        "those of its panels, listed at the end of `meanfield report gelu`", _report, slow=True,
    ),
)  # fmt: skip
