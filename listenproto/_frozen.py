"""Values that hold read-only JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

__all__ = ["Frozen", "plain"]


class Frozen:
    """Lets an attrs class be copied and pickled, although a MappingProxyType cannot be."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        values = {
            field.name: dict(value) if isinstance(value, MappingProxyType) else value
            for field in attrs.fields(type(self))  # type: ignore[arg-type]
            for value in [getattr(self, field.name)]
        }
        return _made, (type(self), values)


def plain(value: Any) -> Any:
    """The same JSON in new objects and arrays, which ``json.dumps`` can write."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _made(kind: type[Frozen], values: dict[str, Any]) -> Frozen:
    return kind(**values)
