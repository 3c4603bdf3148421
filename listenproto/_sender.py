"""Sends the app's messages: tells who watches, and notes for the log what was changed on the way.

It also notes what goes wrong with a message though nobody breaks the protocol.
"""

from __future__ import annotations

from collections.abc import Callable

from listenproto._app_session import AppSession
from listenproto._link import CallNote
from listenproto._messages import Audio, Message, Peer, PlayAudio
from listenproto._sent import Sent
from listenproto._watcher import Watcher

__all__ = ["Sender"]


class Sender:
    """Sends what it is given at once; what is to be logged goes into ``notes``."""

    def __init__(self, session: AppSession, notes: list[CallNote]) -> None:
        self.watchers: list[Watcher] = []
        """What is told of each message as it passes."""
        self._session = session
        self._notes = notes
        self._told_of: set[str] = set()

    def send(self, message: Message, now: float) -> tuple[Message, Sent | None]:
        """Send a message; returns it as it was sent, and its entry in the record."""
        sent = self._session.send(message, now)
        if sent is not None:
            assert sent.message is not None  # it is under way
            self._note_what_changed(message, sent.message)
            message = sent.message
        caution = self._session.observer.caution(Peer.APP, message)
        if caution is not None:
            self._note_once(caution, CallNote("warning", caution))
        if self.watchers:
            self.tell(lambda watcher: watcher.sent(message, now))
        return message, sent

    def fill(self, audio: Audio, now: float) -> None:
        """Send audio that this end adds to what is said."""
        self._session.fill(audio, now)
        if self.watchers:
            self.tell(lambda watcher: watcher.sent(audio, now))

    def tell(self, tell: Callable[[Watcher], None]) -> None:
        """Tell all who watch; one that fails is noted and told no more."""
        for watcher in [*self.watchers]:
            try:
                tell(watcher)
            except Exception as exc:
                # By identity, as equal ones are others; it may have removed itself already.
                self.watchers[:] = [one for one in self.watchers if one is not watcher]
                failed = "a watcher failed and is not called again"
                self._notes.append(CallNote("error", failed, exc))

    def _note_what_changed(self, given: Message, sent: Message) -> None:
        """Note that a WAV's header was corrected, or a raw clip made a WAV."""
        if not (isinstance(given, PlayAudio) and isinstance(sent, PlayAudio)):
            return
        if sent.content is given.content:
            return
        if given.content_type == "wav":
            said = f"a WAV clip was sent with its header corrected: {given.head.flaw}"
            self._note_once("wav", CallNote("warning", said))
        else:
            said = f"raw clips of {given.sample_rate} Hz are sent as WAV: platforms misread them"
            self._note_once("raw", CallNote("info", said))

    def _note_once(self, what: str, note: CallNote) -> None:
        """Note that, once per call."""
        if what not in self._told_of:
            self._told_of.add(what)
            self._notes.append(note)
