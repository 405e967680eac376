"""Named schemes: their variances against the papers', and how far signals get."""

import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sici

import meanfield as mf
import meanfield.layers as ml
from finite import at_infinite_width
from pictures import forbid_side_effects


# VI3NR, table of gains; Kumar 2017; both as derived from the formulas
@pytest.mark.parametrize(
    ("scheme", "phi", "weight_var"),
    [
        ("lsuv", "tanh", 2.5362),
        ("lsuv", "sigmoid", 3.4086),
        ("vi3nr", "sigmoid", 103.0),
        ("vi3nr", "relu", 2.0),
        ("vi3nr", "tanh", 1.0),
        ("kumar", "sigmoid", 12.8),
        ("kumar", "softplus", 2.7019),
        ("kumar", "silu", 4.0),
        ("he", "relu", 2.0),
        ("lecun", "selu", 1.0),
    ],
)
def test_variances(scheme: str, phi: str, weight_var: float) -> None:
    found = mf.schemes.place(scheme, phi)
    assert found.network.weight_var == pytest.approx(
        weight_var, rel=5e-5 if scheme != "vi3nr" else 5e-4
    )
    assert found.network.bias_var == 0


def test_vi3nr_is_stationary_backward_and_forward() -> None:
    """`q = weight_var E[phi^2]` and `weight_var E[phi'^2] = 1` at its point."""
    point = mf.schemes.place("vi3nr", "sinc").point
    assert point is not None and point.chi1 == pytest.approx(1, abs=1e-9)
    assert math.sqrt(float(point.q)) == pytest.approx(2.22334, abs=1e-5)
    assert float(point.weight_var) == pytest.approx(10.687, abs=1e-3)


def test_shapes_of_layers() -> None:
    assert mf.schemes.place("glorot", "tanh", fan_in=100, fan_out=300).network.weight_var == 0.5
    assert mf.schemes.place("spectral", "tanh", fan_in=400, fan_out=100).network.weight_var == 0.25
    assert mf.schemes.place("pytorch", "tanh", fan_in=100).network.bias_var == 1 / 300


def test_dag() -> None:
    """Chen et al. 2024: nodes that sum over `in_degree` layers of ReLU keep the mean square."""
    found = mf.schemes.place("dag", "relu", in_degree=4)
    assert found.network.weight_var == 0.5 and found.reach == math.inf
    rng, width, nodes = np.random.default_rng(0), 400, {0: np.ones(400)}
    parents = {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [2, 3], 5: [1, 3, 4]}
    squares = np.empty((60, 6))
    for draw in range(60):
        for node, before in parents.items():
            variance = mf.schemes.place("dag", "relu", in_degree=len(before)).network.weight_var
            nodes[node] = np.zeros(width)
            for k in before:
                x = np.maximum(nodes[k], 0) if k else nodes[0] / math.sqrt(2)
                weights = rng.normal(size=(width, width)) * math.sqrt(float(variance) / width)
                nodes[node] += weights @ x
        squares[draw] = [np.mean(nodes[k] ** 2) for k in range(6)]
    error = np.std(squares[:, 1:], axis=0) / math.sqrt(60)
    # exact on average: ReLU halves the mean square, and each layer has 2 over the number of them
    assert np.all(np.abs(np.mean(squares[:, 1:], axis=0) - 1) <= 3 * error)


def test_looks_linear() -> None:
    """Mirrored weights see `phi(x) - phi(-x)`, which is x for ReLU, GELU, SiLU and softplus."""
    for phi in ("relu", "gelu", "silu", "softplus"):
        found = mf.schemes.place("looks-linear", phi)
        assert found.reach == math.inf and found.network.weight_var == 2
        c = mf.correlation_map(found.acts_as, q=1.0)(0.3)
        assert float(c) == pytest.approx(0.3, abs=1e-12)
    assert mf.schemes.place("looks-linear", "tanh").reach < 50  # 2 tanh(x): chaotic


def test_fixup() -> None:
    """`2 L^(-1/(m-1))` within branches whose last layer is 0: the network is its skips."""
    found = mf.schemes.place("fixup", "relu", blocks=64, branch_layers=3)
    assert found.network.weight_var == pytest.approx(2 / 8) and found.reach == math.inf
    branch = ml.serial(
        ml.activation("relu"), ml.dense(float(found.network.weight_var)),
        ml.activation("relu"), ml.dense(0.0),
    )  # fmt: skip
    trace = ml.propagate(ml.repeat(ml.residual(branch), 64), 1.7, 0.2)
    assert trace.variance[-1] == 1.7 and trace.correlation[-1] == pytest.approx(0.2)
    assert found.point is not None and found.point.chi1 == 1


