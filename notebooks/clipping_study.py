"""Does clipping make sparsity-inducing activations trainable? The full study, by one command.

Trains fully connected networks, 50 layers of 200 units, on scikit-learn's handwritten digits: ReLU,
the shifted ReLU and the soft threshold, and these two clipped at the level that gives the variance
map a wanted slope V'(q*) on the edge of chaos (Price et al. 2024, arXiv:2402.16184)::

    python notebooks/clipping_study.py

writes `figures/clipping_study.csv`, a row as soon as a run ends, then the picture next to it, and
prints the table. Stopped and started again, it goes on where it was. About an hour on two cores.

Fair to all: every network starts at its exact critical point, with data whose variance is that of
the fixed point, image by image. The learning rate is the one that is best of three for ReLU and for
both clipped activations at 85 % sparsity, in short runs with a seed that is not reported. A network
that fails with it is trained again with a lower one, and fails only if it fails with all: two, and
five for the unclipped. Nothing else is tuned.
"""

import csv
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from clipping_report import long_table, picture, short_table
from deep_networks import OPTIMIZERS, TUNING_SEED, UNCLIPPED, Cell, Setting, train
from tqdm import tqdm

FIGURES = Path(__file__).resolve().parent.parent / "figures"
SPARSITIES = (0.7, 0.8, 0.85, 0.9)
SLOPES = (0.5, 0.7, 0.9)
SEEDS = (0, 1)
GRID, LONG = Setting(steps=3000), Setting(steps=9000)
TYPICAL = [Cell("relu"), *(Cell(clipped, 0.85, 0.7) for clipped in UNCLIPPED)]


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


def cells(optimizer: str) -> list[Cell]:
    """What is trained with an optimizer: with Adam, the middle slope and two sparsities."""
    every = list(grid())
    if optimizer == "sgd":
        return every
    return [c for c in every if c.slope in (None, 0.7) and c.sparsity in (0.5, 0.7, 0.85)]


Ladder = list[Run]  # one network at falling learning rates: the next where the last one failed


def searches() -> list[Ladder]:
    """Short runs at three rates, for ReLU and both clipped: the first of `rates` is best here."""
    short = replace(GRID, steps=GRID.steps // 3)
    return [
        [Run(optimizer, cell, rate, TUNING_SEED, short)]
        for optimizer, how in OPTIMIZERS.items()
        for cell in TYPICAL
        for rate in (2 * how.rates[0], *how.rates)
    ]


def plan() -> Iterator[Ladder]:
    """All networks, what matters most first: a study cut short has fewer repeats, not cells."""

    def ladders(optimizer: str, cells: list[Cell], seed: int, setting: Setting) -> Iterator[Ladder]:
        for cell in cells:
            rates = OPTIMIZERS[optimizer].rates_of(cell)
            yield [Run(optimizer, cell, rate, seed, setting) for rate in rates]

    yield from searches()
    for seed in SEEDS:
        yield from ladders("sgd", cells("sgd"), seed, GRID)
        yield from ladders("sgd", TYPICAL[1:], seed, LONG)
        yield from ladders("adam", cells("adam"), seed, GRID)


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
    ladders = list(plan())
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:

        def submitted(ladders: list[Ladder]) -> dict[Future, Ladder]:
            runs = ((following(table, ladder), ladder) for ladder in ladders)
            return {pool.submit(Run.row, run): ladder for run, ladder in runs if run is not None}

        waiting = submitted(ladders)
        done_before = len(ladders) - len(waiting)
        try:
            with tqdm(total=len(ladders), initial=done_before, unit="network") as bar:
                while waiting:
                    for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                        table.append(done.result())
                        waiting |= submitted([waiting.pop(done)])
                    bar.update(len(ladders) - len(waiting) - bar.n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def following(table: Table, ladder: Ladder) -> Run | None:
    """The next run of a network: the first, or after one that failed; None when it is done."""
    for run in ladder:
        row = table.find(run)
        if row is None:
            return run
        if not row["failed"]:
            return None
    return None


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
