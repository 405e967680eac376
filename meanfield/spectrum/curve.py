"""The curve on which `z > 0`: one component for each interval of the support."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import NODES, ORDER, WEIGHTS, coefficients, nodes, series, tail
from meanfield.spectrum.transform import Point, Transform

__all__ = ["Component", "angles", "follow", "radii", "sketch"]

Array = NDArray[np.float64]

_LEAST = 1e-14  # probability beyond which the curve is not followed
_ITERATIONS = 60
_STRIDE = 0.3
_CLOSE = 1e-8
_PANELS = 8
_SKETCH = 65
_HALVINGS = 60
_AT_LEFT = (-1.0) ** np.arange(ORDER)
_DEEP = 34.0
_FAR = 200.0
_SCAN = 257
_RESOLVED = 1e-12
_BISECTIONS = 10


def angles(transform: Transform, log_r: Array) -> Array:
    """The angle in `[0, pi)` at which each circle meets the curve; 0 where it does not."""
    low, high = np.zeros(len(log_r)), np.full(len(log_r), np.pi)
    theta, active = np.full(len(log_r), 1.0), np.arange(len(log_r))
    for _ in range(_ITERATIONS):
        t = theta[active]
        point = transform.at(log_r[active] + 1j * t)
        sine = np.sin(t)
        g = point.F.imag / sine
        slope = (point.D.real - g * np.cos(t)) / sine
        low[active] = np.where(g < 0, t, low[active])
        high[active] = np.where(g < 0, high[active], t)
        with np.errstate(all="ignore"):
            new = t - g / slope
        inside = (new > low[active]) & (new < high[active])
        new = np.where(inside, new, 0.5 * (low[active] + high[active]))
        # where there is none, the bracket shrinks on 0
        new = np.where(~inside & (low[active] == 0), 0.05 * high[active], new)
        theta[active] = new
        still = (np.abs(new - t) > 2e-15 * new) & (new > 1e-13)
        active = active[still]
        if not len(active):
            break
    theta[theta <= 1e-13] = 0.0
    return theta


def radii(transform: Transform) -> list[tuple[float, float]]:
    """Intervals of `r` in which the curve lies, from the top down."""
    law = transform.law
    bands = law.bands
    gaps = [(0.0, bands[0, 0])] + list(zip(bands[:-1, 1], bands[1:, 0], strict=True))
    if np.isfinite(bands[-1, 1]):
        gaps.append((bands[-1, 1], np.inf))
    free: list[tuple[float, float]] = []
    for low, high in gaps:
        if high > low:
            free.extend(_free(transform, low, high))
    ends = [0.0, *np.ravel(sorted(free)).tolist(), np.inf]
    return [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b > a][::-1]


def _free(transform: Transform, low: float, high: float) -> list[tuple[float, float]]:
    """Intervals of a gap of `X` whose images are no spectrum: there `Im F = 0` and `D > 0`.

    `D` is concave in `log r` where `Im F = 0`, which reaches up to the ends of the gap.
    """
    from scipy.optimize import brentq

    def r_of(t):
        if high == np.inf:
            return low + low * np.exp(t)
        if low == 0:
            return high / (1 + np.exp(-t))
        return np.where(
            t < 0, low + (high - low) / (1 + np.exp(-t)), high - (high - low) / (1 + np.exp(t))
        )

    def margin(t):
        r = r_of(np.asarray(t, float).reshape(-1))
        point = transform.at(np.log(r).astype(complex))
        return np.where(np.abs(point.F.imag) < 1e-6, point.D.real, -1.0)

    t = np.linspace(-_DEEP if low else -_FAR, _DEEP if high < np.inf else _FAR, _SCAN)
    g = margin(t)
    for _ in range(3):  # a gap that is all but closed hides between the points
        peak = (
            np.flatnonzero(
                (g[1:-1] <= 0) & (g[1:-1] >= g[:-2]) & (g[1:-1] >= g[2:]) & (g[1:-1] != -1.0)
            )
            + 1
        )
        if not len(peak):
            break
        near = np.concatenate([np.linspace(t[k - 1], t[k + 1], 33) for k in peak])
        t = np.concatenate([t, near])
        g = np.concatenate([g, margin(near)])
        t, order = np.unique(t, return_index=True)
        g = g[order]
    free = np.concatenate([[False], g > 0, [False]])
    starts, stops = (
        np.flatnonzero(np.diff(free.astype(int)) > 0),
        np.flatnonzero(np.diff(free.astype(int)) < 0),
    )
    found = []
    for first, last in zip(starts, stops - 1, strict=True):
        a, b = low, high
        if first > 0:
            a = float(
                r_of(brentq(lambda t: float(margin(t)[0]), t[first - 1], t[first], xtol=1e-13))
            )
        if last < len(t) - 1:
            b = float(r_of(brentq(lambda t: float(margin(t)[0]), t[last], t[last + 1], xtol=1e-13)))
        found.append((a, b))
    return found


@dataclass(frozen=True, eq=False)
class Component:
    """One interval of the support of `y = log s^2`, on panels in `phi`.

    `y = bottom + (top - bottom) cos(phi/2)^2`, `phi` in `[0, pi]`, in which the edges of a spectrum
    are smooth. `low` and `high` are the ends of the support, infinite where it has none, `bottom`
    and `top` those of what is followed.
    """

    low: float
    high: float
    bottom: float
    top: float
    edges: Array
    mass: Array  # series of dP/dphi
    above: Array  # series of P(s^2 > x)
    error: float

    @property
    def inner(self) -> tuple[float, float]:
        """The numbers next to the ends."""
        return float(np.nextafter(self.bottom, np.inf)), float(np.nextafter(self.top, -np.inf))

    def _locate(self, y: Array) -> Array:
        return 2 * np.arcsin(np.sqrt(np.clip((self.top - y) / (self.top - self.bottom), 0.0, 1.0)))

    def _y(self, phi: Array) -> Array:
        return self.top - (self.top - self.bottom) * np.sin(0.5 * phi) ** 2

    def _panel(self, phi: Array) -> tuple[NDArray[np.int_], Array]:
        panel = np.clip(np.searchsorted(self.edges, phi) - 1, 0, len(self.edges) - 2)
        left, right = self.edges[panel], self.edges[panel + 1]
        return panel, np.clip(((phi - left) - (right - phi)) / (right - left), -1.0, 1.0)

    def density(self, y: Array) -> Array:
        """Of `y`, strictly inside."""
        panel, t = self._panel(self._locate(y))
        slope = np.sqrt((self.top - y) * (y - self.bottom))
        return np.maximum(series(self.mass[panel], t), 0.0) / slope

    def tail(self, y: Array) -> Array:
        """`P(log s^2 > y)`, from `bottom` to `top`."""
        panel, t = self._panel(self._locate(y))
        return series(self.above[panel], t)

    def where(self, above: Array) -> Array:
        """`y` with `tail(y) = above`."""
        ends = np.maximum.accumulate(np.append(self.above @ _AT_LEFT, np.sum(self.above[-1])))
        panel = np.clip(np.searchsorted(ends, above) - 1, 0, len(self.edges) - 2)
        c = self.above[panel]
        low, high = -np.ones(len(above)), np.ones(len(above))
        slope = np.polynomial.legendre.legder(c, axis=1)
        t = np.zeros(len(above))
        for _ in range(_HALVINGS):
            off = series(c, t) - above
            low, high = np.where(off < 0, t, low), np.where(off < 0, high, t)
            with np.errstate(all="ignore"):
                new = t - off / series(slope, t)
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            done, t = np.all(np.abs(new - t) < 1e-15), new
            if done:
                break
        left, right = self.edges[panel], self.edges[panel + 1]
        return self._y(0.5 * (left * (1 - t) + right * (1 + t)))

    @property
    def nodes(self) -> tuple[Array, Array]:
        """Values of `y` and their probabilities, for means over the component."""
        width = np.diff(self.edges)
        at = nodes(self.edges[:-1], self.edges[1:])
        mass = self.mass @ np.polynomial.legendre.legvander(NODES, ORDER - 1).T
        return self._y(at).ravel(), (0.5 * width[:, None] * WEIGHTS * mass).ravel()


def follow(transform: Transform, low: float, high: float) -> Component:
    """Follow the curve between the circles `high` and `low`."""
    known, y, ends = sketch(transform, low, high)
    bottom, top = float(y[-1]), float(y[0])
    half = 0.5 * (top - bottom)
    edges = np.linspace(0.0, np.pi, _PANELS + 1)
    left, right = edges[:-1], edges[1:]
    place = _phi(y, bottom, top)
    phi = nodes(left, right)
    guess = np.interp(phi.ravel(), place, known.real) + 1j * np.interp(
        phi.ravel(), place, known.imag
    )
    done = []
    for generation in range(_BISECTIONS):
        target = top - (top - bottom) * np.sin(0.5 * phi.ravel()) ** 2
        log_u, point = _solve(transform, target, guess)
        above = transform.above(log_u, point)
        mass = -point.m.imag / np.pi * half * np.sin(phi.ravel())
        values = [v.reshape(phi.shape) for v in (mass, above, log_u.real, log_u.imag)]
        c = [coefficients(v) for v in values]
        worst = np.max([tail(c[0]), tail(c[1])], axis=0)
        good = (worst < _RESOLVED * (1 + 1e-3 * transform.depth)) | (generation == _BISECTIONS - 1)
        done.append((left[good], right[good], *(k[good] for k in c[:2]), worst[good]))
        if np.all(good):
            break
        centre = 0.5 * (left[~good] + right[~good])
        left, right = (
            np.column_stack(pair).ravel()
            for pair in ((left[~good], centre), (centre, right[~good]))
        )
        phi = nodes(left, right)
        halves = np.concatenate([0.5 * (NODES - 1), 0.5 * (NODES + 1)])
        at = np.polynomial.legendre.legvander(halves, ORDER - 1).T
        guess = (c[2][~good] @ at + 1j * (c[3][~good] @ at)).ravel()
    left, right, mass, above, worst = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(left)
    return Component(
        *ends,
        bottom,
        top,
        np.append(left[order], np.pi),
        mass[order],
        above[order],
        float(np.max(worst)),
    )


def _phi(y: Array, bottom: float, top: float) -> Array:
    return 2 * np.arcsin(np.sqrt(np.clip((top - y) / (top - bottom), 0.0, 1.0)))


def sketch(transform: Transform, low: float, high: float):
    """`log u` and `y` at some points of the curve from the top down, and the ends of the support."""
    a, b = _truncated(transform, low, high)
    log_r = a + (b - a) * np.cos(np.linspace(0, 0.5 * np.pi, _SKETCH)) ** 2
    theta = angles(transform, log_r)
    if low:
        theta[-1] = 0.0
    if high < np.inf:
        theta[0] = 0.0
    log_u = log_r + 1j * theta
    y = transform.at(log_u).F.real
    return log_u, y, (float(y[-1]) if low else -np.inf, float(y[0]) if high < np.inf else np.inf)


def _solve(transform: Transform, target: Array, guess: Array) -> tuple[Array, Point]:
    """`log u` at which `F = target`, by Newton's method."""
    log_u, active = guess.copy(), np.arange(len(target))
    for _ in range(_ITERATIONS):
        point = transform.at(log_u[active])
        step = (point.F - target[active]) / point.D
        size = np.abs(step)
        # next to an edge D vanishes
        step *= np.minimum(1.0, _STRIDE / np.maximum(size, 1e-300))
        new = log_u[active] - step
        # not below the axis
        log_u[active] = new.real + 1j * np.where(
            new.imag < 0, 0.5 * log_u[active].imag * (new.imag < -1e-12), new.imag
        )
        active = active[size > _CLOSE]
        if not len(active):
            break
    return log_u, transform.at(log_u)


def _truncated(transform: Transform, low: float, high: float) -> tuple[float, float]:
    """Logarithms of radii between which all is that can be seen."""
    least = _LEAST * (10 + transform.depth)
    a, b = (np.log(low) if low else -np.inf), np.log(high)
    steps = np.geomspace(1e-3, 600.0, 64)

    def above(log_r: Array) -> Array:
        log_u = log_r + 1j * angles(transform, log_r)
        return transform.above(log_u, transform.at(log_u))

    if not np.isfinite(a):
        grid = (b if np.isfinite(b) else np.log(transform.law.mean)) - steps
        p = above(grid)
        a = grid[np.argmax(np.abs(p - p[-1]) <= least)]
    if not np.isfinite(b):
        grid = (a if low else np.log(transform.law.mean)) + steps
        b = grid[np.argmax(np.abs(above(grid)) <= least)]
    return float(a), float(b)
