"""Disks that are full or cannot be written: real ones, where the system has them."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.depth import MUTATION


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 KiB; only where CI is set must it be had."""
    if MUTATION:
        pytest.skip("a mutant that is killed would leave the disk mounted")
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        said = "only root may mount; files_up_to() brings about the same for anybody"
        (pytest.fail if "CI" in os.environ else pytest.skip)(said)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Have the system write no file of this process beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
