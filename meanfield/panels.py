"""Bisecting an interval until a function is resolved on every panel.

A panel is resolved when its last two Legendre coefficients are negligible beside the largest
value of the function *nearer to zero*. The Gaussian weight falls outwards, so at every variance
an error on a panel counts at most as much as it would at the place of that largest value: small
values far out need few digits, and values that vanish near zero (`relu(x - 6)`) need them all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.callables import Box
from meanfield.errors import UnresolvedError
from meanfield.legendre import coefficients, nodes, noise, slopes_at_nodes, tail
from meanfield.precision import EPS

__all__ = ["MAX_PANELS", "Panels", "largest_within", "resolve"]

Array = NDArray[np.float64]

MAX_PANELS = 1 << 16  # a million samples: some 6000 oscillations
_RESOLVED = 1e-13  # last coefficients beside the scale; the quadrature error goes as their square
_STUBBORN = 8  # bisections after which noise of a hundredth is taken for what it is
_TINY = 2.0**-120  # no nearer to zero than this
_NOISE = 1e-5  # what may pass for rounding: float32 and worse, but no feature of a function


@dataclass(frozen=True)
class Panels:
    """Panels from left to right with what was sampled on them; rows are panels, columns nodes."""

    left: Array
    right: Array
    x: Array
    value: Array
    slope: Array | None
    noise: Array  # error of the values, one number a panel
    slope_noise: Array
    finished: NDArray[np.bool_]  # False where bisection ended at `narrowest` without success

    def take(self, which: Any) -> "Panels":
        """The chosen panels, in the order of `which`."""
        chosen: dict[str, Any] = {
            name: None if field is None else field[which] for name, field in vars(self).items()
        }
        return Panels(**chosen)

    def places(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """On which panel each `x` is, and where from -1 to 1 across it."""
        which = np.clip(np.searchsorted(self.left, x, side="right") - 1, 0, len(self.left) - 1)
        left, right = self.left[which], self.right[which]
        return which, (2 * x - left - right) / (right - left)


def largest_within(at: Array, size: Array, where: Array) -> Array:
    """Largest size among panels that end no farther from zero than `where`."""
    order = np.argsort(at)
    running = np.maximum.accumulate(np.where(np.isfinite(size), size, 0.0)[order])
    position = np.searchsorted(at[order], where, side="right") - 1
    return np.where(position >= 0, running[np.maximum(position, 0)], 0.0)


def _is_noise(
    rough: Array, before: Array, size: Array, nearby: Array, seen: Array, generation: int
) -> NDArray[np.bool_]:
    """Whether it is rounding alone that keeps panels from being resolved.

    `rough` is the mean of their last coefficients and `before` that of the panels three bisections
    ago: noise looks alike at every magnification and in both halves of a panel; a kink shrinks with
    its panel and is in one half.
    """
    alike = rough >= 0.4 * before
    stubborn = (generation >= _STUBBORN) & (rough <= 1e-2 * size)  # no oscillation
    alike &= (rough <= _NOISE * seen) | stubborn
    if generation:
        alike = np.repeat(np.all(alike.reshape(-1, 2), axis=1), 2)
    # what is rounding beside values nearby (1 - tanh^2 far out) is rounding of them
    return alike | ((generation >= 3) & (rough <= 64 * EPS * nearby))


@np.errstate(over="ignore", invalid="ignore")  # infinite values are for the caller to judge
def resolve(box: Box, edges: Array, narrowest: float, floor: float = 0.0) -> Panels:
    """Bisect the panels between `edges` until `box` is resolved on each.

    Args:
        box: the function.
        edges: increasing; shape (panels + 1,).
        narrowest: width, relative to the distance from zero, at which bisection gives up.
        floor: distance from zero below which that width shrinks no more.

    Returns:
        Panels with the values (and slopes) at their nodes. Values can be infinite or NaN.

    Raises:
        UnresolvedError: more than `MAX_PANELS` would be needed.
    """
    left, right = edges[:-1], edges[1:]
    # roughness of the value and of the slope in the panel three bisections ago
    history = np.full((len(left), 2, 3), np.inf)
    done: list[Panels] = []
    inner, inner_sizes = np.array([]), np.array([])
    count = generation = 0
    while len(left):
        count += len(left)
        if count > 2 * MAX_PANELS:
            raise UnresolvedError(
                f"activation: not resolved with {MAX_PANELS} panels on [{edges[0]:.6g}, "
                f"{edges[-1]:.6g}]; the trouble is near x = {left[len(left) // 2]:.6g}. It "
                "oscillates or jumps too often there: ask for a smaller variance, or give "
                "`kinks=` if they are known"
            )
        x = nodes(left, right)
        sampled = box(x.ravel())
        functions = [sampled.value.reshape(x.shape)]
        if sampled.slope is not None:
            functions.append(sampled.slope.reshape(x.shape))
        sizes = np.stack([np.max(np.abs(f), axis=1) for f in functions])
        near = np.where((left < 0) & (right > 0), 0.0, np.minimum(np.abs(left), np.abs(right)))
        reach = np.maximum(np.abs(left), np.abs(right))
        inner = np.concatenate([inner, reach])
        inner_sizes = np.concatenate([inner_sizes, sizes], axis=1) if generation else sizes
        smooth, noisy = np.ones(len(left), bool), np.ones(len(left), bool)
        noises = []
        for k, (f, size) in enumerate(zip(functions, sizes, strict=True)):
            c = coefficients(np.where(np.isfinite(f), f, 0.0))
            # largest sizes nearer to zero, nearby, and as far off as variances above 1e-8 see
            scale, nearby, seen = (
                np.maximum(largest_within(inner, inner_sizes[k], where), size)
                for where in (near, np.maximum(8.0, reach), np.maximum(near, 2.0**-12))
            )
            # what the rounding of a node's position does to the value there
            shift = EPS * reach * np.max(np.abs(slopes_at_nodes(c, right - left)), axis=1)
            rounded = 32 * box.eps * (box.eps > EPS) * scale
            ok = tail(c) <= np.maximum(_RESOLVED * scale, np.maximum(rounded, 8 * shift))
            rough = np.mean(np.abs(c[:, 8:]), axis=1)
            smooth &= ok
            noisy &= ok | _is_noise(rough, history[:, k, 0], size, nearby, seen, generation)
            history[:, k] = np.column_stack([history[:, k, 1:], rough])
            noises.append(noise(c, size, box.eps) + shift)
        finite = np.all([np.all(np.isfinite(f), axis=1) for f in functions], axis=0)
        resolved = (smooth | noisy) & finite
        ended = resolved | (right - left <= narrowest * np.maximum(reach, floor))
        ended |= reach < _TINY
        # where bisection gives up, or a bound of the noise overflows, the size is all that is known
        noises = [
            np.where(resolved & (n < np.inf), n, s) for n, s in zip(noises, sizes, strict=True)
        ]
        panels = Panels(
            left, right, x, functions[0], functions[1] if len(functions) == 2 else None,
            noises[0], noises[-1] if len(noises) == 2 else np.zeros(len(left)), resolved,
        )  # fmt: skip
        done.append(panels.take(ended))
        generation += 1
        left, right, history = left[~ended], right[~ended], history[~ended]
        middle = 0.5 * (left + right)
        left, right = (
            np.column_stack([left, middle]).ravel(),
            np.column_stack([middle, right]).ravel(),
        )
        history = np.repeat(history, 2, axis=0)
    return _join(done)


def _join(parts: list[Panels]) -> Panels:
    def joined(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    panels = Panels(**{name: joined(name) for name in vars(parts[0])})
    return panels.take(np.argsort(panels.left))
