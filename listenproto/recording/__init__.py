"""Recordings and traces of calls: files and nothing else, for trio, asyncio and any other runtime.

They need a POSIX system; ``Recorder(both=True)`` also needs the extra ``recording``.

:class:`WavFile` writes audio, :class:`TraceFile` what passed; both stay readable if the process
dies. :class:`Recorder` records calls in a folder, on any runtime whose call is a
:class:`RecordedCall`: for each a WAV and a JSON file, the sidecar.

The sidecar of a recording is a JSON file next to the WAV that describes it. It is written when the
recording starts, with ``end`` null, and replaced as a whole when a key is pressed and at the end.
If the process dies or the disk is full, ``end`` stays null; :func:`recover_wav` repairs the WAV
then. A flood of keys is written late: after 1 MiB at once, 64 KiB a second, and the rest with a
later event. It is a JSON object::

    recording       1, the version of this format
    wav             the name of the WAV, which is in the same folder
    startedAt       when the recording started: UTC, as in 2025-01-31T09:00:00.000Z
    sampleRate      of the WAV, in Hz
    channels        of the WAV: 1 or 2
    parties         who is heard in each channel, one string each: "caller", "callee",
                    "caller and callee" or "app" (of ``Recorder(both=True)``)
    mixType         of what the platform sends: mono, stereo or mixed
    gapsFilled      true if the WAV has silence where samples are missing, so that its time is the
                    clock's; false if the WAV goes on without them
    metadata        all other metadata of the call, as the platform sent it
    truncated       true if only the beginning of the metadata came (LP-META-12)
    keys            the keys that were pressed: digit, duration (as in the protocol, or null), and
                    at, the position in the WAV in samples
    end             null while the recording lasts, then an object:

    endedAt         when the recording ended
    how             how it ended, the first of these that is true:
                    failed          the handler raised, or this end failed while it read; error is
                                    the name of the exception
                    protocol error  the platform broke the protocol and the call could not go on;
                                    error says how, clause is the requirement
                    lost            the connection was lost without a close
                    disconnected    this end sent a disconnect
                    closed          the call was closed
                    left            the handler returned before the call ended
                    cancelled       the handler was cancelled, as when a server is shut down
    code, reason    of the close that came; null if none did
    error, clause   see how; else null
    samples         how many samples of each channel are in the WAV
    seconds         how long that is
    gaps            where samples are missing, in order: at, the position in the WAV in samples,
                    where the silence starts if gapsFilled; how many samples, and how many seconds
                    that is; and why:
                    not received    the platform did not send them, or they got lost on the way
                    not read        they came, but were not read in time
    unlisted        how many keys and gaps are not listed, as there are more than 1000 of each
    samplesDropped  how many samples were not read in time in all
    recordingError  why the WAV ends before the call, such as a full disk; else null

The upgrade request is not in it, so neither are credentials or the URL. The customer's own
``metadata`` is, whatever it holds; lone surrogates, which UTF-8 cannot hold, are replaced by
U+FFFD. Only the owner may read the files (mode 0600).

Samples count as not received if all audio after them came more than half a second late, compared
with the earliest arrival, for ten seconds or until the end of the recording. A pause of the listen
looks the same; short losses add up, and so do clocks that differ.
"""

from listenproto.recording._call import RecordedCall
from listenproto.recording._files import AnyPath
from listenproto.recording._recorder import Recorder, Recording
from listenproto.recording._recovery import Recovered, recover_wav
from listenproto.recording._trace_file import TraceFile, read_trace_file
from listenproto.recording._wav_file import HeardWav, WavFile

__all__ = [
    "AnyPath",
    "HeardWav",
    "RecordedCall",
    "Recorder",
    "Recording",
    "Recovered",
    "TraceFile",
    "WavFile",
    "read_trace_file",
    "recover_wav",
]
