"""An app of one's own, on the core alone: a menu of prompts."""

from listenproto import (
    AppSession,
    Disconnect,
    Dtmf,
    KillAudio,
    Mode,
    PlayAudio,
    RemoteProtocolError,
    Sent,
)

PROMPTS = {"1": bytes(16000), "2": bytes(48000)}
"""What is said at which key: L16, 8000 samples a second."""


class Menu:
    """Says a prompt at a key, is silent at ``*``, and ends the call at ``#``."""

    def __init__(self) -> None:
        self.session = AppSession(mode=Mode.CLIPS)
        self.closed = self.session.closed
        self.connection_lost = self.session.connection_lost
        self.data_to_send = self.session.data_to_send
        self.prompt: Sent | None = None
        self.over = False

    def receive(self, payload: str | bytes) -> None:
        try:
            for event in self.session.receive(payload):
                if isinstance(event, Dtmf) and not self.over:
                    self.press(event.digit)
        except RemoteProtocolError as error:
            self.session.close(error.close_code, str(error))

    def press(self, key: str) -> None:
        if key == "#":
            self.over = True
            self.session.send(Disconnect())
        elif key == "*":
            self.prompt = None
            self.session.send(KillAudio())
        elif key in PROMPTS and (self.prompt is None or self.prompt.outcome is not None):
            self.prompt = self.session.send(PlayAudio(PROMPTS[key], sample_rate=8000))
