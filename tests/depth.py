"""How much the suite tries: what fits into minutes, or more with ``LISTENPROTO_EXAMPLES=deep``.

| | by default | deep |
| --- | --- | --- |
| examples of a property | 40 | 1000 |
| FEW: where each is a call with both its ends | 10 | 250 |
| MANY: of the playout, which has many ways to go wrong | 160 | 4000 |
| checkpoints at which a scenario is interrupted | two for each place | all |
| bits of a recorded call that are flipped | one of 97 | all |
| bytes of it behind which it is cut off | one of 5 | all |

What is tried by default is the same in each run where CI is set in the environment; elsewhere
hypothesis looks at other examples each time, and keeps those that failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import settings

_NAME: Final = os.environ.get("LISTENPROTO_EXAMPLES", "default")

DEEP: Final = _NAME == "deep"
"""Whether there is time to try everything."""

MUTATION: Final = _NAME == "mutation"
"""Whether a mutant is tried, whose process may be killed at any moment."""

settings.register_profile("default", deadline=None, max_examples=40)
settings.register_profile("deep", deadline=None, max_examples=1000)
settings.register_profile(
    "mutation", deadline=None, max_examples=20, derandomize=True, database=None
)
settings.load_profile(_NAME)

_USUAL: Final = settings().max_examples
FEW: Final = settings(max_examples=_USUAL // 4)
MANY: Final = settings(max_examples=4 * _USUAL)


def counted(search: Callable[..., None]) -> Callable[..., None]:
    """Have a search try the same examples each time, so that the branches it takes count."""
    same = settings(derandomize=True, max_examples=max(100, _USUAL))
    return pytest.mark.counted(same(search))  # type: ignore[no-any-return]
