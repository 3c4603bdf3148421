"""What broke a connection or failed with a file, in words."""

from __future__ import annotations

import os
import ssl
from typing import Final

import trio

__all__ = ["first", "in_words", "is_untrusted", "with_file"]

_TLS: Final = {
    "HTTP_REQUEST": "the other end speaks plain HTTP, but this end has TLS; it must use wss://",
    "WRONG_VERSION_NUMBER": "the other end does not speak TLS; a server without TLS needs ws://",
    "UNEXPECTED_EOF_WHILE_READING": "the other end disconnected during TLS",
    "TLSV1_ALERT_UNKNOWN_CA": "the other end does not trust this end's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the other end does not trust this end's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the other end says that this end's certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the other end says that this end's certificate is bad",
}
"""By OpenSSL's names."""

_EXPIRED: Final = "the certificate has expired; the server needs a new one"
_OTHER_NAME: Final = "the certificate does not match the host; use a host that it names"
_CERTIFICATE: Final = {
    9: "the certificate is not valid yet; check the clocks of both ends",
    10: _EXPIRED,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""By OpenSSL's X509_V_ERR codes."""
_UNTRUSTED: Final = "certificate not trusted"
_TRIO_CONNECTING: Final = "Error connecting to ("
"""How trio's own message starts; it shows the address as a tuple, which our callers show better."""


def first(error: BaseException) -> BaseException:
    """The first failure in a group, or in the groups inside it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _broken_by(error: BaseException) -> BaseException:
    """The error that broke a stream of trio's, if one did and trio says which; else the error."""
    while isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError):
        if error.__cause__ is None:
            break
        error = error.__cause__
    return error


def is_untrusted(error: BaseException) -> bool:
    """Whether the certificate of the other end is in order, but this end does not trust it."""
    broken_by = _broken_by(error)
    if not isinstance(broken_by, ssl.SSLCertVerificationError):
        return False
    return broken_by.verify_code not in _CERTIFICATE


def in_words(error: BaseException) -> str:
    """What broke a connection, in words; empty if the error does not say."""
    error = _broken_by(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        return f"{_CERTIFICATE.get(error.verify_code, _UNTRUSTED)} ({said})"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None) or str(error)  # not all of them have one
        return f"{_TLS.get(reason, 'TLS failed')} ({reason})"
    if isinstance(error, OSError):
        if error.errno and str(error.strerror).startswith(_TRIO_CONNECTING):
            return os.strerror(error.errno)
        return error.strerror or str(error)
    return str(error)


def with_file(error: OSError) -> str:
    """The error in words, after the name of the file that it is about, if there is one."""
    return f"{error.filename}: {in_words(error)}" if error.filename else in_words(error)
