"""What is shown of a value: a short text, without passwords."""

from __future__ import annotations

import pytest

from listenproto._shown import MOST_URLS, masked, shown

WITHOUT = [
    "joe@x.org",
    "/agents/@support",
    "/agents/a:b@support",
    "wss://app.example/listen?agent=joe@x.org",
    "wss://app.example/call/joe@x.org",
    "ws://127.0.0.1:3000/agents/@support",
    "ws://[::1]:3000/@support",
    "wss://app.example?a:b@c",
    "wss://app.example/#a:b@c",
    "ws://a.example/@b and then ws://c.example/@d",
]


@pytest.mark.parametrize("text", WITHOUT)
def test_what_is_no_password_is_shown(text: str) -> None:
    assert masked(text) == text


PASSWORDS = {
    "ws://me:secret@app.example/a@b": "ws://***@app.example/a@b",
    "ws://me:sec@ret@app.example/": "ws://***@app.example/",
    "ws://me:secret@[::1]:3000/": "ws://***@[::1]:3000/",
    "//me:secret@app.example/a@b": "//***@app.example/a@b",
    "ws://app.example/@a?to=https://me:secret@b.example/c@d": (
        "ws://app.example/@a?to=https://***@b.example/c@d"
    ),
    "ws://me:secret@a.example/ or ws://me:secret@b.example/": (
        "ws://***@a.example/ or ws://***@b.example/"
    ),
    # these are no URLs
    "me:secret@app.example/": "***@app.example/",
    "ws://me:sec/ret@app.example/": "ws://***@app.example/",
    "ws://me:sec?r@et@app.example/": "ws://***@app.example/",
    "ws://me:99999/secret@app.example/": "ws://***@app.example/",
    "ws://me:0/secret@app.example/": "ws://***@app.example/",
    "ws:///me:secret@app.example/": "ws://***@app.example/",
    "ws://[me:secret@app.example/": "ws://***@app.example/",
    "ws://app.example:x/ and joe": "ws://app.example:x/ and joe",
    "me@ws://[": "me@ws://[",
}


@pytest.mark.parametrize(("text", "said"), PASSWORDS.items())
def test_user_and_password_of_a_url_are_not_shown(text: str, said: str) -> None:
    assert masked(text) == said
    assert masked(said) == said
    assert shown(text) == repr(said)


def test_of_many_urls_no_password_is_shown_either() -> None:
    many = "ws://me:secret@a/ " * (MOST_URLS + 1)
    assert masked(many) == "ws://***@a/ " * MOST_URLS
