"""Deep fully connected networks on handwritten digits, from their critical point to the end.

What the notebook and the study of clipping share: the activations that they compare, the data, and
the training of one network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import meanfield as mf

CHANCE = 0.2  # a test accuracy below this is called a failure: guessing one of ten digits gives 0.1
CHUNK = 100  # steps in one compiled scan
TUNING_SEED = 1000  # of the runs that choose the learning rates: in no table
UNCLIPPED = {"crelu": "shifted_relu", "cst": "soft_threshold"}


@dataclass(frozen=True)
class Cell:
    """What is compared: ReLU, or an activation with a sparsity, clipped for a slope `V'(q*)`."""

    activation: str
    sparsity: float = 0.5
    slope: float | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """`tau` and `m` of the activation, as chosen at q = 1 on the edge of chaos."""
        return _chosen(self)

    @property
    def phi(self) -> mf.Activation:
        """The activation itself."""
        return mf.Activation(self.activation, **self.parameters)

    @property
    def point(self) -> mf.FixedPoint:
        """Where its networks start: the critical point at q = 1."""
        return mf.critical(self.phi, q=1.0)

    def __str__(self) -> str:
        clipped = "" if self.slope is None else f", V' = {self.slope:g}"
        return f"{self.activation} {self.sparsity:g}{clipped}"


@cache
def _chosen(cell: Cell) -> dict[str, Any]:
    if cell.activation == "relu":
        return {}
    if cell.slope is None:
        return {"tau": mf.clip_threshold(cell.activation, sparsity=cell.sparsity, m=np.inf).tau}
    unclipped = UNCLIPPED[cell.activation]
    choice = mf.clip_threshold(unclipped, sparsity=cell.sparsity, slope=cell.slope)
    return {"tau": choice.tau, "m": choice.m}


@dataclass(frozen=True)
class Setting:
    """What all networks of a comparison share."""

    depth: int = 50
    width: int = 200
    batch: int = 64
    steps: int = 3000


class Optimizer(NamedTuple):
    """How a network is trained; the learning rates to try, and more of them for the unclipped."""

    make: Callable[[optax.Schedule], optax.GradientTransformation]
    rates: tuple[float, ...]
    more: tuple[float, ...] = ()

    def rates_of(self, cell: Cell) -> tuple[float, ...]:
        """From the first on until the network trains; no rate is why the unclipped fail."""
        return self.rates + self.more if cell.activation in UNCLIPPED.values() else self.rates


def _adam(rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


# The first takes gradients as they are, which is what the theory speaks of. The second hides how
# large they are, so that exploding ones are no obstacle: the strongest objection to the theory.
OPTIMIZERS = {
    "sgd": Optimizer(partial(optax.sgd, momentum=0.9), (5e-4, 2.5e-4), (1e-4, 5e-5, 1e-5)),
    "adam": Optimizer(_adam, (2e-4, 1e-4)),
}


class Data(NamedTuple):
    """Images as rows of mean square 1, and which digit each one is."""

    train: jax.Array
    train_labels: jax.Array
    test: jax.Array
    test_labels: jax.Array


@cache
def digits() -> Data:
    """The 1797 handwritten digits of scikit-learn, 8 x 8 pixels; a quarter of them for the test."""
    images, labels = load_digits(return_X_y=True)
    images = images - images.mean()
    images /= np.sqrt(np.mean(images**2, axis=1, keepdims=True))
    train, test, train_labels, test_labels = train_test_split(
        images.astype(np.float32), labels, test_size=0.25, random_state=0, stratify=labels
    )
    return Data(*map(jnp.asarray, (train, train_labels, test, test_labels)))


Weights = dict[str, jax.Array]


def initial(point: mf.FixedPoint, setting: Setting, key: jax.Array) -> Weights:
    """A random network at its critical point, the first layer scaled to what it sees."""
    first, hidden, biases, last = jax.random.split(key, 4)
    depth, width = setting.depth, setting.width
    images, draw = digits().train, mf.initializer(point)
    draw_first = mf.initializer(point, input_second_moment=float(jnp.mean(images**2)))
    return {
        "first": draw_first(first, (images.shape[1], width), jnp.float32),
        "hidden": jax.vmap(lambda key: draw(key, (width, width), jnp.float32))(
            jax.random.split(hidden, depth - 1)
        ),
        "biases": mf.bias_initializer(point)(biases, (depth, 1, width), jnp.float32),
        "last": draw(last, (width, 10), jnp.float32),
        "last_bias": jnp.zeros((1, 10), jnp.float32),
    }


class Output(NamedTuple):
    """Logits, and by layer the variance of the pre-activations and the fraction of zeros."""

    logits: jax.Array
    variances: jax.Array
    zeros: jax.Array


def forward(phi: Callable[[jax.Array], jax.Array], weights: Weights, images: jax.Array) -> Output:
    """Images through the network: `z` are pre-activations, `phi(z)` goes to the next layer."""

    def layer(z: jax.Array, following: tuple[jax.Array, jax.Array]):
        matrix, bias = following
        return phi(z) @ matrix + bias, seen(z)

    def seen(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.mean(z**2), jnp.mean(phi(z) == 0)

    biases = weights["biases"]
    z = images @ weights["first"] + biases[0]
    z, (variances, zeros) = jax.lax.scan(layer, z, (weights["hidden"], biases[1:]))
    variance, zero = seen(z)
    logits = phi(z) @ weights["last"] + weights["last_bias"]
    return Output(logits, jnp.append(variances, variance), jnp.append(zeros, zero))


State = tuple[Any, Any]  # weights, and what the optimizer remembers


@partial(jax.jit, static_argnames=("activation", "optimizer", "batch"))
def _trained(
    state: State,
    keys: jax.Array,
    rate: float,
    steps: int,
    parameters: dict[str, Any],
    activation: str,
    optimizer: str,
    batch: int,
) -> tuple[State, tuple[jax.Array, jax.Array]]:
    """A step of training for each key; the loss and the fraction of zeros of each batch."""
    phi, data = mf.Activation(activation, **parameters), digits()
    update = OPTIMIZERS[optimizer].make(lambda step: rate * _warm_and_cool(step / steps))

    def loss(weights: Weights, images: jax.Array, labels: jax.Array):
        output = forward(phi, weights, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(output.logits, labels)
        return jnp.mean(losses), jnp.mean(output.zeros)

    def step(state: State, key: jax.Array):
        weights, memory = state
        drawn = jax.random.randint(key, (batch,), 0, len(data.train))
        seen, gradient = jax.value_and_grad(loss, has_aux=True)(
            weights, data.train[drawn], data.train_labels[drawn]
        )
        change, memory = update.update(gradient, memory, weights)
        return (optax.apply_updates(weights, change), memory), seen

    return jax.lax.scan(step, state, keys)


def _warm_and_cool(progress: Any) -> jax.Array:
    """The learning rate in units of its largest: up in 5 % of the time, then down as a cosine."""
    return jnp.minimum(progress / 0.05, 0.5 + 0.5 * jnp.cos(jnp.pi * progress))


def output(cell: Cell, weights: Weights, images: jax.Array) -> Output:
    """What a network makes of images; compiled once for each kind of activation."""
    return _output(weights, images, cell.parameters, cell.activation)


@partial(jax.jit, static_argnames="activation")
def _output(
    weights: Weights, images: jax.Array, parameters: dict[str, Any], activation: str
) -> Output:
    return forward(mf.Activation(activation, **parameters), weights, images)


def train(cell: Cell, optimizer: str, rate: float, seed: int, setting: Setting) -> dict[str, float]:
    """Trains one network and measures it; stops early when its loss is no number any more."""
    data = digits()
    drawing, batches = jax.random.split(jax.random.key(seed))
    weights = initial(cell.point, setting, drawing)
    before = output(cell, weights, data.test)
    state = weights, OPTIMIZERS[optimizer].make(lambda step: 0.0).init(weights)
    losses, zeros = [], []
    for keys in jax.random.split(batches, setting.steps).reshape(-1, CHUNK):
        state, seen = _trained(
            state, keys, rate, setting.steps, cell.parameters, cell.activation, optimizer,
            setting.batch,
        )  # fmt: skip
        for kept, values in zip((losses, zeros), seen, strict=True):
            kept.extend(values.tolist())
        if not np.isfinite(losses[-1]):
            break
    after = output(cell, state[0], data.test)
    on_training = output(cell, state[0], data.train)
    accuracy = _accuracy(after.logits, data.test_labels)
    lost = not bool(jnp.all(jnp.isfinite(after.logits)))
    return {
        "loss": float(np.mean(losses[-CHUNK:])),
        "train_accuracy": _accuracy(on_training.logits, data.train_labels),
        "test_accuracy": accuracy,
        "failed": int(lost or accuracy < CHANCE),
        "sparsity_initial": float(jnp.mean(before.zeros)),
        "sparsity_training": np.nan if lost else float(np.mean(zeros)),
        "sparsity_test": np.nan if lost else float(jnp.mean(after.zeros)),
        "variance_initial": float(before.variances[-1]),
    }


def _accuracy(logits: jax.Array, labels: jax.Array) -> float:
    """The fraction that is right; logits that are no numbers all say the same digit: chance."""
    return float(jnp.mean(jnp.argmax(logits, axis=1) == labels))
