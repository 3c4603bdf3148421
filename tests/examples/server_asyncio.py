"""The call without IO on plain asyncio streams, no other library: an app that echoes."""

import asyncio
import math
import sys
from contextlib import suppress

from listenproto import Answering, AppCall, Audio, CallEnded, Mode


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    call = AppCall(Answering(mode=Mode.STREAMING), now=clock())
    try:
        while not call.over:
            due = call.next_timeout()
            try:
                async with asyncio.timeout_at(due if due < math.inf else None):
                    data = await reader.read(65536)
            except TimeoutError:
                call.handle_timeout(clock())
            else:
                call.receive(data, clock())
            with suppress(CallEnded):
                while event := call.next_event(clock()):
                    if isinstance(event, Audio):
                        call.send(event, clock())
            while data := call.data_to_send(clock()):
                writer.write(data)
                await writer.drain()  # who does not listen is not read from, either
    except OSError:
        pass  # the platform has vanished, with the caller
    finally:
        writer.close()


async def main(port: int) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    print("listening on port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
