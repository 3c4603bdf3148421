"""Settings of the whole suite: ``LISTENPROTO_EXAMPLES=deep`` looks ten times as long."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.trio_support import AppEnd

settings.register_profile("default", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=1000)
settings.register_profile(
    "mutation", deadline=None, max_examples=20, derandomize=True, database=None
)
settings.load_profile(os.environ.get("LISTENPROTO_EXAMPLES", "default"))

# A shell has what it runs in the background ignore interrupts, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", params=AppEnd.ALL)
def each_app_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the calls of a module on our own transport, and again on somebody else's WebSocket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppEnd, "serve", staticmethod(AppEnd.ALL[request.param]))
        yield
