"""Finite width: the recursions against a loop with Gauss-Hermite nodes, and laws against draws."""

import numpy as np

import meanfield as mf
from benchmarks.measure import once, seconds, table, warm
from meanfield.width.exact import ExactLaw

_DEPTH, _SOME = 100_000, 2_000
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_BENDS = (np.ones(64), _NODES**2 - 1, _NODES**4 - 6 * _NODES**2 + 3)


def by_hand(q: float, layers: int) -> tuple[float, float, float]:
    """The kernel, `V4` and `G1` of tanh at weight variance 1, as one would write it down."""
    K, V, G = q, 0.0, 0.0
    for _ in range(layers - 1):
        f = np.tanh(np.sqrt(K) * _NODES) ** 2
        second, slope, bend = (_WEIGHTS @ (f * he) / (2 * K) ** k for k, he in enumerate(_BENDS))
        G = slope * G + bend * V / 2
        V = _WEIGHTS @ f**2 - second**2 + slope**2 * V
        K = second
    return K, V, G


def finite_width() -> None:
    network = mf.Network("tanh", weight_var=1.0)
    fixed = mf.critical("tanh", q=1.0)

    def deep(net, **options):
        return mf.finite_width(net, _DEPTH, 300, **options)

    def turned():
        return deep(network, q=0.5, weights="orthogonal")

    deep(network, q=0.5)
    ours = warm(lambda: deep(network, q=0.5))
    hand = once(lambda: by_hand(0.5, _SOME)) * _DEPTH / _SOME
    K, V, G = by_hand(0.5, _SOME)
    some = mf.finite_width(network, _SOME, 1, q=0.5)
    off = max(abs(float(some.kernel[-1]) / K - 1), abs(float(some.four_point[-1]) / V - 1),
              abs(float(some.kernel_correction[-1]) / G - 1))  # fmt: skip
    rows = [
        ["a kernel that moves", seconds(ours), "1", f"{some.error:.0e}"],
        ["orthogonal weights", *_row(warm(turned), ours)],
        ["at a fixed point", *_row(warm(lambda: deep(fixed)), ours)],
        ["a loop, Gauss-Hermite 64", seconds(hand), f"{hand / ours:.3g}", f"{off:.0e}"],
    ]  # fmt: skip
    note = f"the loop: {_DEPTH // _SOME} times {_SOME} layers; errors after {_SOME} layers"
    table(
        f"Kernel, V4 and G1 of tanh, {_DEPTH} layers, warm", ["time", "ratio", "error"], rows, note
    )
    _pairs()
    _laws()


def _row(time: float, unit: float) -> list[str]:
    return [seconds(time), f"{time / unit:.3g}", ""]


def _pairs() -> None:
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    time = warm(lambda: mf.finite_width_pair(net, 11, 100, 0.3, q=(1.0, 0.5)))
    table("Pairs of inputs, tanh", ["a layer"], [["kernels that move", seconds(time / 10)]])


def _laws() -> None:
    width, depth, draws = 100, 50, 10_000
    rng = np.random.default_rng(0)
    p = np.array([0.01, 0.5, 0.99])

    def law() -> np.ndarray:
        return ExactLaw((0.0, 1.0), 2.0, 1.0, np.full(depth, width)).log_kernel().quantile(p)

    def drawn() -> np.ndarray:
        log = np.zeros(draws)
        for _ in range(depth - 1):
            log += np.log(2 * np.mean(np.maximum(rng.normal(size=(draws, width)), 0) ** 2, axis=1))
        return np.quantile(log, p)

    exact, sampled = law(), drawn()
    unit = warm(law)
    rows = [
        ["exact law", seconds(unit), "1", *(f"{x:.4f}" for x in exact)],
        [f"{draws} draws of norms, NumPy", *_row(once(drawn), unit)[:2],
         *(f"{x:.4f}" for x in sampled)],
    ]  # fmt: skip
    header = ["time", "ratio", "1 %", "50 %", "99 %"]
    table(f"Quantiles of ln K, ReLU, width {width}, {depth} layers", header, rows)
