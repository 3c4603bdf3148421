"""Cancelling whole calls at every checkpoint, those of all tasks of one end counted."""

from __future__ import annotations

import pytest

from tests.cancelled_calls import ANSWERED, CALLS
from tests.trio_support import Scenario, name_of, repeatable, virtual, walk


@pytest.mark.parametrize("scenario", CALLS, ids=name_of)
@repeatable
@virtual
async def test_a_call(scenario: Scenario, order: None) -> None:
    await walk(scenario)


@pytest.mark.parametrize("scenario", ANSWERED, ids=name_of)
@pytest.mark.usefixtures("each_app_end")
@repeatable
@virtual
async def test_a_call_that_is_answered(scenario: Scenario, order: None) -> None:
    await walk(scenario)
