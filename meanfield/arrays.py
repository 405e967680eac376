"""Results that are an array first, and know more."""

from typing import Any, ClassVar

import numpy as np

__all__ = ["ArrayResult"]


class ArrayResult:
    """A result with the length and the entries of one of its fields, which `np.asarray` takes."""

    _main: ClassVar[str]  # the name of that field

    def __len__(self) -> int:
        return len(getattr(self, self._main))

    def __getitem__(self, index: Any) -> Any:
        return getattr(self, self._main)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(getattr(self, self._main), dtype=dtype, copy=copy)
