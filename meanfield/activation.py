"""`Activation`: any function of one number, with its kinks, ready to be averaged over Gaussians."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cached_property, lru_cache, partial, wraps
from math import ceil, log2, sqrt
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.callables import Box, open_box
from meanfield.errors import UnresolvedError
from meanfield.gaussian import Columns, Moments, columns_of, moments_of
from meanfield.interpolation import interpolate
from meanfield.overflow import continued
from meanfield.precision import is_traced
from meanfield.samples import Samples, sample
from meanfield.tracing import TracedFunction

__all__ = ["LEAST_REACH", "Activation", "as_activation", "reach_of", "remembered"]

Array = NDArray[np.float64]
T = TypeVar("T")

_SIGMAS = 13.0  # beyond: 1e-37 of the weight, so that even x^12 has nothing left
LEAST_REACH = 16.0
_USUAL_REACH = 32.0
_FARTHEST_REACH = 2.0**14  # 13 standard deviations at q = 1e6
_LEAST_VARIANCE = 1e-11
_MISSING = 1e-8  # more than this beyond where the function ends: the moment is refused
_MANY = 1024  # variances from which on interpolation pays


class Activation:
    r"""An activation function, with its kinks.

    Args:
        phi: a function of an array (JAX, NumPy or torch) or of one number, acting on each number
            alone; or a class whose instances are (`torch.nn.ELU`); or the name of a catalogued one
            (`meanfield activations` lists them).
        kinks: positions where `phi` or one of its derivatives jumps, all of them. Found if not
            given: from the branches of a JAX function, and for any function where no polynomial
            fits. Features wider than about 0.02 near zero, and than 1/100 of their
            distance from it, are seen; give `kinks=` for what is narrower.
        name: what to call it in print.
        **parameters: passed on to `phi`, or to the class, by keyword. They may be JAX tracers.

    Attributes:
        name: str.
        kinks: array of positions within [-32, 32].
        jumps: those at which `phi` itself jumps: there `chi1` is infinite.

    Raises:
        NotElementwiseError: `phi` mixes its inputs, is random, changes shape, or is not real.
        TypeError: `phi` cannot be called, or has no such parameter.
        ValueError: no activation has this name, or a parameter is outside its domain.

    An activation is immutable and remembers its samples: make one and reuse it for speed.

    Example:
        >>> import meanfield as mf
        >>> mf.Activation("crelu", tau=1.0, m=1.5)
        Activation('crelu(tau=1, m=1.5)', kinks=[1, 2.5])
        >>> import numpy as np
        >>> mf.Activation(lambda x: np.maximum(x - 0.25, 0.0), name="shifted").kinks
        array([0.25])
    """

    def __init__(
        self,
        phi: "Callable | str | Activation",
        kinks: ArrayLike | None = None,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        if isinstance(phi, Activation):
            raise TypeError("phi: it is an Activation already; use it as it is")
        if isinstance(phi, str):
            from meanfield.catalogue import lookup

            entry = lookup(phi)
            function = partial(entry.function, **entry.complete(parameters))
            phi_name = entry.name
        elif callable(phi):
            if isinstance(phi, type):  # as torch.nn.ELU: the parameters are those of the class
                function = _instance(phi, parameters)
            else:
                function = partial(phi, **parameters) if parameters else phi
            phi_name = getattr(phi, "__name__", type(phi).__name__)
        else:
            raise TypeError(
                f"phi: must be a function or the name of an activation, got {type(phi).__name__}: "
                f"{phi!r}"
            )
        shown = ", ".join(
            f"{key}={'...' if is_traced(value) else format(value, 'g')}"
            if isinstance(value, (int, float)) or is_traced(value)
            else f"{key}={value!r}"
            for key, value in parameters.items()
        )
        self.name = name or (f"{phi_name}({shown})" if shown else phi_name)
        self.function = function
        self._given_kinks = None if kinks is None else _checked_kinks(kinks)
        self._arguments = phi, self._given_kinks, self.name, parameters
        self._columns: dict[float, Columns] = {}
        self._memory: dict[Any, Any] = {}
        self._frozen = True
        _ = self.box  # opened now, so that what is no activation is refused now

    def __setattr__(self, name: str, value: object) -> None:
        if "_frozen" in self.__dict__:
            raise AttributeError(f"an Activation is immutable; make a new one to change {name!r}")
        super().__setattr__(name, value)

    def __reduce__(self):
        """Pickled as what it was made of: samples and compiled code are made again."""
        return _make, self._arguments

    def __copy__(self) -> "Activation":
        return self

    def __deepcopy__(self, memo: dict) -> "Activation":
        return self

    def __call__(self, x):
        """`phi(x)`, by the function itself."""
        return self.function(x)

    def __repr__(self) -> str:
        if self.is_traced:
            return f"Activation({self.name!r}, traced)"
        shown = ", ".join(f"{k:.6g}" for k in self.kinks[:8]) + ", ..." * (len(self.kinks) > 8)
        return f"Activation({self.name!r}, kinks=[{shown}])"

    @cached_property
    def box(self) -> Box | TracedFunction:
        """The function, opened for sampling."""
        return open_box(self.function)

    @property
    def sampled(self) -> Box:
        """The function, opened, where it depends on no tracer."""
        if isinstance(self.box, TracedFunction):
            raise TypeError(
                f"{self.name}: it depends on a value that a JAX transformation is tracing, so it "
                "cannot be sampled; take this outside the transformation"
            )
        return self.box

    @property
    def is_traced(self) -> bool:
        """Whether it depends on values that a JAX transformation has not fixed yet."""
        return isinstance(self.box, TracedFunction)

    @property
    def source(self) -> Callable | str:
        """What it was made of: a function or a name, and its `parameters` beside."""
        return self._arguments[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that it was made with, by name."""
        return dict(self._arguments[3])

    @property
    def given_kinks(self) -> Array | None:
        """The kinks that the caller vouched for."""
        return self._given_kinks

    @property
    def kinks(self) -> Array:
        """Positions in [-32, 32] where `phi` or a derivative of it jumps; shape (n,)."""
        return self._usual().kinks.copy()

    @property
    def jumps(self) -> Array:
        """Positions in [-32, 32] where `phi` itself jumps; shape (n,)."""
        return self._usual().jumps.copy()

    def _usual(self) -> Samples:
        return self.columns(_USUAL_REACH).samples

    def columns(self, reach: float) -> Columns:
        """Samples on `[-reach, reach]`, arranged for moments; taken once and remembered."""
        if reach not in self._columns:
            samples = continued(sample(self.sampled, reach, self._given_kinks), reach)
            self._columns[reach] = columns_of(samples)
        return self._columns[reach]

    def samples_up_to(self, q: float) -> int:
        """How many samples moments at the variance `q` take, whatever was asked before."""
        return len(self.columns(reach_of(q)).samples.x)

    def moments(self, q: Array, derivatives: bool = False) -> Moments:
        """Gaussian moments at the variances `q`, shape (n,); see `meanfield.gaussian`.

        The samples are extended outwards until what lies beyond is negligible. A moment that
        overflows is `inf`; one that cannot be had in float64 is `nan` with error `inf`.
        """
        if q.min() < _LEAST_VARIANCE:
            raise UnresolvedError(
                f"q: {q.min():.3g} is finer than the samples near zero; it must be at least "
                f"{_LEAST_VARIANCE:g} (scale the activation: phi(b x) at q is phi at b^2 q)"
            )
        if len(q) < _MANY or derivatives:
            return self._summed(q, derivatives)

        def direct(some: Array) -> tuple[Array, Array, Array]:
            moments = self._summed(some, False)
            return moments.value, moments.error, _sizes(moments.value)

        return Moments(*interpolate(direct, q))

    def _summed(self, q: Array, derivatives: bool) -> Moments:
        reach = reach_of(q.max())
        while True:
            columns = self.columns(reach)
            result, beyond = moments_of(columns, q, derivatives)
            # farther samples tell nothing where the activation has broken off
            open_ends = [why is None for why in columns.samples.broken]
            enough = 1e-15 * np.abs(result.value)
            short = beyond is not None and np.any(beyond[open_ends] > enough)
            if not short and not self._may_hide(columns, q, result):
                if beyond is None or not np.any(beyond > enough):
                    return result
                reach = np.inf
            beyond = np.zeros_like(result.value) if beyond is None else np.sum(beyond, axis=0)
            if reach >= 2.0**10 * _SIGMAS * sqrt(q.max()):
                size = _sizes(result.value)
                error = np.where(beyond > _MISSING * size, np.inf, result.error + beyond)
                result.value[np.isinf(error)] = np.nan
                return replace(result, error=error)
            reach *= 2

    @np.errstate(all="ignore")
    def _may_hide(self, columns: Columns, q: Array, result: Moments) -> bool:
        """Whether all that matters may lie farther out, as for `relu(x - 30)` at q = 1."""
        seen = columns.samples
        for column, f in ((1, seen.value), (3, seen.slope)):
            size = np.max(np.abs(f)) ** 2 or 1.0
            if result.value[:, column].min() < 1e-20 * size:
                weight = np.exp(-0.5 * min(map(abs, seen.reach)) ** 2 / q)
                if np.any(weight * size > 1e-13 * result.value[:, column]):
                    return not any(seen.broken)
        return False

    @property
    def is_steep(self) -> bool:
        """Whether `phi'` is unbounded at a kink, as that of `|x|^0.6`."""
        return self._usual().steepness > 0

    @cached_property
    def is_homogeneous(self) -> bool:
        """Whether `phi(a x) = a phi(x)` for `a > 0`: the scale-invariant class."""
        # samples that were taken already say no at no cost; clip(x, 0, 20) may say yes on them
        reaches = *(self._columns or (LEAST_REACH,)), _FARTHEST_REACH
        try:
            return all(_is_homogeneous(self.columns(reach).samples) for reach in reaches)
        except UnresolvedError:  # far out it is anything but linear
            return False

    def why_not(self, q: float, moment: str) -> str:
        """A sentence about a moment that `moments` could not compute at `q`."""
        broken = [why for _, columns in sorted(self._columns.items()) for why in
                  columns.samples.broken if why]  # fmt: skip
        sentence = f"{self.name}: {moment} cannot be computed in float64 at q = {q:.6g}"
        return sentence + (
            f", because {broken[-1]}, where the Gaussian still has weight; ask for a smaller q"
            if broken
            else ": the activation is too rough or its values too noisy there"
        )


