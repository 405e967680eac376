"""Does clipping make sparsity-inducing activations trainable? The full study, by one command.

Trains fully connected networks, 50 layers of 200 units, on scikit-learn's handwritten digits: ReLU,
the shifted ReLU and the soft threshold, and these two clipped at the level that gives the variance
map a wanted slope V'(q*) on the edge of chaos (Price et al. 2024, arXiv:2402.16184)::

    python notebooks/clipping_study.py

writes `figures/clipping_study.csv`, a row as soon as a run ends, then the picture next to it, and
prints the table. Stopped and started again, it goes on where it was. About an hour on two cores.

Fair to all: every network starts at its exact critical point, with data whose variance is that of
the fixed point, image by image. An activation takes the learning rate, of three, with the smallest
loss after a third of the steps, with a seed that is not reported: ReLU and the clipped ones once,
at a sparsity of 0.85; the unclipped at each sparsity, and of seven rates. Nothing else is tuned.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from clipping_report import long_table, picture, short_table
from deep_networks import OPTIMIZERS, TUNING_SEED, UNCLIPPED, Cell, Setting, train
from tqdm import tqdm

FIGURES = Path(__file__).resolve().parent.parent / "figures"
SPARSITIES = (0.7, 0.8, 0.85, 0.9)
SLOPES = (0.5, 0.7, 0.9)
SEEDS = (0, 1, 2)
GRID, LONG = Setting(steps=3000), Setting(steps=9000)


@dataclass(frozen=True)
class Run:
    """One network to train: all that decides what comes out."""

    optimizer: str
    cell: Cell
    rate: float
    seed: int
    setting: Setting

    @property
    def key(self) -> dict[str, Any]:
        """The first columns of its row."""
        return {
            "optimizer": self.optimizer,
            **asdict(self.cell),
            **asdict(self.setting),
            "rate": self.rate,
            "seed": self.seed,
        }

    def row(self) -> dict[str, Any]:
        """Trains it: what it was, then what was measured."""
        network = self.cell.point.network
        drawn = {"weight_var": float(network.weight_var), "bias_var": float(network.bias_var)}
        measured = train(self.cell, self.optimizer, self.rate, self.seed, self.setting)
        return self.key | {"tau": None, "m": None} | self.cell.parameters | drawn | measured


def grid() -> Iterator[Cell]:
    """Every activation at every sparsity, unclipped and clipped at every slope."""
    yield Cell("relu")
    for clipped, unclipped in UNCLIPPED.items():
        for sparsity in SPARSITIES:
            yield Cell(unclipped, sparsity)
            yield from (Cell(clipped, sparsity, slope) for slope in SLOPES)


def typical(cell: Cell) -> Cell:
    """Where the learning rate of a cell is chosen: the unclipped choose theirs at each sparsity."""
    return Cell(cell.activation, 0.85, 0.7) if cell.activation in UNCLIPPED else cell


def cells(optimizer: str) -> list[Cell]:
    """What is trained with an optimizer: with Adam, the middle slope and two sparsities."""
    every = list(grid())
    if optimizer == "sgd":
        return every
    return [c for c in every if c.slope in (None, 0.7) and c.sparsity in (0.5, 0.7, 0.85)]


def searches() -> Iterator[Run]:
    """The short runs that choose the learning rates."""
    short = replace(GRID, steps=GRID.steps // 3)
    for optimizer, how in OPTIMIZERS.items():
        for cell in dict.fromkeys(typical(cell) for cell in cells(optimizer)):
            for rate in how.rates_of(cell):
                yield Run(optimizer, cell, rate, TUNING_SEED, short)


def repeats(rates: Mapping[tuple[str, Cell], float]) -> Iterator[Run]:
    """All else, what matters most first: a study cut short has fewer repeats, not fewer cells."""

    def runs(optimizer: str, cells: list[Cell], seed: int, setting: Setting) -> Iterator[Run]:
        for cell in cells:
            yield Run(optimizer, cell, rates[optimizer, typical(cell)], seed, setting)

    longer = [Cell(clipped, 0.85, 0.7) for clipped in UNCLIPPED]
    first, second, *others = SEEDS
    yield from runs("sgd", cells("sgd"), first, GRID)
    yield from runs("sgd", cells("sgd"), second, GRID)
    for seed in SEEDS:
        yield from runs("sgd", longer, seed, LONG)
        yield from runs("adam", cells("adam"), seed, GRID)
        if seed in others:
            yield from runs("sgd", cells("sgd"), seed, GRID)


class Table:
    """The rows on disk: written as soon as a run has ended, and never run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [
                    {name: _parsed(text) for name, text in row.items()}
                    for row in csv.DictReader(file)
                ]

    def find(self, run: Run) -> dict[str, Any] | None:
        """The row of this run, if it has been done."""
        key = run.key.items()
        return next((row for row in self.rows if key <= row.items()), None)

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row, on disk too."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({name: _printed(value) for name, value in row.items()})
        self.rows.append(row)


def _printed(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _parsed(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _one_thread() -> None:
    """Two runs on a thread each take two thirds of the time of one after the other on both."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def study(table: Table, workers: int) -> None:
    """Runs what the table lacks, several runs at once, each on one thread."""
    searched = list(searches())
    total = len(searched) + len(list(repeats(defaultdict(float))))
    with (
        ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool,
        tqdm(total=total, unit="run") as bar,
    ):

        def run_all(runs: list[Run]) -> None:
            missing = [run for run in runs if table.find(run) is None]
            bar.update(len(runs) - len(missing))
            waiting = {pool.submit(Run.row, run): run for run in missing}
            try:
                for done in as_completed(waiting):
                    table.append(done.result())
                    bar.set_postfix_str(f"{waiting[done].optimizer}, {waiting[done].cell}")
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

        run_all(searched)
        run_all(list(repeats(chosen_rates(table))))


def chosen_rates(table: Table) -> dict[tuple[str, Cell], float]:
    """The learning rate with the smallest loss, the smallest rate where no loss is a number."""
    best: dict[tuple[str, Cell], tuple[float, float]] = {}
    for run in searches():
        row = table.find(run)
        assert row is not None, "the searches come first"
        loss = row["loss"] if isfinite(row["loss"]) else inf
        key = run.optimizer, run.cell
        best[key] = min(best.get(key, (inf, inf)), (loss, run.rate))
    return {key: rate for key, (_, rate) in best.items()}


def main() -> None:
    """The study, its picture and its tables."""
    table = Table(FIGURES / "clipping_study.csv")
    study(table, workers=os.cpu_count() or 1)
    picture(table.rows, GRID.steps, LONG.steps).savefig(FIGURES / "clipping_study.png", dpi=110)
    for optimizer, setting in (("sgd", GRID), ("sgd", LONG), ("adam", GRID)):
        print(short_table(table.rows, optimizer, setting.steps), end="\n\n")
    print(long_table(table.rows))


if __name__ == "__main__":
    main()
