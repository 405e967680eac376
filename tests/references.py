"""High-precision reference values that tests compare with."""

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def load_reference(name: str) -> dict[str, Any]:
    """`tests/reference/<name>.json`, whose numbers are decimal strings: do not change the result.

    It has `meta`, `activations` and `records`.
    """
    path = Path(__file__).parent / "reference" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))
