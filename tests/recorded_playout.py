"""A playout that keeps for a test how each sound and mark ended."""

from __future__ import annotations

from listenproto._heard import Heard, PlayoutEnd
from listenproto._playout import Playout

__all__ = ["RecordedPlayout"]


class RecordedPlayout(Playout):
    """A playout that remembers what became of each clip and mark."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.overs: list[PlayoutEnd] = []

    def play(self, flicks: int) -> list[Heard | PlayoutEnd]:
        items = super().play(flicks)
        self.overs += [item for item in items if isinstance(item, PlayoutEnd)]
        return items

    def add_clip(self, *args: object, **options: object) -> list[PlayoutEnd]:
        return self._keep(super().add_clip(*args, **options))  # type: ignore[arg-type]

    def add_mark(self, name: str) -> list[PlayoutEnd]:
        return self._keep(super().add_mark(name))

    def clear_marks(self) -> list[PlayoutEnd]:
        return self._keep(super().clear_marks())

    def kill(self) -> list[PlayoutEnd]:
        return self._keep(super().kill())

    def flush(self) -> list[PlayoutEnd]:
        return self._keep(super().flush())

    def _keep(self, overs: list[PlayoutEnd]) -> list[PlayoutEnd]:
        self.overs += overs
        return overs
