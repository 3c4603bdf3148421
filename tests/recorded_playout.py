"""A playout that keeps for a test how each sound and mark ended."""

from __future__ import annotations

from listenproto._playout import Heard, Over, Playout

__all__ = ["RecordedPlayout"]


class RecordedPlayout(Playout):
    """A playout that remembers what became of each clip and mark."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.overs: list[Over] = []

    def play(self, flicks: int) -> list[Heard | Over]:
        items = super().play(flicks)
        self.overs += [item for item in items if isinstance(item, Over)]
        return items

    def add_clip(self, *args: object, **options: object) -> list[Over]:
        return self._over(super().add_clip(*args, **options))  # type: ignore[arg-type]

    def add_mark(self, name: str) -> list[Over]:
        return self._over(super().add_mark(name))

    def clear_marks(self) -> list[Over]:
        return self._over(super().clear_marks())

    def kill(self) -> list[Over]:
        return self._over(super().kill())

    def flush(self) -> list[Over]:
        return self._over(super().flush())

    def _over(self, overs: list[Over]) -> list[Over]:
        self.overs += overs
        return overs
