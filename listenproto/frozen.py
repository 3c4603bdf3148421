"""Values that hold JSON objects, read-only ones."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import attrs

__all__ = ["Frozen"]


class Frozen:
    """For a class of attrs: to be copied and pickled although a MappingProxyType cannot be."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        values = {
            field.name: dict(value) if isinstance(value, MappingProxyType) else value
            for field in attrs.fields(type(self))  # type: ignore[arg-type]
            for value in [getattr(self, field.name)]
        }
        return _made, (type(self), values)


def _made(kind: type[Frozen], values: dict[str, Any]) -> Frozen:
    return kind(**values)
