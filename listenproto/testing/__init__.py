"""Test your own implementation: hypothesis strategies and state machines.

Strategies give legal messages (:func:`app_messages`, :func:`platform_messages`), texts that are
almost legal (:func:`nearly_legal_texts`), valid and invalid verbs (:func:`listen_verbs`,
:func:`invalid_verb_objects`), :func:`profiles`, and whole conversations as they pass at one end
(:func:`conversations`, :func:`broken_conversations`).

:class:`AppMachine` tests an app against the protocol, :class:`PlatformMachine` a platform. Make
yours in a subclass, and run its ``TestCase``::

    class MyApp(AppMachine):
        verbs = listen_verbs(Mode.STREAMING)

        def make_app(self, verb, profile):
            return my_app()  # an AppUnderTest: receive, closed, connection_lost, data_to_send

    TestMyApp = MyApp.TestCase

A failure is printed as the shortest conversation that leads to it, with the clause that it breaks.
"""

try:
    from listenproto.testing.app_machine import AppMachine
    from listenproto.testing.call_machine import CallMachine
    from listenproto.testing.conversations import Conversation, broken_conversations, conversations
    from listenproto.testing.exchange import AppUnderTest, Exchange, PlatformUnderTest
    from listenproto.testing.messages import (
        app_messages,
        audio,
        chunkings,
        clip_ids,
        dtmf,
        json_objects,
        json_values,
        mark_events,
        mark_names,
        marks,
        metadata,
        nearly_legal_texts,
        pcm,
        platform_messages,
        play_audio,
        play_done,
        unknown_messages,
        unusable_metadata,
    )
    from listenproto.testing.platform_machine import PlatformMachine
    from listenproto.testing.verbs import (
        invalid_verb_objects,
        listen_verbs,
        profiles,
        verb_objects,
    )
except ModuleNotFoundError as exc:
    if exc.name not in ("hypothesis", "hypothesis.stateful", "hypothesis.strategies"):
        raise
    said = "listenproto.testing needs the extra testing: pip install 'listenproto[testing]'"
    raise ModuleNotFoundError(said, name=exc.name) from exc

__all__ = [
    "AppMachine",
    "AppUnderTest",
    "CallMachine",
    "Conversation",
    "Exchange",
    "PlatformMachine",
    "PlatformUnderTest",
    "app_messages",
    "audio",
    "broken_conversations",
    "chunkings",
    "clip_ids",
    "conversations",
    "dtmf",
    "invalid_verb_objects",
    "json_objects",
    "json_values",
    "listen_verbs",
    "mark_events",
    "mark_names",
    "marks",
    "metadata",
    "nearly_legal_texts",
    "pcm",
    "platform_messages",
    "play_audio",
    "play_done",
    "profiles",
    "unknown_messages",
    "unusable_metadata",
    "verb_objects",
]
