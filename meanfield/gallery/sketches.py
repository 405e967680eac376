"""The figures of the gallery, a function each; `pictures` beside it says what they show."""

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf
from meanfield import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(width: float = 6.0, height: float = 4.4) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _one(title: str, width: float = 6.0, height: float = 4.4) -> Any:
    ax = _figure(width, height).subplots()
    ax.set_title(title)
    return ax


def phases_of_tanh() -> "Figure":
    grid = np.linspace(0.5, 3.0, 120) ** 2, np.linspace(0.0, 0.7, 120) ** 2
    ax = _one("phases of tanh")
    mf.phase_diagram("tanh", *grid).plot(ax, units="standard deviation", contours=(3, 6, 12))
    return ax.figure


def phases_of_relu() -> "Figure":
    ax = _one("phases of ReLU")
    mf.phase_diagram("relu", np.linspace(0.5, 3.0, 80), np.linspace(0.0, 1.0, 80)).plot(ax)
    return ax.figure


def phases_of_gelu() -> "Figure":
    ax = _one("phases of GELU")
    mf.phase_diagram("gelu", np.linspace(1.4, 2.8, 120), np.linspace(0.0, 0.3, 120)).plot(ax)
    return ax.figure


def edges_of_chaos() -> "Figure":
    ax = _one("edges of chaos")
    plot.edges_of_chaos(["tanh", "erf", "gelu", "silu", "elu", "relu"], ax)
    return ax.figure


def variance_maps() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, weight_std in zip(made.subplots(1, 2), (1.3, 2.5), strict=True):
        net = mf.Network("tanh", weight_var=weight_std**2, bias_var=0.3**2)
        plot.variance_map(mf.fixed_points(net), ax, q=np.linspace(0, 6, 201), q0=5.5)
        ax.set_title(rf"tanh, $\sigma_w$ = {weight_std}, $\sigma_b$ = 0.3")
    return made


def correlation_maps() -> "Figure":
    made = _figure(12.0, 4.2)
    for ax, weight_std in zip(made.subplots(1, 3, sharey=True), (1.3, 2.5, 4.0), strict=True):
        net = mf.Network("tanh", weight_var=weight_std**2, bias_var=0.3**2)
        plot.correlation_map(mf.correlation_map(net), ax, correlation=np.linspace(0, 1, 129))
        ax.set_title(rf"tanh, $\sigma_w$ = {weight_std}, $\sigma_b$ = 0.3")
    return made


def correlations_with_depth() -> "Figure":
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


def clip_curves() -> "Figure":
    made = _figure(9.6, 4.2)
    plot.clip_curves(mf.clip_diagram("shifted_relu", [0.7, 0.85, 0.9, 0.95]), made.subplots(1, 2))
    made.suptitle("shifted ReLU clipped at $m$, on the edge of chaos")
    return made


def clip_map() -> "Figure":
    ax = _one("shifted ReLU clipped at $m$", 6.6)
    levels = np.linspace(0.2, 3.0, 90)
    diagram = mf.clip_diagram("shifted_relu", np.linspace(0.5, 0.95, 60), m=levels, width=300)
    plot.clip_map(diagram, ax)
    return ax.figure


def clip_choice() -> "Figure":
    ax = _one("90 % sparsity, slope 0.9: a second stable variance")
    plot.clip_choice(mf.clip_threshold("shifted_relu", sparsity=0.9, slope=0.9), ax)
    return ax.figure


def spectrum() -> "Figure":
    point = mf.critical("tanh", q=0.2, weights="orthogonal")
    drawn = mf.simulate(point, width=200, depth=16, draws=10, jacobian=True, progress=False)
    ax = _one("Jacobian of 16 layers of tanh, orthogonal weights")
    mf.jacobian_spectrum(point, depth=16).plot(ax, sampled=drawn.jacobian_singular_values)
    return ax.figure


def spectra_with_depth() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, (phi, q) in zip(made.subplots(1, 2), (("tanh", 0.05), ("relu", 1.0)), strict=True):
        point = mf.critical(phi, q)
        depths = (4, 16, 64) if phi == "tanh" else (2, 4, 8)
        shown = {f"{n} layers": mf.jacobian_spectrum(point, n, "orthogonal") for n in depths}
        plot.spectra(shown, ax)
        ax.set_title(f"{phi}, critical at $q$ = {q:g}, orthogonal")
    return made


def universality() -> "Figure":
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


def growth() -> "Figure":
    made = _figure(9.6, 4.2)
    for ax, phi in zip(made.subplots(1, 2), ("tanh", "relu"), strict=True):
        mf.isometry(phi, depth=64).growth().plot(ax, quantity="s_max")
        ax.set_title(phi)
    return made


def fluctuations() -> "Figure":
    made = _figure(9.6, 4.2)
    cases = ("tanh", mf.Network("tanh", 1.0), 0.5), ("ReLU", mf.Network("relu", 2.0), 1.0)
    for ax, (name, net, q) in zip(made.subplots(1, 2), cases, strict=True):
        both = [mf.finite_width(net, 50, 300, q=q, weights=w) for w in ("gaussian", "orthogonal")]
        plot.finite_width(both, ax, scaled=True, exact=False)
        ax.set_title(f"{name}, critical")
    return made


def output_density() -> "Figure":
    ax = _one("an output over networks: 4 layers of 40, ReLU")
    plot.output_density(mf.finite_width(mf.critical("relu"), depth=4, width=40), ax, log=True)
    return ax.figure


def gradient_fan() -> "Figure":
    ax = _one("gradients in networks of width 100, ReLU")
    plot.gradient_fan(mf.finite_width(mf.critical("relu"), depth=100, width=100), ax)
    return ax.figure


def valid_region() -> "Figure":
    ax = _one("where 1/width is small, GELU")
    plot.valid_region(mf.finite_width(mf.critical_points("gelu")[0], depth=200, width=300), ax)
    return ax.figure


def simulation() -> "Figure":
    point = mf.critical("tanh", q=0.5)
    drawn = mf.simulate(point, width=64, depth=20, draws=2000, progress=False)
    names = ("variance", "four_point", "gradient_log_norm_var")
    made = _figure(10.8, 5.0)
    made.suptitle(f"2000 networks: {drawn.title}")
    grid = made.subplots(2, 3, sharex=True, height_ratios=(2, 1))
    comparison = drawn.compare(mf.finite_width(point, depth=20, width=64))
    plot.comparison(comparison, grid, quantities=names)
    return made


def oversmoothing() -> "Figure":
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


def architectures() -> "Figure":
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


def schemes() -> "Figure":
    ax = _one("initialisation schemes for tanh", 6.6, 4.8)
    mf.schemes.compare("tanh").plot(ax)
    return ax.figure


def report() -> "Figure":
    from meanfield.plot.report import figure

    return figure(mf.report("gelu"))
