"""The jambonz listen protocol on trio: :func:`serve` calls, or :func:`open_call` as a platform."""

try:
    from listenproto._answering import Answering
    from listenproto._ended_call import EndedCall
    from listenproto._ends import CallEnded, Ending, EndKind
    from listenproto._limits import Limits
    from listenproto._link import Tap
    from listenproto._playback import Playback
    from listenproto._sent import Outcome
    from listenproto._speech import Spoken
    from listenproto._statistics import Statistics
    from listenproto._unread import CallEvent, Dropped
    from listenproto._waiting import UnreadAudioError
    from listenproto.recording import (
        HeardWav,
        Recorder,
        Recording,
        Recovered,
        TraceFile,
        WavFile,
        recover_wav,
    )
    from listenproto_trio._call import Call
    from listenproto_trio._caller import Key, hear_beep, talk
    from listenproto_trio._client import (
        AppMessage,
        PlatformCall,
        open_call,
        open_call_on,
    )
    from listenproto_trio._listening import Certificate
    from listenproto_trio._rejection import CallRejected
    from listenproto_trio._server import Handler, serve, serve_stream
    from listenproto_trio._websocket import TrioWebSocket, WebSocket
except ModuleNotFoundError as exc:
    if exc.name not in ("trio", "trio_websocket"):
        raise
    said = "listenproto_trio needs the extra trio: pip install 'listenproto[trio]'"
    raise ModuleNotFoundError(said, name=exc.name) from exc

__all__ = [
    "Answering",
    "AppMessage",
    "Call",
    "CallEnded",
    "CallEvent",
    "CallRejected",
    "Certificate",
    "Dropped",
    "EndKind",
    "EndedCall",
    "Ending",
    "Handler",
    "HeardWav",
    "Key",
    "Limits",
    "Outcome",
    "PlatformCall",
    "Playback",
    "Recorder",
    "Recording",
    "Recovered",
    "Spoken",
    "Statistics",
    "Tap",
    "TraceFile",
    "TrioWebSocket",
    "UnreadAudioError",
    "WavFile",
    "WebSocket",
    "hear_beep",
    "open_call",
    "open_call_on",
    "recover_wav",
    "serve",
    "serve_stream",
    "talk",
]
