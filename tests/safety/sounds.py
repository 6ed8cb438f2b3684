"""Sounds that lie about themselves, each with what must become of it: a picture's cases, for who listens."""

from collections.abc import Iterator
from functools import partial

from tests.safety.case import ANY, BAD, Case, cut, flipped
from tests.support import sounds as make

WAV, FLAC, MP3 = make.sound(), make.sound("FLAC"), make.sound("MP3")
DATA = (b"data", bytes(640))
STRANGE = {
    "WAV of numbers that are none": (ANY, make.riff(make.wav_head(coding=3, bits=32), (b"data", b"\0\0\xc0\x7f" * 160))),
    "WAV of endless numbers": (ANY, make.riff(make.wav_head(coding=3, bits=32), (b"data", b"\0\0\x80\x7f" * 160))),
    "WAV of no known extension": (BAD, make.riff(make.wav_head(coding=0xFFFE), DATA)),
    "WAV of MP3": (BAD, make.riff(make.wav_head(coding=0x55), DATA)),
    "WAV of more channels than it has": (BAD, make.riff(make.wav_head(channels=20_000), DATA)),
    "WAV of 2 billion samples a second": (BAD, make.riff(make.wav_head(rate=2**31 - 1), DATA)),
    "WAV of samples of no bits": (BAD, make.riff(make.wav_head(bits=0), DATA)),
    "WAV with its head last": (BAD, make.riff(DATA, make.wav_head())),
    "WAV with two heads": (ANY, make.riff(make.wav_head(), make.wav_head(channels=8, rate=48_000), DATA)),
    "WAV with two bodies": (ANY, make.riff(make.wav_head(), DATA, (b"data", bytes(2**20)))),
    "WAV of 900 chunks": (ANY, make.riff(*[(b"LIST", b"")] * 900, make.wav_head(), DATA)),
    "WAV that says it is 4 GB": (ANY, WAV[:4] + b"\xff" * 4 + WAV[8:]),
    "WAV with a chunk of 4 GB": (BAD, WAV[:12] + b"LIST\xff\xff\xff\xff" + WAV[12:]),
    "FLAC of a frame, it says": (ANY, make.flac_head(frames=1) + FLAC[42:]),
    "FLAC of eight channels, it says": (ANY, make.flac_head(channels=8, frames=16_000) + FLAC[42:]),
    "FLAC of nothing but a head": (BAD, make.flac_head(frames=16_000)),
    "FLAC of 2 ** 36 - 1 frames": (BAD, make.flac_head(frames=2**36 - 1) + FLAC[42:]),
    "MP3 behind a tag of 256 MB": (BAD, b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + MP3),
    "MP3 behind tags in tags": (ANY, b"ID3\x04\0\0\0\0\0\x0a" * 5000 + MP3),
    "MP3 of nothing but beginnings": (BAD, b"\xff" * 5_000_000),
    "MP3 of frames without sound": (ANY, MP3[:4] + bytes(400) + MP3[4:8] + bytes(400)),
    "FLAC behind a tag": (ANY, b"ID3\x04\0\0\0\0\0\0" + FLAC),
    "MP3s of two rates": (BAD, MP3 + make.sound("MP3", 1.0, 8_000)),
    "MP3 that is a WAV": (BAD, b"ID3\x04\0\0\0\0\0\0" + WAV),
}  # fmt: skip
HEADS = {
    "OGG": b"OggS\0\2", "AIFF": b"FORM\0\0\0\x40AIFFCOMM", "CAF": b"caff\0\1\0\0", "AU": b".snd\0\0\0\x18", "RF64": b"RF64\xff\xff\xff\xffWAVE",
    "W64": b"riff\x2e\x91\xcf\x11", "MIDI": b"MThd\0\0\0\6", "M4A": b"\0\0\0\x20ftypM4A ", "AVI": b"RIFF\x40\0\0\0AVI LIST", "Matroska": b"\x1a\x45\xdf\xa3",
    "SVX": b"FORM\0\0\0\x408SVXVHDR", "VOC": b"Creative Voice File\x1a", "a playlist": b"#EXTM3U\nfile:///etc/passwd\n", "zeros": bytes(16), "nothing": b"",
}  # fmt: skip


def sounds() -> Iterator[Case]:
    for name, (fate, data) in STRANGE.items():
        yield Case(name, partial(bytes, data), fate)
    for name, head in HEADS.items():
        yield Case(f"a file of {name}", partial(bytes, head + bytes(200 if head else 0)), BAD)
    for kind, whole in (("WAV", WAV), ("FLAC", FLAC), ("MP3", MP3)):
        yield from cut(kind, whole, ANY, range(0, 10, 3))
        yield from flipped(kind, whole, 12, end=400)
