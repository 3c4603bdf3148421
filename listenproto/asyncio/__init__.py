"""Calls on asyncio: :func:`answer` a WebSocket of FastAPI, Starlette, aiohttp or websockets.

Nothing but the standard library is needed, and none of these is imported. Import this module by its
name; ``import listenproto`` does not bring it in.
"""

from listenproto.asyncio._adapters import WebSocket
from listenproto.asyncio._admission import websockets_options
from listenproto.asyncio._call import Call, answer

__all__ = ["Call", "WebSocket", "answer", "websockets_options"]