def test_siren_first_layer() -> None:
    """`W ~ U(-1/n, 1/n)` times `omega_0` on coordinates in [-1, 1], then `U(+-sqrt(6/n))`."""
    found = mf.schemes.place("siren", "sin", coordinates=2)
    assert found.first_weight_var == 150 and found.start == 50
    assert found.point is not None and found.point.q == pytest.approx(
        1 - math.exp(-2 * found.point.q), abs=1e-12
    )
    assert mf.schemes.place("siren", "sin", coordinates=1, omega=1.0).start == pytest.approx(1 / 9)


def test_siren_networks() -> None:
    """Layer by layer, of coordinates `x` in [-1, 1]^2: exact at infinite width.

    `q_2(x) = 2 E sin^2 = 1 - S(x)` with `S = prod_i sin(30 x_i) / (30 x_i)` of uniform weights, on
    average `1 - (Si(30) / 30)^2`, and then each `x` has `q_(l+1) = 1 - exp(-2 q_l)`.
    """
    inputs, depth = 2, 5
    u, w = np.polynomial.legendre.leggauss(120)
    x, w = 0.5 + 0.5 * u, 0.5 * w
    q = 1 - np.multiply.outer(np.sin(30 * x) / (30 * x), np.sin(30 * x) / (30 * x))
    expected = [50.0]
    for _ in range(depth - 1):
        expected.append(float(w @ q @ w))
        q = 1 - np.exp(-2 * q)
    assert expected[1] == pytest.approx(1 - (sici(30)[0] / 30) ** 2, rel=1e-12)

    def squares(width: int, rng: np.random.Generator) -> np.ndarray:
        x = rng.uniform(-1, 1, inputs)
        z = 30 * rng.uniform(-1 / inputs, 1 / inputs, (width, inputs)) @ x
        found = []
        for _ in range(depth):
            found.append(np.mean(z**2))
            z = rng.uniform(-1, 1, (width, width)) * math.sqrt(6 / width) @ np.sin(z)
        return np.array(found)

    value, error = at_infinite_width(squares, 100, 300)
    assert np.all(np.abs(value - expected) <= 3 * error)
    assert np.all(error[1:] <= 0.02) and error[0] <= 5  # one of all coordinates a network


def test_lsuv_stays_at_unit_variance() -> None:
    """Its point has q = 1; layer by layer the rescaling of real networks finds the same gain."""
    for phi, f in (("tanh", np.tanh), ("relu", lambda z: np.maximum(z, 0))):
        found = mf.schemes.place("lsuv", phi)
        assert found.point is not None and found.point.q == pytest.approx(1, abs=1e-9)
        rng, width, gains = np.random.default_rng(1), 100, []
        for _ in range(40):
            x = rng.normal(size=(50, width))
            for _ in range(3):
                z = x @ np.linalg.qr(rng.normal(size=(width, width)))[0]
                gain = 1 / np.mean(z**2)
                x = f(z * math.sqrt(gain))
            gains.append(math.log(gain))  # pyright: ignore[reportPossiblyUnbound]
        error = np.std(gains) / math.sqrt(40)
        # E[log(1/x)] of a mean square x is half its relative variance above
        expected = math.log(found.network.weight_var) + 0.5 * np.var(gains)
        assert abs(np.mean(gains) - expected) <= 3 * error and error < 0.02


@pytest.mark.parametrize(("fan_in", "fan_out"), [(600, 600), (800, 200), (200, 800)])
def test_spectral_condition(fan_in: int, fan_out: int) -> None:
    """`|W|_2` of drawn matrices; edges of Marchenko & Pastur fluctuate as `n^(-2/3)`."""
    rng = np.random.default_rng(0)
    for scheme in ("spectral", "orthogonal", "he"):
        found = mf.schemes.place(scheme, "relu", fan_in=fan_in, fan_out=fan_out)
        W = rng.normal(size=(fan_out, fan_in)) * math.sqrt(float(found.network.weight_var) / fan_in)
        if found.network.weights != "gaussian":
            u, s, v = np.linalg.svd(W, full_matrices=False)
            W = u @ v * math.sqrt(float(found.network.weight_var) * fan_out / len(s))
        size = np.linalg.norm(W, 2)
        assert size == pytest.approx(found.spectral_norm, rel=3 * fan_in ** (-2 / 3))
        assert found.norm_ratio == found.spectral_norm / math.sqrt(fan_out / fan_in)
    assert 1 <= mf.schemes.place("spectral", "relu", fan_in, fan_out).norm_ratio <= 2


