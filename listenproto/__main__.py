"""The command ``listenproto``, also ``python -m listenproto``.

It is in ``listenproto_trio``, which cannot be imported without its extra. It is imported by name,
when the command runs, so that the core does not depend on it.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["main"]


def main() -> None:
    """Run the command; exit status 2 if the extra ``cli`` is not installed."""
    try:
        command = import_module("listenproto_trio.cli")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0].startswith("listenproto"):
            raise
        print("listenproto needs the extra cli: pip install 'listenproto[cli]'", file=sys.stderr)
        sys.exit(2)
    command.main()


if __name__ == "__main__":
    main()
