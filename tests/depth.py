"""How much the suite tries: all of it with ``LISTENPROTO_EXAMPLES=deep`` in the environment."""

from __future__ import annotations

import os
from typing import Final

DEEP: Final = os.environ.get("LISTENPROTO_EXAMPLES") == "deep"
"""Whether there is time to try everything."""
