"""The jambonz listen protocol as a sans-IO state machine, for both peers.

:class:`AppCall` is a whole call at the application's end: you pass it what comes, and the time.
Below it, :class:`AppSession` and :class:`ListenTask` work with WebSocket messages,
:class:`AppConnection` and :class:`PlatformConnection` with bytes. Nothing here opens a socket,
reads a clock or starts a task: :mod:`listenproto.asyncio` and :mod:`listenproto_trio` do.
"""

from listenproto import _messages
from listenproto._answering import Answering
from listenproto._app_call import AppCall
from listenproto._app_session import AppEvent, AppSession, PlaybackDone
from listenproto._connection import AppConnection, ConnectionEvent, PlatformConnection
from listenproto._ended_call import EndedCall
from listenproto._ends import CallEnded, Ending, EndKind
from listenproto._errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from listenproto._handshake import (
    SUBPROTOCOL,
    SUBPROTOCOLS,
    Accept,
    HandshakePolicy,
    Reject,
    basic_credentials,
    judge_request,
    judge_upgrade,
)
from listenproto._heard import Heard, PlayoutClip, PlayoutEnd, PlayoutFate, PlayoutGaps, PlayoutMark
from listenproto._l16 import FLICKS, LISTEN_RATES, PLAY_RATES
from listenproto._limits import Limits
from listenproto._link import CallNote, Link, Linked, LogLevel, Tap
from listenproto._listen_result import ListenEnd, ListenResult
from listenproto._message_connection import MessageConnection
from listenproto._messages import *  # noqa: F403 - its __all__ is all public
from listenproto._observer import AppLimits, Judgement, Observer
from listenproto._platform_session import AppMessage, PlatformEvent, PlatformSession
from listenproto._playback import Playback
from listenproto._playout import Playout
from listenproto._profile import DEPLOYED, DOCUMENTED, Profile
from listenproto._review import TraceNote, judge_trace, review_trace
from listenproto._rules import PeerState
from listenproto._runtime import Runtime
from listenproto._sent import Outcome, Sent
from listenproto._session import Traffic
from listenproto._speech import Speech, Spoken
from listenproto._statistics import Lateness, Statistics
from listenproto._task import ListenTask
from listenproto._trace import (
    Trace,
    TraceError,
    TraceHeader,
    TraceLine,
    TraceMoment,
    read_trace,
)
from listenproto._unread import CallEvent, Dropped, UnreadPolicy
from listenproto._upgrade import Accepted, HttpHeaders, Rejected, Request
from listenproto._verb import BidirectionalAudio, ListenVerb, WsAuth
from listenproto._verb_judge import VerbWarning, judge_verb
from listenproto._verb_options import VerbError
from listenproto._violation import Violation
from listenproto._waiting import HandlerCall, UnreadAudioError
from listenproto._watcher import Watcher
from listenproto._wav import WavError, WavHead
from listenproto._way import ModeOf
from listenproto._webhook import (
    ActionHook,
    AnyVerb,
    CallHook,
    WebhookBody,
    WebhookError,
    read_verbs,
    write_verbs,
)
from listenproto._wire import Closed, Ping, Pong

__all__ = [
    *_messages.__all__,
    "DEPLOYED",
    "DOCUMENTED",
    "FLICKS",
    "LISTEN_RATES",
    "PLAY_RATES",
    "SUBPROTOCOL",
    "SUBPROTOCOLS",
    "Answering",
    "AppCall",
    "EndKind",
    "EndedCall",
    "Ending",
    "Limits",
    "CallNote",
    "Link",
    "Linked",
    "LogLevel",
    "Tap",
    "MessageConnection",
    "Speech",
    "Lateness",
    "Statistics",
    "UnreadPolicy",
    "HandlerCall",
    "Playback",
    "Runtime",
    "Spoken",
    "UnreadAudioError",
    "Accept",
    "Accepted",
    "ActionHook",
    "AnyVerb",
    "AppConnection",
    "AppEvent",
    "AppLimits",
    "AppMessage",
    "AppSession",
    "BidirectionalAudio",
    "CallEnded",
    "CallEvent",
    "CallHook",
    "Closed",
    "ConnectionEvent",
    "Dropped",
    "HandshakePolicy",
    "Heard",
    "HttpHeaders",
    "Judgement",
    "ListenEnd",
    "ListenResult",
    "ListenTask",
    "ListenVerb",
    "LocalProtocolError",
    "ModeOf",
    "Observer",
    "Outcome",
    "PeerState",
    "Ping",
    "PlatformConnection",
    "PlatformEvent",
    "PlatformSession",
    "PlaybackDone",
    "Playout",
    "PlayoutClip",
    "PlayoutEnd",
    "PlayoutFate",
    "PlayoutGaps",
    "PlayoutMark",
    "Pong",
    "Profile",
    "ProtocolError",
    "Reject",
    "Rejected",
    "RemoteProtocolError",
    "Request",
    "Sent",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceLine",
    "TraceMoment",
    "TraceNote",
    "Traffic",
    "VerbError",
    "VerbWarning",
    "Violation",
    "Watcher",
    "WavError",
    "WavHead",
    "WebhookBody",
    "WebhookError",
    "WsAuth",
    "basic_credentials",
    "judge_request",
    "judge_trace",
    "judge_upgrade",
    "judge_verb",
    "read_trace",
    "read_verbs",
    "review_trace",
    "write_verbs",
]
