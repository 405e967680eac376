"""Gaussian moments that are known in closed form, to test the numerics against; in mpmath numbers.

`CLOSED_FORMS[name][moment](q, **parameters)` is an expectation over `z ~ N(0, q)`, with all
parameters of the catalogued activation given. The moments are `phi`, `phi2`, `phi4`, `dphi2` and
`dphi4`, the means of `phi`, `phi^2`, `phi^4`, `phi'^2` and `phi'^4` (steps add nothing to `phi'`),
and `sparsity`, `P(phi(z) = 0)`.

Nearly all follow from one: sums of `c x^n exp(a x - k x^2)` are closed under products and
derivatives, and each has a truncated Gaussian mean in closed form. So such an activation is only
declared, piece by piece.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mpmath import asin, erf, exp, inf, isfinite, mpc, mpf, ncdf, npdf, pi, re, sqrt

Number = Any  # an mpmath number
Terms = Mapping[tuple[int, Number, Number], Number]  # (n, a, k) -> c, for c x^n exp(a x - k x^2)
Piece = tuple[Number, Number, Terms]  # from, to, and the function in between
Moments = Mapping[str, Callable[..., Number]]


def _terms(terms: Iterable[tuple[tuple[int, Number, Number], Number]]) -> Terms:
    """The sum, without the terms that vanish."""
    total: dict[tuple[int, Number, Number], Number] = {}
    for key, c in terms:
        total[key] = total.get(key, 0) + c
    return {key: c for key, c in total.items() if c != 0}


def _power(c: Number, n: int = 0, a: Number = 0, k: Number = 0) -> Terms:
    """`c x^n exp(a x - k x^2)`."""
    return _terms([((n, a, k), c)])


def _sum(*summands: Terms) -> Terms:
    return _terms(item for f in summands for item in f.items())


def _product(f: Terms, g: Terms) -> Terms:
    return _terms(
        ((n + m, a + b, k + j), c * d) for (n, a, k), c in f.items() for (m, b, j), d in g.items()
    )


def _derivative(f: Terms) -> Terms:
    return _sum(
        _terms(((n - 1, a, k), c * n) for (n, a, k), c in f.items() if n),
        _terms(((n, a, k), c * a) for (n, a, k), c in f.items()),
        _terms(((n + 1, a, k), -2 * c * k) for (n, a, k), c in f.items()),
    )


def _truncated(n: int, shift: Number, low: Number, high: Number, q: Number) -> Number:
    """`E[(z + shift)^n; low < z + shift < high]`, `z ~ N(0, q)`, by partial integration.

    A complex shift is for the whole line, where the first two are 1 and `shift`.
    """
    edges = [(sign, x) for sign, x in ((1, low), (-1, high)) if isfinite(x)]
    density = {x: npdf(x - shift, 0, sqrt(q)) for _, x in edges}
    before = 0
    mean = ncdf((high - shift) / sqrt(q)) - ncdf((low - shift) / sqrt(q)) if edges else mpf(1)
    for m in range(n):
        boundary = sum(sign * x**m * density[x] for sign, x in edges)
        before, mean = mean, shift * mean + q * (m * before + boundary)
    return mean


def _mean(pieces: Iterable[Piece], q: Number) -> Number:
    """The Gaussian mean: `exp(a x - k x^2)` turns `N(0, q)` into a multiple of `N(a r, r)`."""
    total = mpf(0)
    for low, high, terms in pieces:
        for (n, a, k), c in terms.items():
            r = q / (1 + 2 * k * q)
            total += c * sqrt(r / q) * exp(a * a * r / 2) * _truncated(n, a * r, low, high, r)
    return re(total)


def _piecewise(declare: Callable[..., list[Piece]]) -> Moments:
    """All moments of the activation with these pieces."""

    def moment(operation: Callable[[Terms], Terms]) -> Callable[..., Number]:
        def closed_form(q: Number, **parameters: Number) -> Number:
            pieces = declare(**{name: mpf(value) for name, value in parameters.items()})
            return _mean([(low, high, operation(f)) for low, high, f in pieces], mpf(q))

        return closed_form

    def square(f: Terms) -> Terms:
        return _product(f, f)

    return {
        "phi": moment(lambda f: f),
        "phi2": moment(square),
        "phi4": moment(lambda f: square(square(f))),
        "dphi2": moment(lambda f: square(_derivative(f))),
        "dphi4": moment(lambda f: square(square(_derivative(f)))),
        "sparsity": moment(lambda f: {} if f else _power(1)),
    }


def _join(edges: Iterable[Number], *functions: Terms) -> list[Piece]:
    """Pieces between `-inf`, the edges and `inf`."""
    ends = [-inf, *map(mpf, edges), inf]
    return list(zip(ends[:-1], ends[1:], functions, strict=True))


def _line(slope: Number, offset: Number = 0) -> Terms:
    return _sum(_power(slope, 1), _power(offset))


def _leaky(alpha: Number) -> list[Piece]:
    return _join([0], _line(alpha), X)


def _exponential_linear(alpha: Number, width: Number, scale: Number) -> list[Piece]:
    """`scale x` above zero, `scale alpha (exp(x/width) - 1)` below."""
    below = _sum(_power(scale * alpha, a=1 / width), _power(-scale * alpha))
    return _join([0], below, _line(scale))


def _cosine(c: Number, frequency: Number, k: Number = 0) -> Terms:
    """`c cos(frequency x) exp(-k x^2)`."""
    return _sum(_power(c / 2, a=mpc(0, frequency), k=k), _power(c / 2, a=mpc(0, -frequency), k=k))


def _sine(frequency: Number) -> Terms:
    half = 1 / mpc(0, 2)
    return _sum(_power(half, a=mpc(0, frequency)), _power(-half, a=mpc(0, -frequency)))


def _sinc(scale: Callable[[], Number]) -> Moments:
    """`sin(s x)/(s x)` and its square, whose spectra are a box and a triangle.

    `scale` is called to give `s` in the precision of the moment.
    """

    def phi(q: Number) -> Number:
        v = mpf(q) * scale() ** 2
        return sqrt(pi / (2 * v)) * erf(sqrt(v / 2))

    def phi2(q: Number) -> Number:
        v = mpf(q) * scale() ** 2
        return sqrt(pi / (2 * v)) * erf(sqrt(2 * v)) + (exp(-2 * v) - 1) / (2 * v)

    return {"phi": phi, "phi2": phi2}


ZERO: Terms = {}
ONE = _power(mpf(1))
X = _power(mpf(1), 1)

ERF: Moments = {
    "phi": lambda q: mpf(0),
    "phi2": lambda q: 2 / pi * asin(2 * mpf(q) / (1 + 2 * mpf(q))),
    "dphi2": lambda q: 4 / (pi * sqrt(1 + 4 * mpf(q))),
    "dphi4": lambda q: 16 / (pi**2 * sqrt(1 + 8 * mpf(q))),
    "sparsity": lambda q: mpf(0),
}


def _gelu_phi2(q: Number) -> Number:
    q = mpf(q)
    return q / 4 + q / (2 * pi) * (asin(q / (1 + q)) + 2 * q / ((1 + q) * sqrt(1 + 2 * q)))


def _gelu_dphi2(q: Number) -> Number:
    """`E[Phi^2] + 2 E[x Phi npdf] + E[x^2 npdf^2]`, the last two by Stein's lemma."""
    q = mpf(q)
    cross = 2 * q / ((1 + q) * sqrt(1 + 2 * q))
    return mpf(1) / 4 + (asin(q / (1 + q)) + cross + q / (1 + 2 * q) ** mpf(1.5)) / (2 * pi)


