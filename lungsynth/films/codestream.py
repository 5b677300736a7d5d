"""What a DICOM file holds, by its bytes: a data set without a preamble, a compressed stream.

Markers and headers are those of DICOM PS3.5 (chapters 7 and A.4), ITU-T T.81 (JPEG), T.87 (JPEG-LS)
and T.800 (JPEG 2000).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

JPEG_BASELINE, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

SHORT_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_16)
LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
"""Value representations whose length has two bytes, and those whose length has four."""

HEAD = 512
"""Bytes at the start of a file that are looked at."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One compressed frame, by its headers."""

    syntax: str  # transfer syntax it fits; "" where it is of no known kind
    bits: int  # of a sample; 0 where unknown
    whole: bool  # it ends as it should


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM: with a preamble, or a bare data set.

    A bare data set begins with an element of group 0002 or 0008, followed by one of a higher tag.
    """
    if head[128:132] == b"DICM":
        return True
    return any(_begins_data_set(head, order) for order in "<>")


def _begins_data_set(head: bytes, order: str) -> bool:
    first = _element(head, 0, order)
    if first is None or first[0] not in (0x0002, 0x0008):
        return False
    group, element, end = first
    if end >= len(head):
        return end < 4096  # a long first value: its header alone must do
    second = _element(head, end, order)
    return second is not None and (second[0], second[1]) > (group, element)


def _element(head: bytes, at: int, order: str) -> tuple[int, int, int] | None:
    """Group, element and end of the data element at an offset; None where there is none."""
    if len(head) < at + 8:
        return None
    group, element = struct.unpack_from(f"{order}HH", head, at)
    vr = head[at + 4 : at + 6]
    if vr in SHORT_VRS:
        length, value = int(struct.unpack_from(f"{order}H", head, at + 6)[0]), at + 8
    elif vr in LONG_VRS and len(head) >= at + 12:
        length, value = int(struct.unpack_from(f"{order}I", head, at + 8)[0]), at + 12
    elif order == "<":  # implicit representation, which is little-endian only
        length, value = int(struct.unpack_from("<I", head, at + 4)[0]), at + 8
    else:
        return None
    if length == 0xFFFFFFFF:
        length = 0
    return (group, element, value + length) if length % 2 == 0 and length < 1 << 20 else None


def read_stream(frame: bytes) -> Stream:
    """What one compressed frame says of itself."""
    body = frame.rstrip(b"\0\xff")  # some writers fill to an even length with 0xFF
    whole = body.endswith(b"\xff\xd9")
    if frame[:4] == b"\xff\x4f\xff\x51":
        return _jpeg_2000(frame, whole)
    if frame[:2] == b"\xff\xd8":
        return _jpeg(frame, whole)
    if len(frame) >= 64:
        segments, first = struct.unpack_from("<II", frame)
        offsets = struct.unpack_from("<15I", frame, 4)[: segments if segments <= 15 else 0]
        if segments and first == 64 and list(offsets) == sorted(offsets):
            return Stream(RLE, 0, whole=offsets[-1] < len(frame))
    return Stream("", 0, whole=False)


def _jpeg(frame: bytes, whole: bool) -> Stream:
    """JPEG and JPEG-LS, by the start-of-frame marker and the first scan."""
    at, kind, bits = 2, 0, 0
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            kind, bits = marker, frame[at + 4] if at + 4 < len(frame) else 0
        if marker == 0xDA and at + 2 + length <= len(frame):
            selection = frame[at + length - 1]  # predictor of lossless JPEG, nearness of JPEG-LS
            return Stream(_jpeg_syntax(kind, selection), bits, whole=whole)
        at += 2 + length
    return Stream(_jpeg_syntax(kind, 1), bits, whole=False)


def _jpeg_syntax(kind: int, selection: int) -> str:
    if kind == 0xF7:
        return JPEG_LS if selection == 0 else JPEG_LS_NEAR
    if kind == 0xC3:
        return JPEG_LOSSLESS_SV1 if selection == 1 else JPEG_LOSSLESS
    return {0xC0: JPEG_BASELINE, 0xC1: JPEG_EXTENDED}.get(kind, "")


def _jpeg_2000(frame: bytes, whole: bool) -> Stream:
    """JPEG 2000: bits from the size segment, reversible or not from the coding style."""
    bits = (frame[42] & 0x7F) + 1 if len(frame) > 42 else 0
    style = frame.find(b"\xff\x52", 40, 4096)
    reversible = style > 0 and len(frame) > style + 13 and frame[style + 13] == 1
    return Stream(JPEG_2000_LOSSLESS if reversible else JPEG_2000, bits, whole=whole)