def reach_of(q: float) -> float:
    """How far samples must reach, at least, for moments at the variance `q`."""
    return max(LEAST_REACH, 2.0 ** ceil(log2(_SIGMAS * sqrt(q))))


def _is_homogeneous(samples: Samples) -> bool:
    if np.any(samples.kinks != 0) or len(samples.jumps):
        return False
    ratio = samples.value / samples.x
    slack = 8 * samples.noise / np.abs(samples.x) + 1e-14 * np.max(np.abs(ratio))
    return all(
        np.all(np.abs(ratio - ratio[end])[side] <= (slack + slack[end])[side])
        for end, side in ((0, samples.x < 0), (-1, samples.x > 0))
    ) and bool(np.any(ratio))


def _sizes(value: Array) -> Array:
    """What errors of moments are small beside: for `E[phi]`, which may be 0, `sqrt(E[phi^2])`."""
    size = np.abs(value)
    size[:, 0] = np.maximum(size[:, 0], np.sqrt(size[:, 1]))
    return size


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """Make a function of an activation remember, on the activation, what it found.

    A cache of its own would keep alive activations that nobody uses, with all their samples.
    """

    @wraps(function)
    def remembering(activation: Activation, *arguments: Hashable, **options: Hashable) -> T:
        key = function, arguments, *options.items()
        if key not in activation._memory:
            activation._memory[key] = function(activation, *arguments, **options)
        return activation._memory[key]

    return remembering


