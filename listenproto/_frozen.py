"""Read-only JSON objects, for values that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["FrozenMapping", "plain"]


class FrozenMapping(Mapping[str, Any]):
    """A read-only JSON object that is a value: compare, hash, copy and pickle it."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        # What is nested counts only by its name, so that no depth is too much.
        return hash(
            frozenset(
                (name, None if isinstance(value, Mapping | list | tuple) else value)
                for name, value in self._items.items()
            )
        )

    def __repr__(self) -> str:
        return repr(self._items)


def plain(value: Any) -> Any:
    """The same JSON in new objects and arrays, which ``json.dumps`` can write."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
