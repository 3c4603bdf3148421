"""Settings of the whole suite: ``LISTENPROTO_EXAMPLES=deep`` looks ten times as long."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("LISTENPROTO_EXAMPLES", "default"))
