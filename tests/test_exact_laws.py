"""Exact laws at any width, and the density with its first correction beside them."""

# pyright: reportOptionalMemberAccess=false

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma, polygamma
from scipy.stats import binom, norm

import meanfield as mf
from meanfield.width.edgeworth import Edgeworth
from meanfield.width.exact import ExactLaw

SLOPES = [(0.0, 1.0), (0.1, 1.0), (1.0, 1.0), (-1.0, 0.5), (1.5, 0.0)]


def critical_law(slopes: tuple[float, float], widths: list[int], q: float = 1.0) -> ExactLaw:
    return ExactLaw(slopes, 2 / (slopes[0] ** 2 + slopes[1] ** 2), q, np.array(widths))


def relu(width: int, depth: int) -> ExactLaw:
    law = mf.finite_width(mf.Network("relu", weight_var=2.0), depth, width).exact
    assert law is not None
    return law


def test_where_there_is_an_exact_law() -> None:
    for phi in ("relu", "leaky_relu", "identity", "abs", lambda x: 3 * np.maximum(x, -0.5 * x)):
        assert mf.finite_width(mf.Network(phi, weight_var=1.0), 3, 10, q=1.0).exact is not None
    for net in (mf.Network("tanh", 1.0), mf.Network("relu", 1.0, 0.1),
                mf.Network("relu", 2.0, weights="orthogonal")):  # fmt: skip
        assert mf.finite_width(net, 3, 10, q=1.0).exact is None


@pytest.mark.parametrize(
    ("width", "mean", "variance"),
    [(10, -0.3075, 0.8667), (20, -0.1372, 0.3118), (50, -0.05174, 0.10817),
     (100, -0.025421, 0.051940), (500, -0.0050164, 0.010075)],
)  # fmt: skip
def test_log_moments_of_relu(width: int, mean: float, variance: float) -> None:
    """The printed table, and digamma and trigamma functions mixed over the active neurons."""
    law = relu(width, 2)
    assert law.log_mean[1] == pytest.approx(mean, rel=2e-4)
    assert law.log_variance[1] == pytest.approx(variance, rel=2e-4)
    k = np.arange(1, width + 1)
    chance = binom.pmf(k, width, 0.5) / (1 - 0.5**width)
    means = digamma(k / 2) + np.log(4 / width)
    assert law.log_mean[1] == pytest.approx(chance @ means, rel=1e-12)
    exact = chance @ (means - chance @ means) ** 2 + chance @ polygamma(1, k / 2)
    assert law.log_variance[1] == pytest.approx(exact, rel=1e-12)
    # beta of Hanin & Nica
    assert law.log_variance[1] == pytest.approx(5 / width, rel=8 / width)


@pytest.mark.parametrize("slopes", SLOPES)
def test_moments(slopes: tuple[float, float]) -> None:
    """`E[K]` stays; `E[K^2]` grows by `1 + (3 A4/A2^2 - 1)/n`, 5/n for ReLU; `E[K^3]` by more."""
    widths = [3, 10, 64, 7]
    law = critical_law(slopes, widths, q=1.7)
    A2, A4, A6 = (0.5 * (slopes[0] ** k + slopes[1] ** k)
                  for k in (2, 4, 6))  # fmt: skip
    n = np.array(widths[:-1])
    np.testing.assert_allclose(law.moment(1) / 1.7, 1.0, rtol=1e-10)
    growth = 1 + (3 * A4 / A2**2 - 1) / n
    np.testing.assert_allclose(law.moment(2)[1:] / 1.7**2, np.cumprod(growth), rtol=1e-10)
    np.testing.assert_allclose(law.fluctuation[1:], np.cumprod(growth) - 1, rtol=1e-12)
    # of one term y = phi^2/A2: 1, 3 A4/A2^2, 15 A6/A2^3
    y2, y3 = 3 * A4 / A2**2, 15 * A6 / A2**3
    third = (n * y3 + 3 * n * (n - 1) * y2 + n * (n - 1) * (n - 2)) / n**3
    np.testing.assert_allclose(law.moment(3)[1:] / 1.7**3, np.cumprod(third), rtol=1e-10)
    np.testing.assert_array_equal(law.moment(0) <= 1, True)


def test_the_expansion_is_the_first_order_of_the_exact_law() -> None:
    for n in (10**3, 10**5):
        fw = mf.finite_width(mf.Network("leaky_relu", weight_var=1.3), 20, n, q=0.7)
        x = fw.fluctuation[1:]
        np.testing.assert_allclose(fw.exact.fluctuation[1:], x, rtol=x[-1])
        mean, variance, _ = fw.exact.gradient_log_norm()
        left, right = fw.exact.slopes
        second, fourth = 0.5 * (left**2 + right**2), 0.5 * (left**4 + right**4)
        beta = (3 * fourth / second**2 - 1) * np.arange(20) / n
        np.testing.assert_allclose(variance[1:], beta[1:], rtol=10 / n)
        np.testing.assert_allclose((mean - fw.gradient_log_norm.log_of_mean)[1:], -beta[1:] / 2,
                                   rtol=10 / n)  # fmt: skip


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("widths", [[4, 4], [12, 9, 20, 5]])
def test_the_law_against_draws(slopes: tuple[float, float], widths: list[int]) -> None:
    """10^5 networks, Kolmogorov and Smirnov's distance: above 2/sqrt(draws) in 1 of 1500 trials."""
    law = critical_law(slopes, widths, q=0.6)
    rng, draws = np.random.default_rng(sum(widths)), 10**5
    log = np.full(draws, np.log(0.6))
    for n in widths[:-1]:
        h = rng.normal(size=(draws, n))
        f = np.where(h > 0, slopes[1], slopes[0]) * h
        with np.errstate(divide="ignore"):
            log += np.log(law.weight_var * np.mean(f**2, axis=1))
    alive = np.isfinite(log)
    assert abs(np.mean(~alive) - law.dead[-1]) <= 5 * np.sqrt(law.dead[-1] / draws)
    values = np.sort(log[alive])
    found = law.log_kernel()
    some = slice(0, len(values), 97)
    distance = np.max(np.abs(found.cdf(values[some]) - np.arange(len(values))[some] / len(values)))
    assert distance <= 2 / np.sqrt(len(values)) + 1 / len(values)
    assert np.mean(values) == pytest.approx(found.mean, abs=5 * np.std(values) / draws**0.5)
    # outputs are Gaussian given the kernel
    z = np.sort(np.exp(0.5 * log[alive]) * rng.normal(size=len(values)))
    distance = np.max(np.abs(law.output_cdf(z[some]) - np.arange(len(z))[some] / len(z)))
    assert distance <= 2 / np.sqrt(len(z)) + 1 / len(z)


