"""What holds for every activation, tried on random piecewise polynomials.

Their moments are known exactly, piece by piece, by the algebra of `closed_forms`. All positions and
coefficients are short binary fractions, so that the callables are these polynomials and no others.
"""

# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield.gaussian import MOMENTS

VARIANCES = np.array([1e-8, 1e-3, 0.05, 1.0, 30.0, 1e6])
POWERS = np.array([1, 2, 4, 2, 4, 0])  # of a factor before phi in each moment
EPS = 2.0**-52
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking would take minutes
ORACLE = mp.mpf("1e-20")  # relative rounding of exact means that took 30 digits at least
SMALLEST = mp.mpf("1e-290")  # below, float64 loses digits to underflow


@dataclass(frozen=True)
class Pieces:
    """`sum_n c[k][n] (x - o_k)^n` on the k-th piece, whose origin `o_k` is its left or only end."""

    ends: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]

    @property
    def origins(self) -> tuple[float, ...]:
        return (self.ends[0] if self.ends else 0.0, *self.ends)

    def __call__(self, x: Any, xp: Any = jnp) -> Any:
        result = 0.0 * x
        low = -np.inf
        for end, origin, c in zip(
            (*self.ends, np.inf), self.origins, self.coefficients, strict=True
        ):
            value = 0.0 * x
            for factor in reversed(c):
                value = value * (x - origin) + factor
            result = xp.where((x > low) & (x <= end), value, result)
            low = end
        return result

    def numpy(self) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: self(x, np)

    def monomials(self, k: int) -> list[Any]:
        """Coefficients of the k-th polynomial in powers of `x`."""
        total = [mp.mpf(0)]
        for factor in reversed(self.coefficients[k]):
            total = convolved(total, [-mp.mpf(self.origins[k]), mp.mpf(1)])
            total[0] += mp.mpf(factor)
        return total

    def value(self, k: int, x: float) -> float:
        """The k-th polynomial, whether or not `x` is on its piece."""
        return float(np.polyval(self.coefficients[k][::-1], x - self.origins[k]))

    @property
    def jumps(self) -> list[float]:
        return [b for k, b in enumerate(self.ends) if self.value(k, b) != self.value(k + 1, b)]


