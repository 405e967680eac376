"""torch: audits measure what hooks see, and name what is wrong with a model."""

import math
from typing import Any

import numpy as np
import pytest

import meanfield as mf
from bridges import entries, mean_squares, poisoned

torch = pytest.importorskip("torch", reason="pip install '.[torch]'")
torch.set_num_threads(1)  # the matrices are small
nn: Any = torch.nn
init_: Any = mf.bridges.torch.init_
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def critical_net(depth: int = 6, width: int = 128, name: str = "tanh") -> Any:
    parts = [p for _ in range(depth) for p in (nn.Linear(width, width), nn.Tanh())]
    model = nn.Sequential(*parts)
    init_(model, name)
    return model


def test_audit_measures_what_hooks_see() -> None:
    model, x = critical_net(), torch.randn(12, 128)
    result = mf.bridges.torch.audit(model, x)
    np.testing.assert_allclose(result.variance, mean_squares(model, x, nn.Linear), rtol=1e-5)
    assert result.layers == ("0", "2", "4", "6", "8", "10")
    assert result.activations == (None, *["tanh"] * 5)
    weight = entries(model[4].weight)
    assert result.weight_var[2] == pytest.approx(128 * np.mean(weight**2))
    assert result.bias_var[2] == pytest.approx(np.mean(entries(model[4].bias) ** 2))


def test_audit_takes_the_gradient_of_the_loss() -> None:
    model, x = critical_net(3), torch.randn(12, 128)
    loss = lambda out: (out**3).sum()
    result = mf.bridges.torch.audit(model, x, loss=loss)
    z = [model[0](x)]
    for k in (1, 3):
        z.append(model[k : k + 2](z[-1]))
    gradients = torch.autograd.grad(loss(torch.tanh(z[-1])), z)
    squares = np.array([float((g**2).sum()) for g in gradients])
    np.testing.assert_allclose(result.gradient, squares / squares[-1], rtol=1e-4)


def test_audit_changes_nothing() -> None:
    model = nn.Sequential(
        nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(inplace=True), nn.Dropout(0.2),
        nn.Linear(64, 3),
    )  # fmt: skip
    x = torch.randn(16, 20, requires_grad=True)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.random.get_rng_state()
    first, second = (mf.bridges.torch.audit(model, x).to_dict() for _ in range(2))
    np.testing.assert_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in model.parameters()) and x.grad is None
    assert not any(m._forward_hooks for m in model.modules())
    assert first["notes"][0] == "the model was in training mode"
    assert "4 stands more than one" in first["notes"][1]
    frozen = model.eval().requires_grad_(False)
    audit = mf.bridges.torch.audit(frozen, x.detach())
    assert np.all(audit.gradient > 0)
    # in evaluation mode a fresh batch norm does nothing
    assert audit.activations == (None, "relu") and audit.notes == ()


def test_audit_of_convolutions() -> None:
    """The prediction knows which share of the field zero padding takes."""
    model = nn.Sequential(
        nn.Conv1d(16, 128, 5, padding=2), nn.ReLU(inplace=True),
        nn.Conv1d(128, 128, 3, stride=2, groups=2, padding=1), nn.ReLU(),
        nn.ConvTranspose1d(128, 64, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 20, 300),
    )  # fmt: skip
    init_(model, "relu")
    result = mf.bridges.torch.audit(model, torch.randn(12, 16, 20))
    assert result.activations == (None, "relu", "relu", "relu")
    # of 20 positions 2 at each end see 3 and 4 of 5
    share = (16 * 5 + 2 * (3 + 4)) / 100
    assert result.predicted_variance[0] == pytest.approx(share * result.weight_var[0], rel=0.02)
    error = 5 * math.sqrt(5 / 64) / math.sqrt(4)
    assert np.all(np.abs(result.variance / result.step_variance - 1) <= error)
    assert [f for f in result.findings if f.kind == "theory"] == []


def test_audit_of_a_layer_used_twice_and_of_keywords() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(32, 32)

        def forward(self, x: Any, again: Any) -> dict[str, Any]:
            return {"out": self.one(torch.tanh(self.one(x))) * again}

    x = {"x": torch.randn(12, 32), "again": torch.tensor(2.0)}
    result = mf.bridges.torch.audit(Model(), x)
    assert result.layers == ("one", "one (2)") and result.activations == (None, "tanh")
    assert mf.bridges.torch.audit(Model(), tuple(x.values())).layers == ("one", "one (2)")


def test_audit_finds_what_init_mends() -> None:
    model = nn.Sequential(*[p for _ in range(12) for p in (nn.Linear(128, 128), nn.GELU())])
    x = torch.randn(12, 128)
    result = mf.bridges.torch.audit(model, x)
    assert {finding.kind for finding in result.findings} == {"correlation", "gradient"}
    assert "meanfield.bridges.torch.init_(model, 'gelu')" in result.verdict
    init_(model, "gelu")
    assert mf.bridges.torch.audit(model, x).findings == ()
    half = mf.bridges.torch.audit(model.to(torch.bfloat16), x.to(torch.bfloat16))
    assert half.activations[1:] == ("gelu",) * 11


@pytest.mark.parametrize(
    ("make", "batch", "error", "message"),
    [
        (lambda: "model", [[0.0]], TypeError, "model: must be a torch.nn.Module"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), [[0.0]], ValueError, "model: 0.weight is lazy"),
        (poisoned, [[0.0] * 3], ValueError, "model: 1.weight is not finite"),
        (lambda: nn.Linear(1, 2), [[math.nan]], ValueError, "batch: it has values that are not"),
        (lambda: nn.Tanh(), [[0.0]], ValueError, "model: the batch went through no dense layer"),
    ],
)
def test_audit_errors(make: Any, batch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mf.bridges.torch.audit(make(), torch.tensor(batch))
