"""Comparing long bytes: a plain assert would spend minutes on showing how they differ."""

from __future__ import annotations

__all__ = ["first_difference"]


def first_difference(found: bytes | bytearray, wanted: bytes | bytearray) -> str:
    """Where they begin to differ, in words; empty if they are equal."""
    if found == wanted:
        return ""
    lengths = f"{len(found)} bytes, not {len(wanted)}"
    shorter = min(len(found), len(wanted))
    at = next((i for i in range(shorter) if found[i] != wanted[i]), shorter)
    here = slice(at, at + 16)
    return f"{lengths}; from byte {at} on {bytes(found[here])!r}, not {bytes(wanted[here])!r}"
