"""What a failed comparison of long bytes says."""

from __future__ import annotations

import pytest

from tests.differing import first_difference


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        (bytes(70_000), bytearray(70_000), ""),
        (b"ab", b"abc", "2 bytes, not 3; from byte 2 on b'', not b'c'"),
        (b"axc", b"abc", "3 bytes, not 3; from byte 1 on b'xc', not b'bc'"),
    ],
)
def test_the_first_difference_is_named(found: bytes, wanted: bytes, said: str) -> None:
    assert first_difference(found, wanted) == said