def convolved(a: list[Any], b: list[Any]) -> list[Any]:
    """Coefficients of the product of two polynomials."""
    product = [mp.mpf(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def truncated_powers(low: Any, high: Any, q: Any, count: int) -> list[Any]:
    """`E[z^n; low < z < high]` for `n < count`, `z ~ N(0, q)`, by partial integration."""
    edges = [(s, x, mp.npdf(x, 0, mp.sqrt(q))) for s, x in ((1, low), (-1, high)) if mp.isfinite(x)]
    means = [mp.ncdf(high / mp.sqrt(q)) - mp.ncdf(low / mp.sqrt(q))]
    for n in range(count - 1):
        boundary = sum((s * x**n * density for s, x, density in edges), mp.mpf(0))
        means.append(q * (boundary + (n * means[n - 1] if n else 0)))
    return means


def exact(phi: Pieces, q: float) -> list[list[Any]]:
    """The moments in order, and their first and second derivatives in `q`, by Hermite polynomials.

    `phi'` is without the jumps: with any, the means of its powers are infinite. Where the means are
    tiny they are differences of numbers of size 1 and need digits accordingly.
    """
    for digits in (60, 400):
        with mp.workdps(digits):
            means = _exact(phi, mp.mpf(q))
            if min(abs(x) for x in means[0][1:3]) > mp.mpf(10) ** (30 - digits):
                break
    return means


def _exact(phi: Pieces, q: Any) -> list[list[Any]]:
    weights = ([1], [-1 / (2 * q), 0, 1 / (2 * q**2)],
               [3 / (4 * q**2), 0, -3 / (2 * q**3), 0, 1 / (4 * q**4)])  # fmt: skip
    ends = [-mp.inf, *map(mp.mpf, phi.ends), mp.inf]
    total = [[mp.mpf(0)] * 6 for _ in weights]
    for k, c in enumerate(map(phi.monomials, range(len(ends) - 1))):
        slope = [n * x for n, x in enumerate(c)][1:] or [mp.mpf(0)]
        c2, d2 = convolved(c, c), convolved(slope, slope)
        functions = (c, c2, convolved(c2, c2), d2, convolved(d2, d2), [mp.mpf(not any(c))])
        means = truncated_powers(ends[k], ends[k + 1], q, 4 * len(c) + 4)
        for order, weight in enumerate(weights):
            for moment, f in enumerate(functions):
                terms = convolved(f, weight)
                total[order][moment] += mp.fdot(terms, means[: len(terms)])
    return total


def fractions(least: float, most: float, part: int) -> st.SearchStrategy[float]:
    return st.integers(int(least * part), int(most * part)).map(lambda k: k / part)


@st.composite
def polynomials(draw: Any, degree: int, continuous: bool, most: int = 5) -> Pieces:
    """Up to `most` kinks in [-6, 6], at least 1/8 apart; some pieces are zero."""
    ends = sorted(draw(st.sets(st.integers(-48, 48), min_size=1, max_size=most)))
    ends = [k / 8 for k in ends]
    pieces: list[tuple[float, ...]] = []
    for _ in range(len(ends) + 1):
        pieces.append(tuple(draw(fractions(-3, 3, 4)) for _ in range(degree + 1)))
    silent = draw(st.integers(0, 2 ** len(pieces) - 1)) if not continuous else 0
    pieces = [(0.0,) if silent >> k & 1 else c for k, c in enumerate(pieces)]
    if continuous:  # each piece starts where the one before it ended
        for k in range(1, len(pieces)):
            before = Pieces(tuple(ends), tuple(pieces))
            pieces[k] = (before.value(k - 1, ends[k - 1]), *pieces[k][1:])
    return Pieces(tuple(ends), tuple(pieces))


linear = polynomials(1, True)
cubic = polynomials(3, True)
torn = polynomials(3, False)


def check(phi: Pieces, activation: mf.Activation) -> None:
    """Moments and derivatives are never farther off than their errors, and moments 1e-12 at most.

    Except for `phi'` of black boxes: rounding of the values limits it, as `test_moments` says.
    """
    exempt = () if isinstance(activation.function, Pieces) else ("dphi2", "dphi4")
    m = activation.moments(VARIANCES, derivatives=True)
    assert m.first is not None and m.second is not None
    parts = ((m.value, m.error), (m.first, m.first_error), (m.second, m.second_error))
    with mp.workdps(60):
        for i, q in enumerate(VARIANCES):
            expected = exact(phi, q)
            root = mp.sqrt(abs(expected[0][1]))
            size = [root, *expected[0][1:5], 1]
            for order, (value, error) in enumerate(parts):
                for k, name in enumerate(MOMENTS):
                    where = f"{phi}: {name}, derivative {order}, q = {q:.3g}"
                    got, true = value[i, k], expected[order][k]
                    if phi.jumps and name.startswith("dphi"):
                        assert (got == np.inf) if order == 0 else np.isnan(got), where
                        continue
                    off = abs(mp.mpf(float(got)) - true)
                    rounding = (ORACLE * size[k] + SMALLEST) / mp.mpf(q) ** order
                    allowed = mp.mpf(error[i, k]) + rounding
                    assert off <= allowed, f"{where}: off {float(off):.2g} > {error[i, k]:.2g}"
                    if order == 0 and size[k] > SMALLEST and name not in exempt:
                        assert off <= 1e-12 * size[k], f"{where}: {float(off / size[k]):.2g}"


@given(st.one_of(linear, cubic, torn))
@settings(max_examples=40, phases=PHASES)
def test_no_error_is_larger_than_reported(phi: Pieces) -> None:
    assume(any(any(c) for c in phi.coefficients))
    check(phi, mf.Activation(phi))


@given(st.one_of(linear, cubic, torn))
@settings(max_examples=25, phases=PHASES)
def test_no_error_is_larger_than_reported_in_numpy(phi: Pieces) -> None:
    assume(any(any(c) for c in phi.coefficients))
    check(phi, mf.Activation(phi.numpy()))


@given(linear)
@settings(max_examples=15, phases=PHASES)
def test_interpolated_tables(phi: Pieces) -> None:
    """`interp` of JAX and of NumPy: constant beyond the first and the last kink."""
    assume(len(phi.ends) > 1)
    flat = [phi.coefficients[1][:1], *phi.coefficients[1:-1]]
    last = phi.value(len(phi.ends) - 1, phi.ends[-1])
    phi = Pieces(phi.ends, (*flat, (last,)))
    assume(any(any(c) for c in phi.coefficients))
    heights = [phi.value(k, b) for k, b in enumerate(phi.ends)]
    ends, table = np.array(phi.ends), np.array(heights)
    check(phi, mf.Activation(lambda x: jnp.interp(x, ends, table)))
    check(phi, mf.Activation(lambda x: np.interp(x, ends, table)))


@given(st.one_of(linear, cubic, torn))
@settings(max_examples=25, phases=PHASES)
def test_kinks(phi: Pieces) -> None:
    """Found are the kinks that are there and no others, by both ways."""
    true = [
        b for k, b in enumerate(phi.ends)
        if any(derivatives_differ(phi, k, b))
    ]  # fmt: skip
    for activation in (mf.Activation(phi), mf.Activation(phi.numpy())):
        assert len(activation.kinks) == len(true), (activation.kinks, true)
        np.testing.assert_allclose(activation.kinks, true, rtol=0, atol=1e-6)
        np.testing.assert_allclose(activation.jumps, phi.jumps, rtol=0, atol=1e-12)


def derivatives_differ(phi: Pieces, k: int, b: float) -> list[bool]:
    left, right = (np.polynomial.Polynomial(phi.coefficients[j]) for j in (k, k + 1))
    at, other = b - phi.origins[k], b - phi.origins[k + 1]
    return [
        abs((left.deriv(n) if n else left)(at) - (right.deriv(n) if n else right)(other)) > 0
        for n in range(4)
    ]


# -- scaling --


def same(a: Any, b: Any, error: Any) -> None:
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.isfinite(a), finite)
    a, b, error = (np.where(finite, x, 0.0) for x in (a, b, error))
    assert np.all(np.abs(a - b) <= error + 1e-290)


@given(st.one_of(linear, cubic, torn), st.sampled_from([-3.0, 1e-9, 0.7, 1e4]))
@settings(max_examples=10, phases=PHASES)
def test_a_factor_before_phi(phi: Pieces, a: float) -> None:
    plain = mf.Activation(phi).moments(VARIANCES)
    scaled = mf.Activation(lambda x: a * phi(x)).moments(VARIANCES)
    factor = a**POWERS
    rounding = 8 * EPS * np.abs(scaled.value)
    with np.errstate(invalid="ignore"):  # 0 times an infinite moment
        error = scaled.error + np.abs(factor) * plain.error + rounding
    same(scaled.value, factor * plain.value, error)


@given(st.one_of(linear, cubic, torn), st.sampled_from([-1.0, 0.5, 3.0, -8.0]))
@settings(max_examples=10, phases=PHASES)
def test_a_factor_before_x(phi: Pieces, b: float) -> None:
    plain = mf.Activation(phi).moments(VARIANCES)
    stretched = mf.Activation(lambda x: phi(b * x)).moments(VARIANCES / b**2)
    factor = np.array([1, 1, 1, b**2, b**4, 1])
    # b x is rounded, and with it the place of each kink
    rounding = 8 * EPS * np.abs(stretched.value) * (1 + 36 / VARIANCES[:, None])
    error = stretched.error + factor * plain.error + rounding
    same(stretched.value, factor * plain.value, error)


# -- disjoint supports --


@given(cubic, st.integers(-40, 40))
@settings(max_examples=10, phases=PHASES)
def test_disjoint_supports_add_up(phi: Pieces, cut: int) -> None:
    c = cut / 8
    f = mf.Activation(lambda x: jnp.where(x < c, phi(x), 0.0)).moments(VARIANCES)
    g = mf.Activation(lambda x: jnp.where(x < c, 0.0, phi(x))).moments(VARIANCES)
    both = mf.Activation(phi).moments(VARIANCES)
    error = f.error + g.error + both.error + 4 * EPS * np.abs(both.value)
    for name in ("phi", "phi2", "phi4"):
        k = MOMENTS.index(name)
        same(f.value[:, k] + g.value[:, k], both.value[:, k], error[:, k])


# -- integration by parts --


@given(linear)
@settings(max_examples=25, phases=PHASES)
@pytest.mark.parametrize("way", ["jax", "numpy"])
def test_integration_by_parts(way: str, phi: Pieces) -> None:
    """`phi'' = sum J_k delta(x - b_k)`, so all derivatives in `q` are sums over the kinks.

    By Stein's lemma `dE[f]/dq = E[f'']/2`: twice the slope of `E[phi]` is `sum J_k n(b_k)`, that of
    `E[phi^2]` is `E[phi'^2] + sum J_k phi(b_k) n(b_k)`, and `phi'^2` is a staircase.
    """
    q = VARIANCES[1:]
    m = mf.Activation(phi if way == "jax" else phi.numpy()).moments(q, derivatives=True)
    assert m.first is not None and m.first_error is not None
    assert m.second is not None and m.second_error is not None
    b = np.array(phi.ends)
    slopes = np.array([c[1] for c in phi.coefficients])
    heights = np.array([phi.value(k, x) for k, x in enumerate(phi.ends)])
    u = b / np.sqrt(q)[:, None]
    density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi * q)[:, None]
    rounding = 8 * EPS * (1 + u**2)

    def close(got: Any, error: Any, terms: Any, rest: Any = 0.0, doubt: Any = 0.0) -> None:
        slack = error + doubt + (np.abs(terms) * rounding).sum(1) + 4 * EPS * np.abs(got)
        assert np.all(np.abs(got - terms.sum(1) - rest) <= slack)

    phi1, phi2, dphi2 = (MOMENTS.index(name) for name in ("phi", "phi2", "dphi2"))
    bends = np.diff(slopes) * density
    close(m.first[:, phi1], m.first_error[:, phi1], bends / 2)
    close(
        m.first[:, phi2], m.first_error[:, phi2], bends * heights,
        m.value[:, dphi2], m.error[:, dphi2],
    )  # fmt: skip
    steps = 0.5 * np.diff(slopes**2) * density * (b / q[:, None])
    close(m.first[:, dphi2], m.first_error[:, dphi2], steps)
    curved = bends * heights * (u**2 - 1) / (2 * q[:, None])
    size = bends * np.abs(heights) * (u**2 + 1) / (2 * q[:, None])
    close(
        m.second[:, phi2], m.second_error[:, phi2], curved, m.first[:, dphi2],
        m.first_error[:, dphi2] + (np.abs(size) * rounding).sum(1),
    )  # fmt: skip
