"""Audits of models: what is measured, what is predicted, what is found, in networks of numpy."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from meanfield.bridges.audit import Audit, audited
from meanfield.bridges.findings import spelled
from meanfield.bridges.passage import passage, signal
from pictures import forbid_side_effects

TANH = np.tanh, lambda z: 1 - np.tanh(z) ** 2
RELU = lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0


def batch(n: int, size: int, q: float = 1.0, c: float = 0.3, seed: int = 0) -> np.ndarray:
    """Inputs of mean square q exactly and correlation c, all alike."""
    rows = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, n)))[0].T * math.sqrt(size)
    return math.sqrt(q) * np.linalg.cholesky((1 - c) * np.eye(n) + c) @ rows


def network(weights: list[np.ndarray], biases: list[np.ndarray], phis: Any, x: np.ndarray) -> Any:
    """Passages through `z = W phi(z') + b`, and gradients by hand."""
    befores, afters = [x], []
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        afters.append(befores[-1] @ w.T + b)
        befores.append(phis[k][0](afters[-1]))
    gradients = [np.random.default_rng(9).normal(size=afters[-1].shape)]
    for k in range(len(weights) - 1, 0, -1):
        gradients.append(gradients[-1] @ weights[k] * phis[k - 1][1](afters[k - 1]))
    return [
        passage(f"layer{k}", "Dense", w, biases[k], w.shape[1], 1.0, befores[k], afters[k], -1,
                gradients[-1 - k], 2.2e-16)
        for k, w in enumerate(weights)
    ]  # fmt: skip


def drawn(point: Any, width: int, depth: int, seed: int = 1) -> tuple[list[Any], list[Any]]:
    rng = np.random.default_rng(seed)
    scale = math.sqrt(point.weight_var / width)
    return (
        [rng.normal(size=(width, width)) * scale for _ in range(depth)],
        [rng.normal(size=width) * math.sqrt(point.bias_var) for _ in range(depth)],
    )


def audit(weights: Any, biases: Any, phi: Any, x: np.ndarray, **options: Any) -> Audit:
    passages = network(weights, biases, [phi] * len(weights), x)
    return audited(passages, options.pop("activation", None), "init(model, {})", **options)


def normalised(w: np.ndarray, variance: float) -> np.ndarray:
    """With second moment `variance / fan_in` exactly."""
    return w * math.sqrt(variance / np.mean(w**2) / w.shape[1])


def test_prediction_is_that_of_the_maps() -> None:
    """From inputs of one size and correlation the maps iterate to the same numbers."""
    width, depth, weight_var, bias_var = 40, 5, 1.8, 0.09
    network_ = mf.Network("tanh", weight_var, bias_var)
    weights, _ = drawn(mf.critical("tanh"), width, depth)
    weights = [normalised(w, weight_var) for w in weights]
    biases = [np.full(width, 0.3)] * depth
    result = audit(weights, biases, TANH, batch(12, width, 0.8, 0.4))
    q1 = weight_var * 0.8 + bias_var
    variances = mf.variance_map(network_).iterate(q1, depth - 1).variance
    np.testing.assert_allclose(result.predicted_variance, variances, rtol=1e-9)
    c1 = (weight_var * 0.8 * 0.4 + bias_var) / q1
    c = [c1]
    for q in variances[:-1]:
        c.append(float(mf.correlation_map(network_, q)(c[-1])))
    np.testing.assert_allclose(result.predicted_correlation, c, rtol=1e-7)
    gradients = [1.0]
    for q in variances[-2::-1]:
        gradients.append(gradients[-1] * weight_var * dphi2(float(q)))
    np.testing.assert_allclose(result.predicted_gradient, gradients[::-1], rtol=1e-9)
    assert result.activations == (None, *["tanh"] * (depth - 1))


def dphi2(q: float) -> float:
    z, w = np.polynomial.hermite_e.hermegauss(200)
    return float(w @ (1 / np.cosh(math.sqrt(q) * z)) ** 4 / math.sqrt(2 * math.pi))


@pytest.mark.parametrize(("name", "phi"), [("tanh", TANH), ("relu", RELU)])
def test_a_fresh_network_does_as_predicted(name: str, phi: Any) -> None:
    width, depth = 500, 6
    point = mf.critical(name)
    x = batch(16, width, point.input_second_moment)
    result = audit(*drawn(point, width, depth), phi, x)
    assert result.findings == ()
    assert "arrive" in result.verdict
    error = 5 * np.sqrt(np.arange(1, depth + 1) * 5 / width)  # Var z^2 = 2 q^2, more for relu
    assert np.all(np.abs(result.variance / result.predicted_variance - 1) <= error)
    assert np.all(np.abs(result.step_variance / result.variance - 1) <= 5 * math.sqrt(5 / width))
    assert np.all(np.abs(result.correlation - result.predicted_correlation) <= error)
    assert np.all(np.abs(result.gradient / result.predicted_gradient - 1) <= error)
    np.testing.assert_allclose(result.sparsity[1:], 0.5 if name == "relu" else 0.0, atol=0.1)
    np.testing.assert_allclose(result.predicted_sparsity[1:], 0.5 if name == "relu" else 0.0)
    expected = math.sqrt(2 / width)  # of the mean of squares of Gaussian units; fewer for a batch
    assert np.all(result.variance_error <= 1.3 * expected * result.variance)


def test_the_layer_where_the_signal_dies() -> None:
    point = mf.critical("tanh")
    weights, biases = drawn(point, 200, 6)
    weights[3], biases[3] = weights[3] * 1e-4, 0 * biases[3]
    result = audit(weights, biases, TANH, batch(12, 200))
    first = result.findings[0]
    assert (first.kind, first.layer) == ("variance", "layer3")
    assert "dies at once" in first.what and "tanh at q = 1 is critical at 2.15" in first.fix
    assert "init(model, 'tanh')" in result.verdict
    kinds = {finding.kind: finding for finding in result.findings}
    assert kinds["gradient"].layer == "layer3"
    assert kinds["correlation"].fix == "it comes of layer3: mend that first"


def test_the_fix_names_what_can_be_handed_over() -> None:
    """A name in quotation marks is one of the catalogue; others are functions."""

    def mine(x: Any) -> Any:
        return jnp.tanh(x)

    assert spelled(mf.Activation("tanh")) == spelled(mf.Activation(jnp.tanh)) == "'tanh'"
    assert spelled(mf.Activation(mine)) == "mine"
    assert spelled(mf.Activation("leaky_relu", alpha=0.2)) == "phi"


@pytest.mark.parametrize(
    ("weight_var", "kind", "what"),
    [(0.3, "gradient", "dies little by little"), (40.0, "gradient", "explodes little by little")],
)
def test_gradients_that_die_and_explode(weight_var: float, kind: str, what: str) -> None:
    weights, biases = drawn(mf.critical("tanh"), 200, 12)
    weights = [normalised(w, weight_var) for w in weights]
    result = audit(weights, biases, TANH, batch(12, 200))
    found = {finding.kind: finding for finding in result.findings}
    assert what in found[kind].what
    first = result.layers.index(found[kind].layer)
    crossed = [not 1e-4 < g < 1e4 for g in result.gradient]
    assert crossed[first] and not any(crossed[first + 1 :])


def test_inputs_that_become_one() -> None:
    """The edge of chaos too brings inputs together; then more of the same is no cure."""
    weights, biases = drawn(mf.Network("relu", 1.0, 0.1), 200, 12)
    found = {f.kind: f for f in audit(weights, biases, RELU, batch(12, 200)).findings}
    assert "relu at q = 1 is critical at 2 with bias_var 0" in found["correlation"].fix
    weights, biases = drawn(mf.critical("relu"), 200, 60)
    weights = [normalised(w, 2.0) for w in weights]
    found = {f.kind: f for f in audit(weights, biases, RELU, batch(12, 200, c=0.9)).findings}
    assert "critical already" in found["correlation"].fix


def test_silent_units() -> None:
    weights, biases = drawn(mf.critical("relu"), 200, 4)
    biases[1] = biases[1] - 8.0
    result = audit(weights, biases, RELU, batch(12, 200))
    found = [(f.kind, f.layer) for f in result.findings]
    assert ("sparsity", "layer2") in found or ("variance", "layer2") in found


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")  # of the network itself
@pytest.mark.parametrize("phi", [TANH, RELU], ids=["tanh", "relu"])
@pytest.mark.parametrize("scale", [0.0, 1e-14, 1e60])
def test_what_dies_and_overflows(phi: Any, scale: float) -> None:
    weights, biases = drawn(mf.critical("relu"), 60, 6)
    result = audit([scale * w for w in weights], biases, phi, batch(12, 60))
    first = result.findings[0]
    if scale == 0:
        assert (first.kind, first.layer) == ("variance", "layer0")
        assert "outputs is 0" in first.what and "name the activation" in first.fix
    elif scale < 1:
        assert (first.kind, first.layer) == ("variance", "layer1") and "dies" in first.what
    elif phi is RELU:
        assert (first.kind, first.layer) == ("variance", "layer1") and "explodes" in first.what
    assert str(result)


def test_theory_and_model_part() -> None:
    """Where weights have a mean, and where they know what they see."""
    point = mf.critical("relu")
    weights, biases = drawn(point, 200, 5)
    x = batch(12, 200, c=0.8)
    coherent = [w + (0.1 if k == 2 else 0.0) for k, w in enumerate(weights)]
    found = {f.kind: f for f in audit(coherent, biases, RELU, x).findings}
    assert found["theory"].layer == "layer2" and "have a mean" in found["theory"].what
    seen = network(weights, biases, [RELU] * 5, x)
    h = np.maximum(x @ weights[0].T + biases[0], 0)
    h = np.maximum(h @ weights[1].T + biases[1], 0).mean(axis=0)
    h -= h.mean()
    trained = [w + (np.outer(np.tile([1, -1], 100), h) * 0.02 if k == 2 else 0) for k, w in
               enumerate(weights)]  # fmt: skip
    found = {f.kind: f for f in audit(trained, biases, RELU, x).findings}
    assert found["theory"].layer == "layer2" and "not independent" in found["theory"].what
    assert not [f for f in audited(seen, None, "{}").findings if f.kind == "theory"]


def test_what_stands_between() -> None:
    """An unknown function is named by hand; without it the prediction is taken up again."""
    bent = lambda z: np.where(z > 0.3, z, 0.37 * z - 0.1)
    phi = bent, lambda z: np.where(z > 0.3, 1.0, 0.37)
    weights, biases = drawn(mf.critical("relu"), 100, 4)
    x = batch(12, 100)
    passages = network(weights, biases, [TANH, phi, TANH, TANH], x)
    unknown = audited(passages, None, "{}")
    assert unknown.activations == (None, "tanh", None, "tanh")
    assert "before layer2 stands more than one known activation" in unknown.notes[0]
    predicted = weights[2].var() * 100 * np.mean(bent(passages_after(weights, biases, x)) ** 2)
    assert unknown.predicted_variance[2] == pytest.approx(predicted, rel=0.05)
    assert unknown.predicted_gradient[1] == unknown.gradient[1]
    named = audited(passages, mf.Activation(bent, kinks=[0.3], name="bent"), "{}")
    assert named.activations == (None, "tanh", "bent", "tanh") and named.notes == ()


def passages_after(weights: Any, biases: Any, x: np.ndarray) -> np.ndarray:
    return np.tanh(x @ weights[0].T + biases[0]) @ weights[1].T + biases[1]


def test_signals() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5, 7, 16))  # channels on axis 1
    seen = signal(x, 1)
    assert len(seen.variance) == 32
    np.testing.assert_allclose(seen.variance, np.mean(x[:32] ** 2, axis=(1, 2, 3)))
    rows = x[:32].reshape(32, -1)
    np.testing.assert_allclose(seen.state.correlation, cosines(rows), atol=1e-12)
    one = signal(x[:1], 1)
    assert math.isnan(one.correlation)
    silent = signal(np.zeros((2, 3)), -1)
    assert silent.zeros == 1 and silent.state.correlation[0, 1] == 0


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_nothing_to_audit() -> None:
    with pytest.raises(ValueError, match="model: the batch went through no dense layer"):
        audited([], None, "{}")


def test_print_and_dictionary() -> None:
    weights, biases = drawn(mf.critical("tanh"), 50, 3)
    result = audit(weights, biases, TANH, batch(12, 50))
    head, columns, *rows = str(result).splitlines()
    assert head == "Audit, measured beside theory" and columns.split()[0] == "layer"
    assert [row.split()[0] for row in rows[:3]] == ["layer0", "layer1", "layer2"]
    made = result.to_dict()
    assert made["verdict"] == result.verdict and len(made["predicted_variance"]) == 3


def test_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    weights, biases = drawn(mf.critical("tanh"), 50, 4)
    weights[2] = weights[2] * 1e-4
    result = audit(weights, 0 * np.array(biases), TANH, batch(12, 50))
    panels = result.plot()
    assert panels.shape == (2, 2)
    given = plt.figure().subplots(1, 4)
    forbid_side_effects(monkeypatch)
    assert list(result.plot(given).flat) == list(given)
    line = given[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), result.predicted_variance)
    assert [given[k].get_yscale() for k in range(4)] == ["log", "linear", "linear", "log"]
    marked = [panel for panel in given if any(x.get_linestyle() == ":" for x in panel.lines)]
    assert len(marked) == 4
    with pytest.raises(ValueError, match="ax: must be 4 axes, got 1"):
        result.plot(given[0])
    plt.close("all")
