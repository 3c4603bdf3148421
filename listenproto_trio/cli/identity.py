"""The certificate that ``listenproto serve`` shows, read from files."""

from __future__ import annotations

import ssl
from pathlib import Path

import click

__all__ = ["server_context"]


def server_context(certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
    """A TLS context with this certificate; raises click.BadParameter if it cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    key, hint, locked = keyfile or certfile, "--keyfile" if keyfile else "--certfile", False

    def password() -> bytes:
        nonlocal locked
        locked = True
        return b""

    try:
        ssl.create_default_context(cafile=certfile)  # fails for a key without a certificate
    except OSError as exc:  # SSLError is one
        said = f"{certfile} is not a PEM file with a certificate"
        raise click.BadParameter(said, param_hint="--certfile") from exc
    try:
        context.load_cert_chain(certfile, keyfile, password=password)
    except OSError as exc:
        reason = getattr(exc, "reason", None)  # OpenSSL's name, if there is just one fault
        said = f"{key} is not a PEM file with a private key"
        if keyfile is None:
            said = f"{key} has no private key in it; pass that with --keyfile FILE"
        if locked:
            said = f"the private key in {key} is encrypted; use one without a password"
        elif reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            said = f"the key in {key} does not match the certificate in {certfile}"
        elif reason:
            said = f"{certfile} cannot be used: {reason}"
        raise click.BadParameter(said, param_hint=hint) from exc
    return context