@pytest.mark.parametrize("slopes", SLOPES)
def test_law_density_and_quantiles(slopes: tuple[float, float]) -> None:
    law = critical_law(slopes, [9, 16, 16]).log_kernel()
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.99, 1 - 1e-6])
    np.testing.assert_allclose(law.cdf(law.quantile(p)), p, atol=1e-13)
    assert law.cdf(law.quantile(0.25)) == pytest.approx(0.25, abs=1e-13)
    ends = law.quantile([1e-9, 1 - 1e-9])
    assert quad(law.density, *ends, limit=200)[0] == pytest.approx(1.0, abs=1e-8)
    mean = quad(lambda y: y * law.density(y), *ends, limit=200)[0]
    assert mean == pytest.approx(law.mean, abs=1e-6)
    assert (law.cdf(-1e4), law.cdf(1e4)) == (pytest.approx(0.0, abs=1e-13), pytest.approx(1.0))
    with pytest.raises(ValueError, match=r"p: must be in \(0, 1\)"):
        law.quantile(1.0)


def test_dead_layers() -> None:
    law = relu(3, 4)
    np.testing.assert_allclose(law.dead, 1 - (1 - 0.125) ** np.arange(4.0), rtol=1e-14)
    np.testing.assert_array_equal(critical_law((0.1, 1.0), [3, 3]).dead, 0.0)
    wide = relu(5000, 100)
    assert wide.dead[-1] == 0.0
    assert wide.log_variance[-1] == pytest.approx(99 * 5 / 5000, rel=1e-3)


def test_typical_networks_are_not_the_mean() -> None:
    """At n = 100, L = 100 the typical mean square is `e^-2.5` of the mean, which stays 1."""
    law = relu(100, 101)
    assert law.log_mean[-1] == pytest.approx(-2.5, abs=0.05)
    np.testing.assert_allclose(law.moment(1), 1.0, rtol=1e-9)


def test_densities_of_ten_relu() -> None:
    """Distances from the exact law: 0.0356 of the Gaussian, 0.0085 with the first correction."""
    fw = mf.finite_width(mf.Network("relu", weight_var=2.0), 2, 10)
    corrected = fw.output_law()
    assert corrected.variance == 1.0 and corrected.kurtosis == pytest.approx(1.5, rel=1e-14)
    x = np.linspace(-6, 6, 1201)
    dead = fw.exact.dead[-1]
    exact = fw.exact.output_cdf(x) * (1 - dead) + dead * (x > 0)
    assert np.max(np.abs(exact - norm.cdf(x))) == pytest.approx(0.0356, abs=5e-5)
    assert np.max(np.abs(exact - corrected.cdf(x))) == pytest.approx(0.0085, abs=5e-5)
    np.testing.assert_array_equal(fw.output_density(x), corrected(x))
    density = fw.exact.output_density(np.linspace(0.5, 2, 5))
    h = 1e-5
    for z, value in zip(np.linspace(0.5, 2, 5), density, strict=True):
        slope = (fw.exact.output_cdf(z + h) - fw.exact.output_cdf(z - h)) / (2 * h)
        assert slope == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("kurtosis", [-1.9, -0.3, 0.0, 1.0, 4.0, 4.5, 30.0])
def test_edgeworth(kurtosis: float) -> None:
    law = Edgeworth(0.7, kurtosis)
    moments = [quad(lambda z, k=k: z**k * law(z), -12, 12, limit=200)[0] for k in (0, 2, 4)]
    np.testing.assert_allclose(moments, [1, 0.7, 0.49 * (3 + kurtosis)], rtol=1e-9)
    assert law.cdf(0.4) == pytest.approx(quad(law, -12, 0.4, limit=200)[0], abs=1e-9)
    z = np.linspace(0, 8, 20001)
    inside = sum((z >= low) & (z <= high) for low, high in law.positive) > 0
    np.testing.assert_array_equal(law(z) > 0, inside)


def test_densities_that_do_not_exist_are_refused() -> None:
    fw = mf.finite_width(mf.critical("relu"), 3, 10)
    with pytest.raises(ValueError, match="layer: the kernel of the first layer is q"):
        fw.exact.log_kernel(0)
    assert fw.exact.output_density(0.0, 0) == pytest.approx(1 / np.sqrt(2 * np.pi))
    exploding = mf.finite_width(mf.Network("relu", 9.0), 600, 10, q=1.0)
    with pytest.raises(ValueError, match="layer: .* no density"):
        exploding.output_law()
    with pytest.raises(ValueError, match="s: must be >= 0"):
        fw.exact.moment(-1.0)