def test_vi3nr_table() -> None:
    """Forward gain and backward condition of theory section 2, and its roots."""
    table = [("tanh", 1.0, 2.5362, 1.1778), ("tanh", 0.1, 1.0198, 1.0001),
             ("sigmoid", 1.0, 3.4086, 0.1528)]  # fmt: skip
    for phi, deviation, gain, condition in table:
        m = mf.Activation(phi).moments(np.array([deviation**2])).value[0]
        assert deviation**2 / m[1] == pytest.approx(gain, abs=5e-5)
        assert deviation**2 * m[3] / m[1] == pytest.approx(condition, abs=5e-5)
    b = 0.05
    roots = [
        (lambda x: jnp.exp(-(x**2) / (2 * b**2)), b * math.sqrt(1 + math.sqrt(2)), 0.014571),
        ("sinc", 2.22334, 10.687),
        (lambda x: jnp.cos(x) * jnp.exp(-(x**2)), 0.870469, 1.80391),
        ("sigmoid", 6.7546, 103.0),
    ]  # fmt: skip
    for phi, deviation, gain in roots:
        point = mf.schemes.place("vi3nr", phi).point
        assert point is not None and point.chi1 == pytest.approx(1, abs=1e-9)
        assert math.sqrt(float(point.q)) == pytest.approx(deviation, rel=1e-5)
        assert float(point.weight_var) == pytest.approx(gain, rel=1e-4)
    sine = mf.schemes.place("vi3nr", lambda x: jnp.sin(30 * x))  # no root above 0
    assert sine.point is not None and sine.point.q == 0
    assert sine.network.weight_var == pytest.approx(1 / 900)


def test_reach() -> None:
    """Six depth scales; He is critical for ReLU, LeCun halves its signal in every layer."""
    assert mf.schemes.place("he", "relu").reach == math.inf
    assert mf.schemes.place("lecun", "relu").reach == pytest.approx(6 / math.log(2))
    assert mf.schemes.place("kumar", "gelu").point is None  # explodes: 4/2 per layer
    assert mf.schemes.place("kumar", "gelu").reach == pytest.approx(6 / math.log(2), rel=1e-6)
    he = mf.schemes.place("he", "tanh")
    assert he.point is not None and he.reach == 6 * he.point.depth_scale_c
    selu = mf.schemes.place("lecun", "selu")  # self-normalising: q = 1
    assert selu.point is not None and selu.point.q == pytest.approx(1, abs=1e-9)


def test_the_table() -> None:
    table = mf.schemes.compare("relu", depth=20)
    assert {p.scheme for p in table.placements} | set(table.missing) == set(mf.schemes.NAMES)
    assert list(table.missing) == ["kumar"]
    lines = repr(table).splitlines()
    he = next(line.split() for line in lines if line.split()[0] == "he")
    assert he == ["he", "2", "0", "1", "1", "critical", "inf", "2.828", "yes"]


def test_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    table = mf.schemes.compare("tanh")
    ax = plt.figure().add_subplot()
    forbid_side_effects(monkeypatch)
    assert table.plot(ax=ax) is ax
    shown = [text.get_text() for text in ax.texts if text.get_visible()]
    named = {name for text in shown for name in text.split("\n")}
    # those that act as another activation have a star, and their own marker where they are alone
    starred = {"looks-linear", "fixup"}
    assert named == {p.scheme + "*" * (p.scheme in starred) for p in table.placements}
    dots = [(np.asarray(line.get_xdata()), line.get_color()) for line in ax.lines]
    at = {(float(x[0]), color) for x, color in dots if len(x) == 1}
    fixup = next(p for p in table.placements if p.scheme == "fixup")
    assert (round(float(fixup.network.weight_var), 2), "white") in at and (1.0, "black") in at
    assert "*acts as another activation" in ax.get_legend_handles_labels()[1]
    monkeypatch.undo()
    plt.close("all")


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="scheme: must be one of lecun, .*; got 'kaiming'"):
        mf.schemes.place("kaiming", "relu")
    with pytest.raises(ValueError, match="depth: must be at least 1"):
        mf.schemes.compare("relu", depth=0)
    with pytest.raises(ValueError, match="branch_layers: must be at least 2, got 1"):
        mf.schemes.place("fixup", "relu", branch_layers=1)
    with pytest.raises(TypeError, match="fan_in: must be a whole number"):
        mf.schemes.place("glorot", "relu", fan_in=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="omega: must be a positive number"):
        mf.schemes.place("siren", "sin", omega=0.0)
    assert np.ndim(mf.schemes.NAMES) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from meanfield.cli import main

    picture, numbers = tmp_path / "schemes.png", tmp_path / "schemes.csv"
    assert main(["schemes", "tanh", "--depth", "90", "-o", str(picture), "-o", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "lsuv" in printed and picture.stat().st_size > 10_000
    rows = {row.split(",")[0]: row.split(",") for row in numbers.read_text().splitlines()}
    assert rows["he"][1:3] == ["2.0", "0.0"] and rows["lsuv"][9] == "False"


def test_what_grows_by_a_power_of_depth_has_no_scale() -> None:
    place = mf.schemes.place("he", "softplus")
    assert place.point is None and place.reach == np.inf
