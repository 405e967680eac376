"""torch: networks that `init_` made have the variances that it promises."""

import math
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from bridges import DRAWS, assert_variances, entries, examples_run, mean_squares, poisoned

torch = pytest.importorskip("torch", reason="pip install '.[torch]'")
torch.set_num_threads(1)  # the matrices are small
nn: Any = torch.nn
init_: Any = mf.bridges.torch.init_
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def assert_second_moment(values: np.ndarray, expected: float) -> None:
    """Within 5 standard errors of independent Gaussian entries, whose squares vary most."""
    assert np.mean(values**2) == pytest.approx(expected, rel=5 * math.sqrt(2 / values.size))


@pytest.mark.parametrize("name", ["torch", "torch_audit"])
def test_examples(name: str) -> None:
    examples_run(name)


@pytest.mark.parametrize(
    "weights", ["gaussian", "uniform", "truncated-normal", "orthogonal", mf.ensembles.Sparse(0.3)]
)
@pytest.mark.parametrize(("name", "q"), [("tanh", 0.7), ("gelu", 1.0), ("relu", 2.0)])
def test_every_layer_has_the_variance(name: str, q: float, weights: Any) -> None:
    sizes = [50, 200, 300, 200, 250, 240]
    layers = [
        part for n, m in zip(sizes[:-1], sizes[1:], strict=True) for part in (nn.Linear(n, m), None)
    ]
    act = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}[name]
    model = nn.Sequential(*[part or act() for part in layers[:-1]])
    x = torch.randn(1, sizes[0])
    x *= math.sqrt(1.7 / float((x**2).mean()))
    squares = []
    for _ in range(DRAWS if isinstance(weights, str) else 4):
        report = init_(model, name, q=q, weights=weights, input_second_moment=1.7)
        squares.append(mean_squares(model, x, nn.Linear))
    assert [one.place for one in report.initialised] == ["first", *["hidden"] * 3, "output"]
    assert [one.fan_in for one in report.initialised] == sizes[:-1]
    if isinstance(weights, str):
        assert_variances(np.array(squares), q, 200)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal", "delta-orthogonal"])
def test_convolutions(weights: str) -> None:
    """With circular padding all positions are alike."""
    around: Any = {"padding": "same", "padding_mode": "circular"}
    model = nn.Sequential(
        nn.Conv2d(8, 64, 5, **around), nn.Tanh(),
        nn.Conv2d(64, 96, 3, groups=4, **around), nn.Tanh(),
        nn.Conv2d(96, 64, (1, 3), **around), nn.Tanh(),
        nn.Conv2d(64, 64, 3, **around),
    )  # fmt: skip
    x = torch.randn(1, 8, 6, 6)
    if weights == "delta-orthogonal":  # sees one position at a time
        x *= torch.rsqrt((x**2).mean(dim=1, keepdim=True))
    squares = []
    for _ in range(DRAWS):
        report = init_(model, "tanh", q=0.6, weights=weights)
        squares.append(mean_squares(model, x, nn.Conv2d))
    # the first has few inputs, and data whose mean square is 1 but for its own noise
    assert [one.fan_in for one in report.initialised] == [200, 144, 288, 576]
    assert_variances(np.array(squares), 0.6, 48 if weights == "gaussian" else 16)


def test_orthogonal_matrices() -> None:
    point = mf.critical("tanh", weights="orthogonal")
    tall, grouped = nn.Linear(30, 50, dtype=torch.float64), nn.Conv1d(20, 24, 3, groups=4)
    model = nn.Sequential(nn.Linear(4, 30), tall, grouped, nn.Linear(7, 7))
    init_(model, point)
    w = entries(tall.weight)
    scale = point.weight_var * 50 / 30  # entries of variance weight_var / 30, orthonormal columns
    np.testing.assert_allclose(w.T @ w, scale * np.eye(30), atol=1e-12)
    for group in entries(grouped.weight).reshape(4, 6, 15):  # each its own matrix
        np.testing.assert_allclose(group @ group.T, point.weight_var * np.eye(6), atol=1e-5)


def test_delta_orthogonal_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Conv2d(8, 16, (3, 5)), nn.Conv2d(16, 16, 1))
    init_(model, "tanh", weights="delta-orthogonal")
    kernel = entries(model[1].weight)
    centre = kernel[:, :, 1, 2].copy()
    kernel[:, :, 1, 2] = 0
    assert not kernel.any()
    scale = mf.critical("tanh").weight_var * 16 / 8
    np.testing.assert_allclose(centre.T @ centre, scale * np.eye(8), atol=1e-5)
    even = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Conv2d(8, 16, 4))
    before = entries(even[0].weight).copy()
    with pytest.raises(ValueError, match=r"1 \(Conv2d\): shape: .*odd sizes, got \(4, 4\)"):
        init_(even, "tanh", weights="delta-orthogonal")
    np.testing.assert_array_equal(entries(even[0].weight), before)  # nothing was drawn


