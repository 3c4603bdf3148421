"""The core on plain asyncio streams, no other library: an app that echoes."""

import asyncio
import sys

from listenproto import (
    AppConnection,
    AppSession,
    Audio,
    HandshakePolicy,
    Mode,
    RemoteProtocolError,
    Request,
    judge_request,
)


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = AppConnection(AppSession(mode=Mode.STREAMING))
    try:
        while not connection.finished:
            connection.feed(await reader.read(65536))  # b"" at the end: events() tells of it
            try:
                for event in connection.events():
                    if isinstance(event, Request):
                        connection.answer(judge_request(event, HandshakePolicy()))
                    elif isinstance(event, Audio):
                        connection.send(event)
            except RemoteProtocolError as error:
                connection.fail(error)
            while data := connection.data_to_send():
                writer.write(data)
                await writer.drain()  # who does not listen is not read from, either
    except OSError:
        pass  # the platform has vanished, with the caller
    finally:
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(call, "127.0.0.1", port)
    print("listening on port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
