"""Settings and fixtures for the whole suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from coverage import Coverage

from tests import depth  # noqa: F401 - loads the settings of hypothesis
from tests.runtime_support import ENDS, on_end
from tests.trio_support import AppEnd

# A shell has what it runs in the background ignore interrupts, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test trusts the system's CAs, and reading these takes long each time.
os.environ["SSL_CERT_FILE"] = os.devnull


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count no branches of a search: which ones it takes is chance, and counting takes time."""
    for item in items:
        if item.get_closest_marker("hypothesis") and not item.get_closest_marker("counted"):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    measuring = Coverage.current()
    if measuring is None or not item.get_closest_marker("no_cover"):
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


@pytest.fixture(scope="module", params=AppEnd.ALL)
def each_app_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the calls of a module on our own transport, and again on somebody else's WebSocket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppEnd, "serve", staticmethod(AppEnd.ALL[request.param]))
        yield


@pytest.fixture(scope="module", params=ENDS)
def each_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the calls of a module on each app end, on trio and on asyncio."""
    with on_end(request.param):
        yield


@pytest.fixture(scope="module", params=["our transport", "asyncio"], ids=["trio", "asyncio"])
def each_runtime(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the calls of a module on each runtime."""
    with on_end(request.param):
        yield
