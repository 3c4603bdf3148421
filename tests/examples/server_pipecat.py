"""Calls behind Pipecat: a serializer for its WebSocket transports, and a bot that echoes."""

import asyncio
import sys
import time
from collections import deque

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    EndWorkerFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

from listenproto import (
    SUBPROTOCOLS,
    AppEvent,
    AppSession,
    Audio,
    BidirectionalAudio,
    Close,
    Disconnect,
    Dtmf,
    KillAudio,
    ListenVerb,
    Message,
    RemoteProtocolError,
)

VERB = ListenVerb(
    url="/",
    sample_rate=16000,
    pass_dtmf=True,
    bidirectional_audio=BidirectionalAudio(streaming=True, sample_rate=16000),
)
RATES = PipelineParams(
    audio_in_sample_rate=VERB.sample_rate, audio_out_sample_rate=VERB.stream_rate
)


class ListenSerializer(FrameSerializer):
    """Frames of Pipecat from and to the messages of one call, at the rates of its verb.

    ``first`` is the first message of the WebSocket. Raises RemoteProtocolError if it is not usable
    metadata; from then on the bot may speak.
    """

    def __init__(self, verb: ListenVerb, first: str | bytes) -> None:
        super().__init__()
        self._verb = verb
        self.session = AppSession(verb=verb)
        self.session.receive(first, time.monotonic())
        self._frames: deque[Frame] = deque()  # Pipecat takes one a message, and that may hold two

    async def serialize(self, frame: Frame) -> str | bytes | None:
        if isinstance(frame, OutputAudioRawFrame):
            return self._send(Audio(frame.audio))
        if isinstance(frame, InterruptionFrame):
            return self._send(KillAudio())
        if isinstance(frame, EndFrame):  # the bot has finished; the caller is still listening
            await asyncio.sleep(self.session.all_heard_by(time.monotonic()) - time.monotonic())
        return self._send(Disconnect()) if isinstance(frame, EndFrame | CancelFrame) else None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        for event in self.session.receive(data, time.monotonic()):
            self._frames.extend(self._frames_of(event))
        return self._frames.popleft() if self._frames else None

    def _send(self, message: Message) -> str | bytes:
        self.session.send(message, time.monotonic())
        (payload,) = self.session.data_to_send()
        assert not isinstance(payload, Close)  # that is up to the transport
        return payload

    def _frames_of(self, event: AppEvent) -> list[Frame]:
        if isinstance(event, Audio):
            return [InputAudioRawFrame(event.pcm, self._verb.sample_rate, self._verb.channels)]
        if isinstance(event, Dtmf) and event.digit in [*KeypadEntry]:
            return [InputDTMFFrame(KeypadEntry(event.digit))]
        return []


class Echo(FrameProcessor):
    """Says back what the caller says; falls silent at a key, and ends the call at ``#``."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            said = OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels)
            await self.push_frame(said)
        elif not isinstance(frame, InputDTMFFrame):
            await self.push_frame(frame, direction)
        elif frame.button is KeypadEntry.POUND:
            await self.push_frame(EndWorkerFrame())
        else:
            await self.broadcast_interruption()


app = FastAPI()


@app.websocket("/")
async def bot(websocket: WebSocket) -> None:
    offered = websocket.scope["subprotocols"]
    subprotocol = next((name for name in offered if name in SUBPROTOCOLS), None)
    if subprotocol is None:
        await websocket.close()
        return
    await websocket.accept(subprotocol)
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        return
    try:
        serializer = ListenSerializer(VERB, message.get("text") or message.get("bytes") or "")
    except RemoteProtocolError as error:
        await websocket.close(error.close_code, str(error))
        return
    params = FastAPIWebsocketParams(
        serializer=serializer,
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_end_silence_secs=0,
    )
    transport = FastAPIWebsocketTransport(websocket, params)
    worker = PipelineWorker(Pipeline([transport.input(), Echo(), transport.output()]), params=RATES)

    @transport.event_handler("on_client_disconnected")
    async def hang_up(transport: FastAPIWebsocketTransport, websocket: WebSocket) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