GELU: Moments = {
    "phi": lambda q: mpf(q) / sqrt(2 * pi * (1 + mpf(q))),
    "phi2": _gelu_phi2,
    "dphi2": _gelu_dphi2,
    "sparsity": lambda q: mpf(0),
}

CLOSED_FORMS: dict[str, Moments] = {
    "identity": _piecewise(lambda: _join([], X)),
    "relu": _piecewise(lambda: _join([0], ZERO, X)),
    "leaky_relu": _piecewise(_leaky),
    "prelu": _piecewise(_leaky),
    "rrelu": _piecewise(lambda lower, upper: _leaky((lower + upper) / 2)),
    "abs": _piecewise(lambda: _leaky(mpf(-1))),
    "relu6": _piecewise(lambda: _join([0, 6], ZERO, X, _power(6))),
    "hard_tanh": _piecewise(lambda: _join([-1, 1], _power(-1), X, ONE)),
    "hard_sigmoid": _piecewise(lambda: _join([-3, 3], ZERO, _line(mpf(1) / 6, mpf(1) / 2), ONE)),
    "sparse_sigmoid": _piecewise(lambda: _join([-1, 1], ZERO, _line(mpf(1) / 2, mpf(1) / 2), ONE)),
    "shifted_relu": _piecewise(lambda tau: _join([tau], ZERO, _line(1, -tau))),
    "crelu": _piecewise(lambda tau, m: _join([tau, tau + m], ZERO, _line(1, -tau), _power(m))),
    "soft_threshold": _piecewise(
        lambda tau: _join([-tau, tau], _line(1, tau), ZERO, _line(1, -tau))
    ),
    "cst": _piecewise(
        lambda tau, m: _join(
            [-tau - m, -tau, tau, tau + m],
            *(_power(-m), _line(1, tau), ZERO, _line(1, -tau), _power(m)),
        )
    ),
    "step": _piecewise(lambda: _join([0], ZERO, ONE)),
    "sign": _piecewise(lambda: _join([0], _power(-1), ONE)),
    "hard_shrink": _piecewise(lambda tau: _join([-tau, tau], X, ZERO, X)),
    "threshold": _piecewise(lambda tau, value: _join([tau], _power(value), X)),
    "squared_relu": _piecewise(lambda: _join([0], ZERO, _power(1, 2))),
    "star_relu": _piecewise(
        lambda scale, bias: _join([0], _power(bias), _sum(_power(scale, 2), _power(bias)))
    ),
    "smelu": _piecewise(
        lambda beta: _join(
            [-beta, beta],
            *(ZERO, _sum(_power(1 / (4 * beta), 2), _line(mpf(1) / 2, beta / 4)), X),
        )
    ),
    "hard_silu": _piecewise(
        lambda: _join([-3, 3], ZERO, _sum(_power(mpf(1) / 6, 2), _line(mpf(1) / 2)), X)
    ),
    "hard_mish": _piecewise(lambda: _join([-2, 0], ZERO, _sum(_power(mpf(1) / 2, 2), X), X)),
    "elu": _piecewise(lambda alpha: _exponential_linear(alpha, mpf(1), mpf(1))),
    "celu": _piecewise(lambda alpha: _exponential_linear(alpha, alpha, mpf(1))),
    "selu": _piecewise(
        lambda: _exponential_linear(
            mpf("1.6732632423543772848170429916717"),
            mpf(1),
            mpf("1.0507009873554804934193349852946"),
        )
    ),
    "gelu": GELU,
    "snake": _piecewise(
        lambda alpha: _join(
            [], _sum(_line(1, 1 / (2 * alpha)), _cosine(-1 / (2 * alpha), 2 * alpha))
        )
    ),
    "erf": ERF,
    "sin": _piecewise(lambda frequency: _join([], _sine(frequency))),
    "cos": _piecewise(lambda frequency: _join([], _cosine(mpf(1), frequency))),
    "sinc": _sinc(lambda: mpf(1)),
    "sinc_pi": _sinc(lambda: +pi),
    "gaussian": _piecewise(lambda width: _join([], _power(1, k=1 / width**2))),
    "wavelet": _piecewise(lambda: _join([], _cosine(mpf(1), mpf(1), k=mpf(1)))),
    "square": _piecewise(lambda: _join([], _power(1, 2))),
    "cube": _piecewise(lambda: _join([], _power(1, 3))),
    "exp": _piecewise(lambda: _join([], _power(1, a=mpf(1)))),
}
