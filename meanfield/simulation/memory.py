"""What an ensemble needs in memory, and how many draws make a block."""

from meanfield.errors import MeanFieldError
from meanfield.simulation.draw import Plan

__all__ = ["block_of", "check_memory"]

_CACHE = {"cpu": 1 << 25}  # bytes of a block that a core works on at its best
_ACCELERATOR = 1 << 31
_LEAST_BLOCKS = 16  # that many devices find work, and that a progress bar moves
_MOST = 1 << 13
_COPIES = 8  # of the vectors of a layer that are alive at once
_NUMBERS = 8  # kept for each layer of each draw
_PASSES = 4  # copies of what is kept, while estimates are made


def _bytes_per_draw(plan: Plan) -> int:
    widest = max(plan.widths)
    vectors = _COPIES * 3 * widest
    matrices = (3 * plan.draws_matrices + 3 * plan.jacobian + 3 * plan.tangent_kernel) * widest**2
    return 8 * (vectors + matrices + _NUMBERS * len(plan.widths))


def block_of(plan: Plan, draws: int, platform: str) -> int:
    """How many draws make a block: a power of two, the same for any number of devices."""
    fitting = max(1, _CACHE.get(platform, _ACCELERATOR) // _bytes_per_draw(plan))
    wanted = -(-draws // _LEAST_BLOCKS)
    return min(_MOST, 1 << fitting.bit_length() - 1, 1 << (wanted - 1).bit_length())


def check_memory(plan: Plan, draws: int, block: int, devices: int, limit: float | None) -> None:
    """Raise, before anything is allocated, if the ensemble does not fit."""
    kept = 8 * draws * (_NUMBERS * len(plan.widths) + plan.jacobian * min(plan.widths))
    needed = _PASSES * kept + devices * block * _bytes_per_draw(plan)
    limit = _available() if limit is None else limit
    if limit is not None and needed > limit:
        raise MeanFieldError(
            f"draws, width, depth: {draws} draws of {len(plan.widths) - 1} layers, widest "
            f"{max(plan.widths)}, need about {_size(needed)} of memory ({_size(kept)} of results, "
            f"{_size(_bytes_per_draw(plan))} for each of {devices * block} networks at a time), "
            f"and {_size(limit)} can be had; ask for fewer, or give max_memory= in bytes"
        )


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _available() -> float | None:
    """Bytes of memory that can be had without swapping; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return None
