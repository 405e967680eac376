"""`FiniteWidth`: what a finite width changes, layer by layer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.aligned import aligned
from meanfield.errors import MeanFieldError
from meanfield.network import digits
from meanfield.whole import whole_number
from meanfield.width.edgeworth import Edgeworth
from meanfield.width.exact import ExactLaw, exact_law
from meanfield.width.gradient import LogNorm, gradient_log_norm
from meanfield.width.layered import Layered
from meanfield.width.limits import Asymptote, asymptote
from meanfield.width.tangent_kernel import diagonal, fluctuations
from meanfield.width.validity import (
    EXPANSION_LIMIT,
    beyond_validity,
    even_depth,
    telling_depth,
    valid_depth,
)

__all__ = ["FiniteWidth"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class FiniteWidth(Layered):
    """A network of finite width to order 1/n; arrays have the first layer's at index 0.

    Attributes:
        network: the `Network`.
        ensemble: of its weights.
        width: number of neurons of each layer.
        fan_in: number of neurons of the layer before each, of inputs for the first.
        kernel: `K`, the variance of the pre-activations at infinite width; `inf` from the layer on
            where it overflows (all else is NaN there).
        fluctuation: `V4/(n K^2)`, the four-point vertex relative to the kernel: the parameter of
            the expansion. For Gaussian weights the relative variance of the kernel.
        shift: `G1/(n K)`, the kernel correction relative to the kernel.
        vertex: what each layer's weights add to `V4`: 0 for Gaussian, -2 for square orthogonal
            ones; see `meanfield.width.vertices`.
        kernel_error, fluctuation_error, shift_error: bounds of absolute errors of the recursions
            (not of what the expansion leaves out).
    """

    fluctuation: Array
    shift: Array
    vertex: Array
    kernel_error: Array
    fluctuation_error: Array
    shift_error: Array

    @property
    def four_point(self) -> Array:
        """`V4/n`: `E[z_i^2 z_j^2]` minus `E[z_i^2] E[z_j^2]`, `i != j`, in each layer."""
        return self.fluctuation * self.kernel**2

    @property
    def kernel_correction(self) -> Array:
        """`G1/n`: `E[z_i^2]` minus the kernel."""
        return self.shift * self.kernel

    @property
    def excess_kurtosis(self) -> Array:
        """`E[z^4]/E[z^2]^2 - 3 = 3 V4/(n K^2)` of one neuron over networks."""
        return 3 * self.fluctuation

    @property
    def variance_std(self) -> Array:
        """Standard deviation, over networks, of the kernel: `C_W mean(phi^2) + C_b`."""
        relative = self.fluctuation - self.vertex * self._share**2 / self.fan_in
        return self.kernel * np.sqrt(np.maximum(relative, 0.0))

    @property
    def _share(self) -> Array:
        """What of each kernel is not the biases'."""
        with np.errstate(all="ignore"):
            return np.where(self.kernel > 0, 1 - float(self.network.bias_var) / self.kernel, 1.0)

    @property
    def sampled_variance_std(self) -> Array:
        """Standard deviation, over networks, of the mean of `z^2` over the neurons of a layer.

        `2 K^2/n` more variance than `V4/n`: a mean over `n` neurons fluctuates by itself.
        """
        relative = self.fluctuation + 2 / self.width
        return self.kernel * np.sqrt(np.maximum(relative, 0.0))

    @property
    def relative_std(self) -> Array:
        """`sampled_variance_std` over the kernel: how different two networks drawn alike are."""
        return self.sampled_variance_std / self.kernel

    @cached_property
    def gradient_log_norm(self) -> LogNorm:
        """Mean and variance of `ln |J u|^2`, `J` the Jacobian from the first layer to each.

        `u` is a random direction. See `meanfield.width.gradient`; NaN where `phi` jumps.
        Where there is an `exact` law it is used.
        """
        if self.exact is not None:
            return LogNorm(*self.exact.gradient_log_norm(), exact=True)
        return gradient_log_norm(
            self.network, self.kernel, self.fluctuation, self.shift, self.vertex,
            self.width.astype(np.float64),
        )  # fmt: skip

    @cached_property
    def exact(self) -> ExactLaw | None:
        """The law at any width; None unless `phi` is piecewise linear through 0, without biases.

        And weights are Gaussian: ReLU, leaky ReLU, identity, absolute value.
        """
        return exact_law(self.network, self.ensemble, float(self.kernel[0]), self.width)

    @cached_property
    def tangent_kernel(self) -> Array:
        """The neural tangent kernel of one input at infinite width, with rates 1 and 1.

        The function `mf.tangent_kernel` has other rates, and pairs of inputs.
        """
        return diagonal(self.network, self.kernel)

    @cached_property
    def tangent_kernel_std(self) -> Array:
        """Standard deviation, over networks, of one diagonal entry of the tangent kernel."""
        A, B, _ = fluctuations(
            self.network, self.kernel, self.four_point, self.tangent_kernel, self.vertex,
            self.width.astype(np.float64),
        )  # fmt: skip
        return np.sqrt(np.maximum(A + 2 * B, 0.0))

    def output_law(self, layer: int = -1) -> Edgeworth:
        """The law of one pre-activation of a layer over networks, with its first correction."""
        variance = float(self.kernel[layer] + self.kernel_correction[layer])
        if not 0 < variance < np.inf:
            raise MeanFieldError(
                f"layer: the variance of layer {layer} is {variance:g} to order 1/n, of which "
                "there is no density; take a layer before, or more width"
            )
        return Edgeworth(variance, float(self.excess_kurtosis[layer]))

    def output_density(self, x: ArrayLike) -> Any:
        """The density at `x` of one pre-activation of the last layer: `output_law()(x)`."""
        return self.output_law()(x)

    @cached_property
    def valid_depth(self) -> float:
        """The depth up to which `fluctuation` and `shift` stay below 1/2 in size; may be `inf`.

        Beyond, the expansion says nothing: do not build a network of this width deeper, or widen
        it. Layers after the last one are taken to be as wide as it is.
        """
        return valid_depth(self)

    @cached_property
    def recommended_depth(self) -> float:
        """The largest sensible depth for this width: `valid_depth`, or less.

        Less if the length of gradients, which at the edge of chaos is to stay the same, differs by
        a factor e from one network to another before: `gradient_log_norm.std` exceeds 1.
        """
        return min(self.valid_depth, even_depth(self))

    @cached_property
    def asymptote(self) -> Asymptote:
        """The law of `V4/K^2` in deep networks, by universality class; prints as a sentence."""
        settled = self.depth > 1 and bool(self.kernel[1] == self.kernel[0])
        return asymptote(self.network, float(self.kernel[0]), settled, float(self.vertex[-1]))

    @property
    def least_width(self) -> Array:
        """For each depth up to this one: the width from which on the expansion is valid.

        Both parameters fall as one over the width, if all layers are widened alike; numbers are
        relative to a network as wide as the last layer.
        """
        size = np.fmax(np.abs(self.fluctuation), np.abs(self.shift)) / EXPANSION_LIMIT
        return np.fmax.accumulate(size) * int(self.width[-1])

    @property
    def least_width_for_gradients(self) -> Array:
        """The same for the length of gradients to spread by less than a factor e, to order 1/n."""
        return np.fmax.accumulate(self.gradient_log_norm.variance) * int(self.width[-1])

    @property
    def aspect_ratio(self) -> float:
        """`L/n` where the expansion ends: `valid_depth` over the width of the last layer.

        Not the one that is best in some sense: that is `optimal_aspect_ratio`.
        """
        return self.valid_depth / int(self.width[-1])

    def optimal_aspect_ratio(self, outputs: int = 2) -> float:
        """The `L/n` at which the outputs of networks share most information, to leading orders.

        The largest depth at which `V4/(n K^2)` is at most `4/(20 + 3 outputs)`, over the width of
        the last layer: `4/((20 + 3 outputs) nu)` where it grows as `nu L/n`, and `inf` where it
        never gets there. See `meanfield.width.information`. It is an estimate: all that it is
        made of is the first term that grows with depth, and the first that falls.

        Args:
            outputs: number of neurons of the last layer, 2 or more.

        Raises:
            TypeError, ValueError: it is no such number.

        Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, section A.3.

        Example:
            >>> import meanfield as mf
            >>> fw = mf.finite_width(mf.critical("relu"), depth=100, width=10_000)
            >>> fw.optimal_aspect_ratio(outputs=10)  # 4 / (50 * 5)
            0.0161
        """
        outputs = whole_number("outputs", outputs, 2)  # one neuron shares nothing
        return telling_depth(self, outputs) / int(self.width[-1])

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What makes these numbers unreliable, in sentences; empty if nothing does."""
        found = []
        overflow = np.isinf(self.kernel)
        if np.any(overflow):
            found.append(
                f"the kernel overflows in layer {int(np.argmax(overflow)) + 1}: take less depth or "
                "a smaller weight_var"
            )
        if np.any(self.kernel[1:] == 0):
            layer = int(np.argmax(self.kernel == 0)) + 1
            found.append(
                f"the signal dies out: the kernel is 0, or less than any number, in layer {layer}; "
                "take a larger weight_var, or give the biases a variance"
            )
        if self.valid_depth < self.depth:
            found.append(beyond_validity(int(self.valid_depth)))
        spread = np.diff(self.gradient_log_norm.variance)
        if not self.gradient_log_norm.exact and np.any(spread > EXPANSION_LIMIT):
            layer = int(np.argmax(spread > EXPANSION_LIMIT)) + 1
            found.append(
                f"the law of gradients is not that of the expansion: layer {layer} alone adds "
                f"{spread[layer - 1]:.2g} to the variance of ln|Ju|^2, because few neurons pass "
                "gradients on; take more width"
            )
        return tuple(found)

    @property
    def error(self) -> float:
        """Largest error of the recursions: of kernels and of `V4/K^2`, `G1/K`, relative to these.

        Where `V4/K^2` or `G1/K` is below 1, absolute. What the expansion leaves out comes on top.
        """
        with np.errstate(all="ignore"):
            parts = [self.kernel_error / self.kernel]
            for value, error in (
                (self.fluctuation, self.fluctuation_error), (self.shift, self.shift_error)
            ):  # fmt: skip
                parts.append(error * self.fan_in / np.maximum(np.abs(value * self.fan_in), 1.0))
        return float(np.nanmax(parts, initial=0.0))

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as lists."""
        gradient = self.gradient_log_norm
        numbers = self._setting() | {
            "gradient_log_mean": gradient.mean.tolist(),
            "gradient_log_variance": gradient.variance.tolist(),
            "valid_depth": self.valid_depth,
            "recommended_depth": self.recommended_depth,
            "aspect_ratio": self.aspect_ratio,
            "error": self.error,
            "warnings": list(self.warnings),
        }
        return numbers | {name: getattr(self, name).tolist() for name in _ARRAYS}

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the fluctuation against depth; see `meanfield.plot.finite_width`."""
        from meanfield import plot

        return plot.finite_width(self, ax=ax, **options)

    def __str__(self) -> str:
        widths = np.unique(self.width)
        width = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
        lines = [f"FiniteWidth of {self.network!r}: {self.depth} layers, width {width}"]
        lines[0] += f", {self.ensemble} weights"
        rows = [["layer", "K", "V4/(n K^2)", "G1/(n K)", "std of ln|Ju|^2"]]
        for at in _shown_layers(self.depth):
            numbers = (
                (self.kernel, self.kernel_error), (self.fluctuation, self.fluctuation_error),
                (self.shift, self.shift_error),
            )  # fmt: skip
            cells = (_cell(float(value[at]), float(error[at])) for value, error in numbers)
            rows.append([str(at + 1), *cells, f"{float(self.gradient_log_norm.std[at]):.4g}"])
        lines += [f"  {row}" for row in aligned(rows)]
        if self.valid_depth == np.inf:
            lines.append("  the expansion in 1/n holds at every depth")
        else:
            ratio = f"L/n = {self.aspect_ratio:.3g}"
            lines.append(f"  the expansion in 1/n ends at depth {self.valid_depth:.0f}, {ratio}")
        at_most = self.recommended_depth
        lines.append(
            "  recommended depth for this width: "
            + ("any" if at_most == np.inf else f"{at_most:.0f} at most")
        )
        return "\n".join(lines + [f"  warning: {text}" for text in self.warnings])

    __repr__ = __str__


_ARRAYS = (
    "width", "fan_in", "kernel", "kernel_correction", "four_point", "fluctuation", "variance_std",
    "sampled_variance_std", "excess_kurtosis", "tangent_kernel", "tangent_kernel_std",
)  # fmt: skip


def _cell(value: float, error: float) -> str:
    """A number with at most ten of the digits that its error supports."""
    return digits(value, max(error, 0.5e-10 * abs(value)))


def _shown_layers(depth: int) -> list[int]:
    """The first layers, and then some at ever larger distances, up to the last."""
    some = {0, 1, 2, depth - 1, *(4 * 2**k - 1 for k in range(60) if 4 * 2**k < depth)}
    return sorted(at for at in some if at < depth)
