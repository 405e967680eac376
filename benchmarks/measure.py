"""Seconds, compilations and tables."""

import statistics
import time
from collections.abc import Callable, Sequence

import jax

_compiled: list[str] = []


def _listen(event: str, duration_secs: float, **about: str | int) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(str(about.get("fun_name", "?")))


jax.monitoring.register_event_duration_secs_listener(_listen)


def compiled(job: Callable[[], object]) -> list[str]:
    """Names of what XLA compiled during `job`."""
    before = len(_compiled)
    job()
    return _compiled[before:]


def once(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def median(job: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of a call, the first included."""
    return statistics.median(once(job) for _ in range(repeats))


def warm(job: Callable[[], object], budget: float = 0.5) -> float:
    """Median seconds of a call after the first: of at least three, for `budget` seconds."""
    first = min(once(job), once(job))
    return median(job, max(3, int(budget / first)))


def in_turns(jobs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each job; they take turns, so that a busy machine slows all alike."""
    rounds = [[once(job) for job in jobs] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def seconds(value: float) -> str:
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if value >= s), ("us", 1e-6))
    return f"{value / size:.3g} {unit:2}"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print an aligned table: the first column to the left, the others to the right."""
    full = [["", *header], *rows]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    print(f"\n{title}\n{'-' * len(title)}")
    for first, *others in full:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    print(note, end="\n" if note else "", flush=True)
