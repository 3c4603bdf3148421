"""``python -m listenproto_trio.cli``."""

from listenproto_trio.cli import main

main()
