"""Run the testsuite against both roles; see README.md: python -m tests.autobahn serve | visit"""

from __future__ import annotations

import argparse

from tests.autobahn.endpoints import EchoServer, answer_cases


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    serve = roles.add_parser("serve", help="echo what the testsuite's client sends")
    serve.add_argument("--port", type=int, default=9001)
    visit = roles.add_parser("visit", help="echo what the testsuite's server sends")
    visit.add_argument("url", nargs="?", default="ws://127.0.0.1:9001")
    options = parser.parse_args()
    if options.role == "visit":
        print(f"{answer_cases(options.url)} cases")
        return
    with EchoServer(("127.0.0.1", options.port)) as server:
        print(f"echo at ws://127.0.0.1:{options.port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
