"""How deep a network of some width may be: limits of the expansion, and the best aspect ratio."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

from math import factorial, inf
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from meanfield.width.information import most_telling


def test_valid_depth() -> None:
    """ReLU: `5 (l - 1)/n` exceeds 1/2 in layer `n/10 + 2`."""
    for depth in (5, 500):
        fw = mf.finite_width(mf.critical("relu"), depth, 305)
        assert fw.valid_depth == 31
        assert fw.aspect_ratio == 31 / 305
        assert bool(fw.warnings) == (depth > 31)
    assert "layer 31" in fw.warnings[0] and fw.warnings[0] in str(fw)
    wide = mf.finite_width(mf.critical("relu"), 5, 10**7)
    assert wide.valid_depth == pytest.approx(10**6 + 1, abs=1)
    orthogonal = mf.finite_width(mf.Network("tanh", 1.0), 50, 100, q=0.5, weights="orthogonal")
    assert orthogonal.valid_depth == inf and orthogonal.warnings == ()
    assert "any" in str(orthogonal)
    tanh = mf.finite_width(mf.critical("tanh"), 50, 300)
    assert tanh.valid_depth == inf
    deep = mf.finite_width(mf.critical("tanh"), 100, 300)
    spread = deep.gradient_log_norm.std
    assert tanh.recommended_depth == np.argmax(spread > 1) > 50


@pytest.mark.parametrize("width", [300, 3000])
def test_the_information_that_outputs_share(width: int) -> None:
    """Against entropies of the exact law, beside which it leaves out terms of one order more."""
    fw = mf.finite_width(mf.Network("relu", weight_var=2.0), 4, width)
    exact = fw.exact
    assert exact is not None
    kernel, mass = exact._quadrature(-1)
    t, weight = np.polynomial.laguerre.laggauss(60)

    def missing(m: int) -> float:
        """Of the entropy of a Gaussian: E[ratio ln ratio], of t = |z|^2/2 ~ Gamma(m/2), m even."""
        K = kernel[:, None]
        with np.errstate(under="ignore"):
            ratio = mass @ (K ** (-m / 2) * np.exp(t * (1 - 1 / K)))
        chance = weight * t ** (m / 2 - 1) / factorial(m // 2 - 1)
        return float(chance @ (ratio * np.log(ratio)))

    def shared(r: Any, first: int, second: int) -> Any:
        return first * second / 8 * (r**2 - (20 + 3 * (first + second)) / 6 * r**3)

    r = float(exact.fluctuation[-1])
    for first, second in ((2, 2), (2, 4)):
        found = missing(first + second) - missing(first) - missing(second)
        leading = first * second / 8 * r**2
        told = shared(r, first, second)
        assert abs(found - told) < 8 * r * abs(leading - told)
    best = most_telling(6)
    some = np.linspace(0.5, 1.5, 101) * best
    assert np.argmax(shared(some, 2, 4)) == 50


def test_the_best_aspect_ratio() -> None:
    relu = mf.finite_width(mf.critical("relu"), 10, 10_000)
    for outputs in (2, 10):  # the first layer is Gaussian; depth is a whole number
        ratio = 4 / ((20 + 3 * outputs) * 5)
        assert abs(relu.optimal_aspect_ratio(outputs) - ratio) <= 1.01e-4
    tanh = mf.finite_width(mf.Network("tanh", 1.0), 10, 10_000, q=0.1)
    assert tanh.optimal_aspect_ratio(10) == pytest.approx(4 / (50 * 2 / 3), rel=0.02)
    assert mf.finite_width(mf.critical("tanh"), 10, 300).optimal_aspect_ratio() == inf
    assert mf.finite_width(mf.critical("relu"), 10, 300).optimal_aspect_ratio(10) < 0.03
    for bad, error in ((1, ValueError), (2.0, TypeError)):
        with pytest.raises(error, match="outputs: "):
            relu.optimal_aspect_ratio(bad)


def test_gradients_of_few_neurons_are_warned_of() -> None:
    crelu = mf.Activation("crelu", tau=1.0364, m=1.1704)  # few slopes are not 0
    net = mf.Network(crelu, 2.0, 0.2)
    few, many = (mf.finite_width(net, 4, n, q=1.0) for n in (48, 4800))
    assert "layer 2 alone adds" in few.warnings[-1] and "more width" in str(few)
    assert many.warnings == ()
    assert mf.finite_width(mf.critical("relu"), 2, 8).gradient_log_norm.exact  # at any width


def test_least_widths() -> None:
    fw = mf.finite_width(mf.critical("relu"), 40, 300)
    np.testing.assert_allclose(fw.least_width, 10 * np.arange(40.0), rtol=1e-12)
    for layer in (20, 39):
        width = int(fw.least_width_for_gradients[layer]) + 1
        again = mf.finite_width(mf.critical("relu"), layer + 1, width)
        assert again.gradient_log_norm.std[-1] == pytest.approx(1.0, abs=0.03)  # to order 1/n
