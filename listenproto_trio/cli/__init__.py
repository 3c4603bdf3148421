"""The ``listenproto`` command."""

from __future__ import annotations

import io
import sys

import click

from listenproto._shown import masked_line
from listenproto_trio._failures import first, with_file
from listenproto_trio.cli import call, demo, lint, options, recover, serve
from listenproto_trio.cli.screen import complain, drop_output

__all__ = ["main"]


def main() -> None:
    """Run the command: an error is one line; exit status 2 for misuse, 1 for a failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may have no arrows
    status = 1
    try:
        status = _run()
        sys.stdout.flush()
    except* (KeyboardInterrupt, click.Abort):
        status = 130
        complain("interrupted")
    except* BrokenPipeError:  # whoever reads has had enough
        drop_output()
    except* OSError as failed:
        failure = first(failed)
        drop_output()
        complain(with_file(failure) if isinstance(failure, OSError) else str(failure))
    sys.exit(status)


def _run() -> int:
    try:
        return commands(prog_name="listenproto", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return exc.exit_code
    except click.ClickException as exc:
        if isinstance(exc, click.BadParameter) and exc.param_hint is None:
            exc.param_hint = options.given_as(exc.param, exc.ctx)
        complain(masked_line(exc.format_message()))  # it may quote what was typed
        return exc.exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(package_name="listenproto")
def commands() -> None:
    """The jambonz listen protocol: call audio over WebSocket.

    \b
    Example, in two terminals:
      listenproto serve --mode streaming --echo
      listenproto call ws://127.0.0.1:3000/ --mode streaming
    """


for command in (demo.demo, serve.serve, call.call, lint.lint, recover.recover):
    commands.add_command(command)