def _instance(kind: type, parameters: dict[str, Any]) -> Callable:
    try:
        made = kind(**parameters)
    except Exception as error:  # whatever somebody's class raises
        raise TypeError(
            f"phi: cannot make an instance of the class {kind.__name__}: {error}; parameters of "
            f"the activation are its arguments, or give an instance, {kind.__name__}(...)"
        ) from error
    if not callable(made):
        raise TypeError(f"phi: must be a function, got the class {kind.__name__}")
    return made


def _checked_kinks(kinks: ArrayLike) -> Array:
    try:
        array = np.unique(np.asarray(kinks, np.float64).ravel())
    except (TypeError, ValueError) as error:
        raise TypeError(f"kinks: must be an array of positions, got {kinks!r}") from error
    if not np.all(np.isfinite(array)):
        raise ValueError(f"kinks: must be finite positions, got {kinks!r}")
    return array


def _make(phi: Any, kinks: Array | None, name: str, parameters: dict[str, Any]) -> Activation:
    return Activation(phi, kinks, name, **parameters)


@lru_cache(maxsize=16)
def _named(name: str) -> Activation:
    return Activation(name)


def as_activation(phi: "Callable | str | Activation") -> Activation:
    """The `Activation` of anything that names or is one; names remember their samples."""
    if isinstance(phi, Activation):
        return phi
    return _named(phi) if isinstance(phi, str) else Activation(phi)