@pytest.mark.parametrize("groups", [1, 4])
def test_transposed_convolutions_have_their_inputs_first(groups: int) -> None:
    """With stride 2 and a field of 4 an output sums 2 positions in each direction."""
    layer = nn.ConvTranspose2d(64, 96, 4, stride=2, groups=groups)
    model = nn.Sequential(nn.Conv2d(1, 64, 1), layer, nn.Conv2d(96, 1, 1))
    x, squares = torch.randn(1, 64, 12, 12), []
    for _ in range(DRAWS):
        report = init_(model, "relu", output=0.1)
        with torch.no_grad():
            squares.append([float((layer(x)[..., 4:-4, 4:-4] ** 2).mean())])
    assert report.initialised[1].fan_in == 64 / groups * 4
    size = float((x**2).mean())
    assert np.mean(squares) == pytest.approx(2 * size, rel=0.1)
    assert_second_moment(entries(layer.weight), 2 / (64 / groups * 4))


def test_embeddings() -> None:
    table = nn.Embedding(500, 100, padding_idx=3)
    model = nn.Sequential(table, nn.Linear(100, 200), nn.Tanh(), nn.Linear(200, 200))
    words = torch.tensor([[7]])
    squares = []
    for _ in range(DRAWS):
        report = init_(model, "tanh")
        squares.append(mean_squares(model, words, nn.Linear))
    assert [one.place for one in report.initialised] == ["embedding", "hidden", "output"]
    assert not table.weight[3].any()
    assert_second_moment(
        np.delete(entries(table.weight), 3, 0), mf.critical("tanh").input_second_moment
    )
    assert_variances(np.array(squares), 1.0, 100)
    with pytest.raises(ValueError, match="activation: .*q = 0"):
        init_(model, mf.critical_points("tanh")[0])


def test_outputs() -> None:
    def made(output: Any) -> Any:
        model = nn.Sequential(nn.Linear(30, 300), nn.ReLU(), nn.Linear(300, 40))
        kept = entries(model[2].weight).copy()
        report = init_(model, "relu", output=output)
        return report, entries(model[2].weight), entries(model[2].bias), kept

    assert_second_moment(made("hidden")[1], 2 / 300)
    # E[phi^2] = 1/2 at q = 1: entries of variance 0.01 / (300 / 2)
    _, weight, bias, _ = made(0.01)
    assert_second_moment(weight, 0.02 / 300)
    assert not bias.any()
    _, weight, bias, _ = made("zero")
    assert not weight.any() and not bias.any()
    report, weight, _, kept = made("keep")
    np.testing.assert_array_equal(weight, kept)
    assert [one.name for one in report.left] == ["2"]


def test_biases() -> None:
    point = mf.critical("tanh", bias_var=0.3)
    model = nn.Sequential(
        nn.Linear(10, 2000), nn.Linear(2000, 1000), nn.Linear(1000, 5, bias=False)
    )
    report = init_(model, point)
    for layer in model[:2]:
        assert_second_moment(entries(layer.bias), 0.3)
    assert report.notes == ()
    bare = nn.Sequential(nn.Linear(10, 20, bias=False), nn.Linear(20, 20))
    assert "0 without biases" in init_(bare, point).notes[0]
    assert init_(bare, "relu").notes == ()


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: Any) -> Any:
        return x + torch.relu(self.inner(self.norm(x)))


def test_what_is_left_is_said() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.attention = nn.Linear(6, 8), nn.MultiheadAttention(8, 2)
            self.blocks = nn.Sequential(Block(8), Block(8))
            self.scale = nn.Parameter(torch.ones(8))
            self.normed = torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
            self.pool, self.drop, self.head = nn.AvgPool1d(2), nn.Dropout(0.25), nn.Linear(4, 3)

    model = Model()
    before = {name: entries(p).copy() for name, p in model.named_parameters()}
    report = init_(model, "relu")
    drawn = {one.name for one in report.initialised}
    assert drawn == {"embed", "blocks.0.inner", "blocks.1.inner", "head"}
    left = {one.name: one.why for one in report.left}
    assert set(left) == {"", "attention", "blocks.0.norm", "blocks.1.norm", "normed"}
    assert (
        "scale" in left[""]
        and "parametrized" in left["normed"]
        and "q = 1" in left["blocks.0.norm"]
    )
    for name, parameter in model.named_parameters():
        changed = not np.array_equal(entries(parameter), before[name])
        assert changed == (name.rpartition(".")[0] in drawn), name
    notes = " ".join(report.notes)
    assert "AvgPool1d" in notes and "dropout of 0.25 divides mean squares by 0.75" in notes
    assert "cannot trace" in notes and "embed counts as" in notes  # it has no forward
    text = str(report)
    assert text.startswith("Initialised for relu at q = 1: weight_var 2, bias_var 0, gaussian")
    assert all(one.why in text for one in report.left)
    assert report.to_dict()["left"][0]["kind"] == "Model"


