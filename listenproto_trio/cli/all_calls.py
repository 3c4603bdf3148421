"""How ``listenproto call`` places its calls at the same time, and what it says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import trio

from listenproto._messages import JSON
from listenproto_trio._stage import Spread, Stage
from listenproto_trio.cli.placed import COLUMNS, Placed
from listenproto_trio.cli.placing import CallPlan, place
from listenproto_trio.cli.screen import Screen, complain
from listenproto_trio.cli.signals import watch_signals

__all__ = ["place_all", "show_all"]

SHOWING: Final = 0.5
"""Seconds after which a terminal is told anew."""
TELLING: Final = 10.0
"""Seconds after which others are."""
MOST_ROWS: Final = 20
"""The most calls that are shown one by one."""


@attrs.frozen
class AllCalls:
    """All calls of a run, and the stage that they talk on, if they share one."""

    placed: list[Placed]
    stage: Stage | None

    @property
    def title(self) -> str:
        """What they are called."""
        return f"{len(self.placed)} calls" if len(self.placed) > 1 else "call"

    @property
    def seconds(self) -> float:
        """How long the first of them have been talking."""
        return max(one.said for one in self.placed)

    @property
    def _dropped(self) -> float:
        """Seconds of audio that could not be sent, as the app did not read."""
        return sum(
            one.statistics.samples_dropped / one.task.verb.sample_rate for one in self.placed
        )

    def load_in_words(self) -> str:
        """How well they keep up, and the app; empty if they share no stage."""
        if self.stage is None or not self.stage.late:
            return ""
        said = sum(one.said for one in self.placed)
        parts = [f"sends late {_in_words(self.stage.late)}"]
        if self.stage.round_trips:
            parts.append(f"round trip {_in_words(self.stage.round_trips)}")
        parts.append(f"{self._dropped / (said or 1):.1%} dropped")
        return "; ".join(parts)

    def load(self) -> dict[str, JSON]:
        """The same figures for programs, in seconds."""
        assert self.stage is not None
        figures: dict[str, JSON] = {}
        for name, spread in (("late", self.stage.late), ("round_trip", self.stage.round_trips)):
            figures[f"{name}_p50"] = round(spread.below(0.5), 4)
            figures[f"{name}_p99"] = round(spread.below(0.99), 4)
            figures[f"{name}_worst"] = round(spread.worst, 4)
        said = sum(one.said for one in self.placed)
        return figures | {
            "seconds_said": round(said, 3),
            "seconds_dropped": round(self._dropped, 3),
        }


def _in_words(spread: Spread) -> str:
    figures = (spread.below(0.5), spread.below(0.99), spread.worst)
    half, most, worst = (f"{figure * 1000:.1f}" for figure in figures)
    return f"{half} ms (p50), {most} ms (p99), {worst} ms (worst)"


async def place_all(
    plan: CallPlan, files: list[tuple[Path | None, Path | None]], screen: Screen
) -> AllCalls:
    """Place the calls at the same time; returns their outcomes, in order."""
    placed = [
        Placed(
            number=number,
            prefix=f"#{number} " if len(files) > 1 else "",
            task=plan.task(keep_passed=screen.verbose or trace is not None),
        )
        for number, (_, trace) in enumerate(files, 1)
    ]
    stage = Stage() if len(files) > 1 and plan.speed == 1 else None
    calls = AllCalls(placed, stage)
    progress, bar = screen.progress(calls.title, plan.seconds)

    def hang_up() -> None:
        screen.say("hanging up; press Ctrl-C again to end at once")
        for one in placed:
            one.give_up()

    def at_once() -> None:
        raise KeyboardInterrupt

    async def show() -> None:
        """Keep a terminal up to date."""
        while True:
            await trio.sleep(SHOWING)
            load = calls.load_in_words()
            said = f"{calls.title}: {load}" if load else calls.title
            progress.update(bar, completed=calls.seconds, description=said)

    async def tell() -> None:
        """Tell what is no terminal from time to time."""
        while True:
            await trio.sleep(TELLING)
            if load := calls.load_in_words():
                screen.say(f"{calls.seconds:.0f} s: {load}")

    def hooking() -> None:
        if all(one.result is not None for one in placed):
            said = f"{calls.title}: waiting for the actionHook"
            progress.update(bar, description=said, refresh=True)

    with progress:
        async with trio.open_nursery() as beside:
            await beside.start(watch_signals, hang_up, at_once)
            if not progress.disable:
                beside.start_soon(show)
            elif stage is not None:
                beside.start_soon(tell)
            if stage is not None:
                beside.start_soon(stage.run)
            async with trio.open_nursery() as nursery:
                for one, (heard, trace) in zip(placed, files, strict=True):
                    nursery.start_soon(place, plan, one, heard, trace, screen, stage, hooking)
            beside.cancel_scope.cancel()
    return calls


def show_all(screen: Screen, calls: AllCalls) -> None:
    """Print what became of the calls."""
    placed = calls.placed
    figures: dict[str, JSON] = {"calls": [one.figures() for one in placed]}
    if calls.stage is not None:
        figures["load"] = calls.load()
    screen.figures(figures)
    if any(one.call is not None for one in placed):
        shown = placed
        if len(placed) > MOST_ROWS:
            latest = sorted(placed, key=lambda one: one.statistics.worst_lateness)[-MOST_ROWS:]
            shown = sorted(latest, key=lambda one: one.number)
            screen.say(f"of {calls.title}, the {MOST_ROWS} with the latest sends:")
        screen.table(COLUMNS, [one.row() for one in shown])
    if load := calls.load_in_words():
        screen.say(f"{calls.title}: {load}")
    _show_gaps(screen, placed)
    for one in placed:
        for file in one.files:
            screen.say(f"{one.prefix}wrote {file}")
        if one.hooked is not None and not one.hooked.failure:
            screen.say(f"{one.prefix}{one.hooked}")
    failed: dict[str, list[Placed]] = {}
    for one in placed:
        for failure in dict.fromkeys(one.failures):
            failed.setdefault(failure, []).append(one)
    for failure, them in failed.items():
        whose = f"{len(them)} calls: " if len(them) > 1 else them[0].prefix
        complain(f"{whose}{failure}")


def _show_gaps(screen: Screen, placed: list[Placed]) -> None:
    """Say what the callers did not hear, of each call or of all together."""
    together = len(placed) > MOST_ROWS
    for some in [placed] if together else [[one] for one in placed]:
        if gaps := sum(one.task.gaps.count for one in some):
            who = "the callers" if together else f"{some[0].prefix}the caller"
            missing = f"{gaps} gap{'s' * (gaps > 1)} in the app's audio"
            seconds = f"{sum(one.task.gaps.seconds for one in some):.2f} s in all"
            screen.say(f"{who} heard {missing}, {seconds} (see --help)")
