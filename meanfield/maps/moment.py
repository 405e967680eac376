"""`E[phi^2]` at every variance, and as a table for those who ask for it thousands of times.

The moment is analytic in `log q` (see `meanfield.interpolation`), so on each binade of `q`, cut in
2, 4, ... where the tails of an activation make it steep, 16 Chebyshev nodes hold it to rounding.
A table has polynomials, not values: their roots and extrema are *all* the roots and extrema.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation, remembered
from meanfield.chebyshev import LEBESGUE, points, to_series
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.maps.powers import FARTHEST, NEAREST, Powers, far_out, near_zero
from meanfield.precision import EPS

__all__ = ["NODES", "SecondMoment", "Table", "near_zero_of", "second_moment", "table_of"]

Array = NDArray[np.float64]

NODES = 16
_RESOLVED = 1e-14  # the last coefficients beside the largest
_FINEST = 64  # pieces of a binade
_IRRELEVANT = 1e60  # a moment so many times larger or smaller than q needs no digits
_STEEP = 6.0  # by so many powers of e a moment may change on a cell that is resolved
_LOWEST = -900  # 1e-271: the coefficients of 2^-1000 would be subnormal
_NEAREST = round(np.log2(NEAREST))
_VAGUE = 1e-3  # an exponent known no better tells nothing
_GROUP = 8  # binades sampled together
_BLOCK = 512  # variances summed together
OVERFLOW = "overflow"  # where E[phi^2] exceeds float64
USUAL_TOP = 34  # binades up to 1.7e10
_DEAR = 1 << 14  # samples from which on more are taken only if somebody needs them


class SecondMoment(NamedTuple):
    """`E[f^2]` and its derivatives in `q`, each with a bound of its error; shape (n,)."""

    value: Array
    error: Array
    first: Array
    first_error: Array
    second: Array
    second_error: Array


near_zero_of = remembered(near_zero)
_far_out_of = remembered(far_out)


@np.errstate(all="ignore")
def second_moment(
    activation: Activation, q: Array, name: str = "phi2", derivatives: bool = True
) -> SecondMoment:
    """`E[phi^2]`, or by their names `E[phi'^2]`, `E[phi^4]`, `E[phi'^4]`, at `q >= 0`, shape (n,).

    Limits from above at 0. What overflows is `inf`; what cannot be computed is NaN with error
    `inf`, and so are derivatives that were not asked for.
    """
    column = MOMENTS.index(name)
    result = np.full((6, len(q)), np.nan)
    result[1::2] = np.inf
    middle = (q >= NEAREST) & (q <= FARTHEST)
    if np.any(middle):
        m = activation.moments(q[middle], derivatives)
        parts = (m.value, m.error, m.first, m.first_error, m.second, m.second_error)
        for row, part in zip(result, parts, strict=True):
            if part is not None:
                row[middle] = part[:, column]
    if not np.all(middle):
        near = near_zero_of(activation)[name]
        for where, law in (((q > 0) & (q < NEAREST), near), (q > FARTHEST, None)):
            if np.any(where):
                law = law or _far_out_of(activation, name)
                result[:, where] = [part for k in range(3) for part in law.derivative(q[where], k)]
        if np.any(q == 0):
            result[:, q == 0] = np.array(_at_zero(near))[:, None]
    return SecondMoment(*result)


def _at_zero(law: Powers) -> list[float]:
    limits = []
    for order in range(3):
        value = law.limit(order)
        at = law.errors[law.exponents == order]
        limits += [value, float(at[0]) if len(at) and np.isfinite(value) else 0.0]
    return limits


@dataclass(frozen=True, eq=False)
class Table:
    """Chebyshev coefficients of `E[phi^2]` in `log2 q`, cell by cell.

    Attributes:
        lowest: the binade `[2^k, 2^(k+1))` with which the table starts.
        first: the first cell of each binade, and one more; shape (binades + 1,). A binade is cut
            into equally many parts of `log2 q`.
        coefficients: shape (cells, 16).
        variance: those of `q` itself.
        error: bounds of the absolute error, shape (cells,).
        end: why it goes no farther up: empty (nobody asked), `OVERFLOW`, or a sentence.
    """

    lowest: int
    first: NDArray[np.int64]
    coefficients: Array
    variance: Array
    error: Array
    end: str

    @property
    def edges(self) -> Array:
        """`log2 q` at the edges of the cells; shape (cells + 1,)."""
        count = np.diff(self.first)
        inside = np.arange(self.first[-1]) - np.repeat(self.first[:-1], count)
        starts = self.lowest + np.repeat(np.arange(len(count)), count)
        left = starts + inside / np.repeat(count, count)
        return np.append(left, self.lowest + len(count))

    @property
    def range(self) -> tuple[float, float]:
        """The variances that it covers; up to inf if it has all of float64."""
        with np.errstate(over="ignore"):
            return float(np.exp2(self.edges[0])), float(np.exp2(self.edges[-1]))


@remembered
def table_of(activation: Activation, top: int = USUAL_TOP, patient: bool = False) -> Table:
    """The table up to `q = 2^top`, or as far as the activation can be computed.

    That of a function that oscillates ends where it takes 16,000 samples, unless one is patient.
    """
    low = _LOWEST if near_zero_of(activation)["phi2"].exponent_error < _VAGUE else _NEAREST
    # where powers of q tell the moment all binades are taken at once
    binades = _binades(activation, low, _NEAREST) if low < _NEAREST else []
    k, end, samples = _NEAREST, "", 0
    while k < top and not end:
        stop = min(k + _GROUP, top)
        while stop > k and (end := _trouble(activation, stop)):
            stop = k + (stop - k) // 2
        if stop > k:
            binades += _binades(activation, k, stop)
            k = stop
        if k < top and not end and not patient:
            reach = max(LEAST_REACH, 2.0 ** (k // 2 + 4))
            before, samples = samples, activation.columns(reach).samples.x.size
            if samples > max(_DEAR, 1.5 * before):
                end = f"{activation.name} oscillates, so that larger q take ever more samples"
    first = np.cumsum([0, *(len(error) for *_, error in binades)])
    coefficients, variance, error = map(np.concatenate, zip(*binades, strict=True))
    return Table(low, first, coefficients, variance, error, end)


def _trouble(activation: Activation, binade: int) -> str:
    """Why there is no moment up to `q = 2^binade`; empty if there is."""
    q = np.ldexp(np.array([1 - EPS]), binade)
    try:
        moment = second_moment(activation, q)
    except UnresolvedError as error:
        return str(error)
    if moment.value[0] == np.inf:
        return OVERFLOW
    known = np.isfinite(moment.error[0])
    return "" if known else activation.why_not(float(q[0]), "E[phi^2]")


@np.errstate(all="ignore")
def _binades(activation: Activation, start: int, stop: int) -> list[tuple[Array, Array, Array]]:
    """Coefficients of `E[phi^2]` and of `q`, and errors, of the cells of each binade."""
    pending = {k: 1 for k in range(start, stop)}
    done: dict[int, tuple[Any, Any, Any]] = {}
    while pending:
        binade = np.repeat([*pending], [*pending.values()])[:, None]
        left = np.concatenate([np.arange(n) / n for n in pending.values()])[:, None]
        half = np.concatenate([np.full(n, 0.5 / n) for n in pending.values()])[:, None]
        q = np.ldexp(np.exp2(left + half * (1 + points(NODES))), binade)
        # so few at a time that they are summed, not interpolated
        blocks = [
            second_moment(activation, q.ravel()[i : i + _BLOCK], derivatives=False)
            for i in range(0, q.size, _BLOCK)
        ]
        value, doubt = (
            np.concatenate([getattr(block, part) for block in blocks]).reshape(q.shape)
            for part in ("value", "error")
        )
        coefficients = value @ to_series(NODES)
        largest = np.max(np.abs(coefficients), axis=1)
        last = np.max(np.abs(coefficients[:, -2:]), axis=1)
        fine = last <= np.maximum(_RESOLVED * largest, np.max(doubt, axis=1))
        least = np.min(value, axis=1)
        beside = np.stack([largest, least]) / np.min(q, axis=1)
        fine |= (beside[0] <= 1 / _IRRELEVANT) | (beside[1] >= _IRRELEVANT)
        change = np.log(np.max(value, axis=1) / least)
        rounding = 4 * EPS * np.sum(np.abs(coefficients), axis=1)
        error = LEBESGUE * np.max(doubt, axis=1) + rounding + np.where(fine, last, largest)
        at = 0
        for k, n in list(pending.items()):
            cells = slice(at, at + n)
            at += n
            if np.all(fine[cells]) or n >= _FINEST:
                done[k] = coefficients[cells], q[cells] @ to_series(NODES), error[cells]
                del pending[k]
            else:
                steps = np.nan_to_num(np.max(change[cells]) / _STEEP, posinf=_FINEST)
                pending[k] = n * max(
                    2, 1 << int(np.ceil(np.log2(min(max(steps, 1), _FINEST // n))))
                )
    return [done[k] for k in range(start, stop)]