def test_residual_sums_are_seen() -> None:
    report = init_(nn.Sequential(nn.Linear(6, 8), Block(8), Block(8), nn.Linear(8, 2)), "relu")
    assert any("2 residual sums (the first in 1)" in note for note in report.notes)
    assert [one.place for one in report.initialised] == ["first", "hidden", "hidden", "output"]


def test_places_follow_the_data_not_the_order_of_registration() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList([nn.Linear(8, 1), nn.Linear(8, 2)])
            self.middle, self.left, self.right = nn.Linear(8, 8), nn.Linear(3, 8), nn.Linear(4, 8)

        def forward(self, x: Any, y: Any) -> Any:
            z = torch.tanh(self.middle(torch.tanh(self.left(x) + self.right(y))))
            return [head(z) for head in self.heads]

    places = {one.name: one.place for one in init_(Model(), "tanh").initialised}
    assert places == {
        "heads.0": "output", "heads.1": "output", "middle": "hidden", "left": "first",
        "right": "first",
    }  # fmt: skip


def test_tied_weights_are_drawn_once() -> None:
    embed, head = nn.Embedding(50, 16), nn.Linear(16, 50, bias=False)
    head.weight = embed.weight
    same = nn.Linear(16, 16)
    report = init_(nn.Sequential(embed, same, nn.Tanh(), same, head), "tanh")
    assert [one.name for one in report.initialised] == ["0", "1"]
    assert [(one.name, "with 0" in one.why) for one in report.left] == [("4", True)]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_dtypes(dtype: str) -> None:
    model = nn.Sequential(nn.Linear(30, 200), nn.Linear(200, 30)).to(getattr(torch, dtype))
    init_(model, "gelu", weights="orthogonal")
    assert model[1].weight.dtype == getattr(torch, dtype)
    # of orthonormal rows the mean square is exact but for rounding
    expected = mf.critical("gelu").weight_var / 200
    assert np.mean(entries(model[1].weight) ** 2) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("weights", ["uniform", "orthogonal", mf.ensembles.LowRank(0.5)])
def test_seeds(weights: Any) -> None:
    def drawn(generator: Any = None) -> np.ndarray:
        model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6))
        init_(model, "tanh", weights=weights, generator=generator)
        return entries(model[1].weight)

    torch.manual_seed(5)
    first, second = drawn(), drawn()
    torch.manual_seed(5)
    np.testing.assert_array_equal(drawn(), first)
    assert not np.array_equal(first, second)
    again = (drawn(torch.Generator().manual_seed(3)) for _ in range(2))
    np.testing.assert_array_equal(next(again), next(again))


def test_a_module_is_an_activation_and_a_layer_a_model() -> None:
    report = init_(nn.Linear(6, 8), nn.Tanh(), q=0.5)
    assert report.point.q == 0.5 and report.initialised[0].place == "first and output"
    assert mf.bridges.torch.calculate_gain("relu") == pytest.approx(nn.init.calculate_gain("relu"))
    tanh = mf.critical("tanh", q=0.3)
    assert mf.bridges.torch.calculate_gain(tanh) == math.sqrt(tanh.weight_var)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: "model", {}, TypeError, "model: must be a torch.nn.Module, got str"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), {}, ValueError, "model: 0.weight is lazy"),
        (lambda: nn.Linear(3, 4, device="meta"), {}, ValueError, "model: weight is on the meta"),
        (poisoned, {}, ValueError, "model: 1.weight is not finite"),
        (lambda: nn.LayerNorm(4), {}, ValueError, "model: it has no dense layer.*LayerNorm"),
        (lambda: nn.Linear(3, 4), {"output": "none"}, ValueError, "output: must be one of"),
        (lambda: nn.Linear(3, 4), {"output": -1.0}, ValueError, "output: a variance"),
        (lambda: nn.Linear(3, 4), {"input_second_moment": 0.0}, ValueError, "input_second_moment:"),
        (lambda: nn.Linear(3, 4), {"weights": "haar"}, ValueError, "weights: must be one of"),
        (lambda: nn.Linear(3, 4), {"q": -1.0}, ValueError, "q: "),
    ],
)
def test_errors(make: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        init_(make(), "tanh", **options)


def test_points() -> None:
    point = mf.critical("tanh")
    with pytest.raises(ValueError, match="q: the point has its own"):
        init_(nn.Linear(3, 4), point, q=2.0)
    with pytest.raises(TypeError, match="activation: a Network may have several"):
        init_(nn.Linear(3, 4), point.network)
    with pytest.raises(ValueError, match="activation: the point holds several"):
        init_(nn.Linear(3, 4), mf.critical("tanh", q=[1.0, 2.0]))
    (limit,) = mf.critical_points("tanh")
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    init_(model, limit, input_second_moment=None)
    with pytest.raises(ValueError, match="input_second_moment: .*q = 0"):
        init_(model, limit)
