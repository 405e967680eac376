"""What is wrong with a model, from the signals that an audit has measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.bridges.passage import Feeds, Passage
from meanfield.catalogue import CATALOGUE
from meanfield.criticality import critical
from meanfield.errors import MeanFieldError

__all__ = ["Finding", "Findings"]

Array = NDArray[np.float64]

_LOST = 1e-4  # a variance or gradient smaller by so much has died, and larger exploded
_ONE = 0.99  # a correlation above: two inputs have become one
_DEAD = 0.99  # a share of zeros above: the layer is silent
_PARTED = 0.1  # relative, and
_ERRORS = 5.0  # in standard errors: theory and model have parted
_CLOSE = 0.05  # a weight variance that is critical, but for how it was drawn
_CRITICAL = "critical already: take fewer layers, or skip connections"
_COHERENT = 0.05  # share of a weight's second moment that is its mean


@dataclass(frozen=True)
class Finding:
    """Something wrong at a layer, and what to do."""

    kind: str
    layer: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.what}; {self.fix}"


def spelled(phi: Activation) -> str:
    """How to hand it over: by its name in the catalogue, else as the function that it is."""
    if phi.name in CATALOGUE:
        return repr(phi.name)
    return phi.name if phi.name.isidentifier() else "phi"


class Findings:
    """What is wrong, layer by layer."""

    def __init__(
        self, passages: Sequence[Passage], feeds: Feeds, columns: dict[str, Array], fix: str
    ) -> None:
        self.passages, self.feeds, self.columns, self.fix = passages, feeds, columns, fix
        used = [feed[1] for feed in feeds if feed is not None]
        self.phi = max(used, key=lambda phi: sum(phi is one for one in used)) if used else None

    def all(self) -> list[Finding]:
        """In the order of depth."""
        found = [self._size(), self._parts(), self._inputs(), self._zeros(), self._gradient()]
        order = [p.name for p in self.passages]
        found = sorted((f for f in found if f), key=lambda f: order.index(f.layer))
        return [
            replace(f, fix=f"it comes of {found[0].layer}: mend that first")
            if f.layer != found[0].layer and f.fix.endswith(_CRITICAL)
            else f
            for f in found
        ]

    def _finding(self, kind: str, k: int, what: str, fix: str | None = None) -> Finding:
        return Finding(kind, self.passages[k].name, what, fix or self._cure(k))

    def _cure(self, k: int) -> str:
        """What the variances here are, and what they should be."""
        here = f"its weight_var is {self.columns['weight_var'][k]:.3g}"
        if self.phi is None:
            return f"{here}: name the activation, and {self.fix.format('phi')}"
        try:
            point = critical(self.phi)
        except MeanFieldError:
            return f"{here}: meanfield.critical_line({spelled(self.phi)}, q) has what it should be"
        if abs(self.columns["weight_var"][k] / point.weight_var - 1) < _CLOSE:
            return f"{here}, {_CRITICAL}"
        return (
            f"{here}, and {self.phi.name} at q = 1 is critical at {point.weight_var:.3g} with "
            f"bias_var {point.bias_var:.3g}: {self.fix.format(spelled(self.phi))}"
        )

    def _crossing(self, values: Array, backwards: bool = False) -> tuple[int, str] | None:
        """At which layer a size leaves `[1e-4, 1e4]` of what it began with, and how."""
        order = range(len(values))[::-1] if backwards else range(len(values))
        start = values[order[0]]
        for at in order:
            with np.errstate(all="ignore"):
                ratio = values[at] / start
            if not ratio < 1 / _LOST:  # nan too
                change = "explodes"
            elif ratio < _LOST:
                change = "dies"
            else:
                continue
            way = [k for k in order if (k >= at if backwards else k <= at)]
            with np.errstate(all="ignore"):
                moves = np.abs(np.diff(np.log(values[way])))
            worst = int(np.argmax(np.nan_to_num(moves, nan=inf)))
            # the layer between two gradients is the later one
            steep = way[worst] if backwards else way[worst + 1]
            if not moves[worst] < 0.5 * abs(log(_LOST)):
                sides = values[way[worst]], values[way[worst + 1]]
                return steep, f"{change} at once, from {sides[0]:.3g} to {sides[1]:.3g}"
            return at, f"{change} little by little, from {start:.3g} to {values[at]:.3g}"
        return None

    def _size(self) -> Finding | None:
        values = self.columns["variance"]
        if not values[0] > 0 or not isfinite(values[0]):
            return self._finding("variance", 0, f"the variance of its outputs is {values[0]:.3g}")
        if crossing := self._crossing(values):
            k, how = crossing
            return self._finding("variance", k, f"the variance of the signal {how}")
        return None

    def _parts(self) -> Finding | None:
        for k, p in enumerate(self.passages):
            measured, step = self.columns["variance"][k], self.columns["step_variance"][k]
            if self.feeds[k] is None or not 0 < measured < inf or not isfinite(step):
                continue
            error = p.after.error + p.weight_var * p.before.error
            if abs(measured - step) > max(_ERRORS * error, _PARTED * step):
                if p.weight_mean > _COHERENT * p.weight_var:
                    why = "its weights have a mean, which adds up over its inputs"
                    fix = "subtract it"
                else:
                    why = "its weights are not independent of what they see, as after training"
                    fix = "theory holds for fresh weights only"
                what = f"theory and model part: variance {measured:.3g} where one layer of theory "
                return self._finding("theory", k, f"{what}makes {step:.3g}, since {why}", fix)
        return None

    def _inputs(self) -> Finding | None:
        values = self.columns["correlation"]
        for k, c in enumerate(values):
            if k and c > _ONE and values[0] < _ONE:
                what = f"inputs become one: their correlation is {c:.4g}, after {values[0]:.3g}"
                return self._finding("correlation", k, what)
        return None

    def _zeros(self) -> Finding | None:
        for k, share in enumerate(self.columns["sparsity"]):
            if k and share > _DEAD:
                return self._finding("sparsity", k, f"{share:.4g} of its inputs are 0")
        return None

    def _gradient(self) -> Finding | None:
        values = self.columns["gradient"]
        if not isfinite(values[-1]):
            return self._finding("gradient", len(values) - 1, "no gradient comes back to it")
        if len(values) > 1 and (crossing := self._crossing(values, backwards=True)):
            k, how = crossing
            return self._finding("gradient", k, f"the squared gradient, on its way back, {how}")
        return None
