"""JSON as the standard has it, for numbers that may be infinite or none."""

import json
import math
from typing import Any

__all__ = ["strict_json"]


def strict_json(value: Any, indent: int | None = 2) -> str:
    """`value` as text; strict JSON has no infinity and no not-a-number, so these are strings."""
    return json.dumps(_strict(value), indent=indent, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if hasattr(value, "tolist"):  # of NumPy
        return _strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "-inf" or "nan"
    return value
