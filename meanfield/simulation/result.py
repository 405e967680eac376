"""`Simulation`: an ensemble of finite networks, measured."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield import ensembles, files
from meanfield.activation import Activation, as_activation
from meanfield.ensembles import ensemble_of
from meanfield.network import Network
from meanfield.simulation.estimates import Estimate, estimates, of_jacobians
from meanfield.simulation.text import shown_layers, with_error

if TYPE_CHECKING:
    from meanfield.simulation.compare import Comparison

__all__ = ["Simulation"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    r"""An ensemble of finite networks, measured layer by layer; made by `simulate`.

    Arrays have length `depth`; index 0 is the first layer's pre-activation. Each estimate `x` comes
    with its standard error `x_error`. Means of what has heavy tails (variances of deep networks)
    are dominated by draws that are rarely drawn: there look at medians and logarithms. Estimates:

    - `variance`, `variance_median`, `log_variance`, `log_variance_var`, `sampled_variance_std`: of
      the mean square of a layer's pre-activations over its neurons: its mean over networks, its
      median, mean and variance of its logarithm, and its standard deviation;
    - `correlation`, `one_minus_correlation`, `one_minus_correlation_median`: of the cosine of two
      inputs' pre-activations; `covariance`: of their mean product;
    - `sparsity`: the share of activations that are exactly 0;
    - `four_point`: `V4/n = E[z_i^2 z_j^2] - E[z_i^2] E[z_j^2]`, `i != j`; `excess_kurtosis` of one
      neuron over networks;
    - `gradient_log_norm`, `gradient_log_norm_var`, `gradient_log_norm_median`: of `ln |J u|^2`,
      where that is finite; of all for the median;
    - `tangent_kernel`, `tangent_kernel_median`, `tangent_kernel_std`, if asked for: of its
      diagonal, averaged over neurons but for the standard deviation.

    Attributes:
        network: the `Network`, with the weight ensemble that was drawn.
        q: the variance of the first layer's pre-activations.
        start_correlation: that of the first layer's pre-activations of the two inputs.
        width: of each layer, shape (depth,).
        draws: networks that were drawn.
        requested: networks that were asked for: more, if the run was interrupted.
        key: what made the random numbers.
        samples: what was measured in each network, by name, shape (draws, depth): `mean_square`
            and `mean_fourth` (of the pre-activations of the first input), `sparsity` (share of
            its activations that are 0), `overlap` (mean product of the two inputs'
            pre-activations), `one_minus_correlation` (1 minus their cosine), `log_gradient`
            (`log |J u|^2` for the Jacobian `J` from the first layer's pre-activations and a
            random unit `u`; 0 at the first layer), and if asked for `tangent_kernel` and
            `tangent_kernel_square` (means of its diagonal and of the squares of that).
        jacobian_singular_values: if asked for, of the derivative of the last layer's activations
            in the inputs, a product of as many layers as `depth`; shape (draws, width),
            descending. Else None.
        seconds: what it took.
    """

    network: Network
    q: float
    start_correlation: float
    width: NDArray[np.int64]
    draws: int
    requested: int
    key: Any
    samples: Mapping[str, Array]
    jacobian_singular_values: Array | None = None
    seconds: float = 0.0

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """All estimates with their standard errors, by name."""
        return estimates(self.samples, self.width.astype(float))

    @cached_property
    def jacobian_estimates(self) -> dict[str, Estimate]:
        """Of the singular values of Jacobians: `mean_square`, and the median of the `largest`.

        Empty if they were not asked for.
        """
        values = self.jacobian_singular_values
        return {} if values is None else of_jacobians(values)

    def __getattr__(self, name: str) -> Array:
        """An estimate, or with `_error` its standard error."""
        if name.startswith("__") or "samples" not in self.__dict__:
            raise AttributeError(name)
        found = self.estimates
        if name in found:
            return found[name].value
        if name.endswith("_error") and name[:-6] in found:
            return found[name[:-6]].error
        raise AttributeError(
            f"a Simulation has no {name!r}; its estimates, each also with _error, are "
            f"{', '.join(found)}"
        )

    def __dir__(self) -> list[str]:
        names = [name + end for name in self.estimates for end in ("", "_error")]
        return sorted({*super().__dir__(), *names})

    @property
    def activation(self) -> Activation:
        """The activation of the network."""
        return self.network.activation

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.width)

    def escaped(self, threshold: float) -> float:
        """The share of draws whose mean square is above `threshold` in any layer.

        What grew beyond float64, or beyond where the activation is known, is above it.
        """
        return float(np.mean(self._escaping(threshold)))

    def escaped_error(self, threshold: float) -> float:
        """The standard error of `escaped`: of a share with one success and one failure more."""
        share = (np.sum(self._escaping(threshold)) + 1) / (self.draws + 2)
        return float(np.sqrt(share * (1 - share) / (self.draws + 3)))

    def _escaping(self, threshold: float) -> NDArray[np.bool_]:
        return ~np.all(self.samples["mean_square"] <= threshold, axis=1)

    @property
    def interrupted(self) -> bool:
        """Whether fewer networks were drawn than asked for."""
        return self.draws < self.requested

    @property
    def title(self) -> str:
        """What was drawn, in a line."""
        low, high = self.width.min(), self.width.max()
        width = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"{self.activation.name}, {self.network.weights} weights, width {width}, depth "
            f"{self.depth}, q = {self.q:.6g}"
        )

    def compare(self, theory: Any) -> "Comparison":
        """Theory against this ensemble, layer by layer, in standard errors.

        Args:
            theory: a `FiniteWidth`, for all that the expansion in 1/width predicts; or a `Network`
                or `FixedPoint` (or a result with a `point`), for its maps at infinite width.

        Returns:
            A `Comparison`: prints as a table, and has `.plot()`. Where a law has heavy tails it
            compares logarithms only.

        Raises:
            ValueError: the theory is of another network, width or `q`.
            TypeError: `theory` is none.

        Example:
            >>> import meanfield as mf
            >>> point = mf.critical("tanh")
            >>> sim = mf.simulate(point, width=32, depth=5, draws=64)
            >>> comparison = sim.compare(point)
            >>> bool(abs(comparison["variance"].deviation[0]) < 4)
            True
        """
        from meanfield.simulation.compare import compare

        return compare(self, theory)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it; see `meanfield.plot.simulation`. Returns the `Axes`."""
        from meanfield import plot

        return plot.simulation(self, ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """What was drawn, and all estimates by name, arrays as lists."""
        numbers = {name: value for name, value in self._made_of().items() if name != "ensemble"}
        numbers["width"] = self.width.tolist()
        for name, estimate in self.estimates.items():
            numbers[name] = estimate.value.tolist()
            numbers[f"{name}_error"] = estimate.error.tolist()
        for name, estimate in self.jacobian_estimates.items():
            numbers[f"jacobian_{name}"] = float(estimate.value)
            numbers[f"jacobian_{name}_error"] = float(estimate.error)
        return numbers

    def _made_of(self) -> dict[str, Any]:
        ensemble = ensemble_of(self.network.weights)
        kind = {"kind": type(ensemble).__name__, **vars(ensemble)}
        return {
            "activation": self.activation.name,
            "weights": str(self.network.weights),
            "ensemble": json.dumps(kind),
            "weight_var": float(self.network.weight_var),
            "bias_var": float(self.network.bias_var),
            "q": self.q,
            "start_correlation": self.start_correlation,
            "draws": self.draws,
            "requested": self.requested,
            "key": np.asarray(self.key).tolist(),
            "seconds": self.seconds,
        }

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it: `.npz` with all samples, `.json` and `.csv` (a line a layer) the estimates.

        Raises:
            ValueError: the suffix is another one.
        """
        return files.write(path, self._arrays, self.to_dict, self._columns)

    def _arrays(self) -> dict[str, Any]:
        arrays: dict[str, Any] = self._made_of() | {"width": self.width}
        arrays |= {f"sample_{name}": value for name, value in self.samples.items()}
        if self.jacobian_singular_values is not None:
            arrays["jacobian_singular_values"] = self.jacobian_singular_values
        return arrays

    def _columns(self) -> dict[str, Any]:
        """A value for each layer."""
        columns: dict[str, Any] = {"layer": np.arange(1, self.depth + 1), "width": self.width}
        for name, estimate in self.estimates.items():
            columns |= {name: estimate.value, f"{name}_error": estimate.error}
        return columns

    @classmethod
    def load(
        cls, path: str | PathLike[str], phi: Callable | str | Activation | None = None
    ) -> "Simulation":
        """Read what `save` wrote to an `.npz` file.

        Args:
            path: the file.
            phi: the activation; by default the catalogued one of its name.
        """
        numbers = files.read(path)
        kind = json.loads(str(numbers["ensemble"]))
        weights = getattr(ensembles, kind.pop("kind"))(**kind)
        network = Network(
            as_activation(str(numbers["activation"]) if phi is None else phi),
            float(numbers["weight_var"]), float(numbers["bias_var"]), weights,
        )  # fmt: skip
        samples = {n[7:]: value for n, value in numbers.items() if n.startswith("sample_")}
        return cls(
            network=network,
            q=float(numbers["q"]),
            start_correlation=float(numbers["start_correlation"]),
            width=numbers["width"],
            draws=int(numbers["draws"]),
            requested=int(numbers["requested"]),
            key=numbers["key"] if numbers["key"].ndim else int(numbers["key"]),
            samples=samples,
            jacobian_singular_values=numbers.get("jacobian_singular_values"),
            seconds=float(numbers["seconds"]),
        )

    def __repr__(self) -> str:
        lines = [f"Simulation of {self.title}", f"  {self.draws} networks in {self.seconds:.2g} s"]
        if self.interrupted:
            lines[1] += f", interrupted: {self.requested} were asked for"
        names = {"variance": "variance", "variance_median": "its median",
                 "correlation": "correlation", "sparsity": "sparsity",
                 "gradient_log_norm": "log gradient norm^2",
                 "tangent_kernel": "tangent kernel"}  # fmt: skip
        names = {name: title for name, title in names.items() if name in self.estimates}
        lines.append(f"  {'layer':>6}" + "".join(f"{title:>24}" for title in names.values()))
        for layer in shown_layers(self.depth, 8):
            cells = (with_error(*(float(part[layer]) for part in self.estimates[n])) for n in names)
            lines.append(f"  {layer + 1:6}" + "".join(f"{cell:>24}" for cell in cells))
        if self.jacobian_estimates:
            square, largest = (
                with_error(*map(float, self.jacobian_estimates[name]))
                for name in ("mean_square", "largest")
            )
            lines.append(
                f"  singular values of the Jacobian: mean square {square}; the largest, median "
                f"over networks, {largest}"
            )
        lost = float(np.mean(~np.all(np.isfinite(self.samples["mean_square"]), axis=1)))
        if lost:
            lines.append(f"  {lost:.1%} grew beyond what can be computed: their variance is inf")
        dead = float(np.mean(np.any(np.isneginf(self.samples["log_gradient"]), axis=1)))
        if dead:
            lines.append(f"  the gradient died in {dead:.1%}: its logarithm is over the others")
        return "\n".join(lines)

    __str__ = __repr__
