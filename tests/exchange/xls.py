"""Old workbooks (xls): a real one, made by LibreOffice, and others made of records by hand."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

OFFICE = zlib.decompress(
    base64.b64decode("""
eNrtWF1oXEUUPnN3s7m7SZPNn23TJt5Gu/nb1KYRjGht/qoWLAmm1ioF3SSbmGSbLWmqFdRuU/siFpQ++FKQQnwQxR8EfVAwefNBUYRC9Cn1rejDVhQp
NLl+c2ZuchPuyu5GRO2ey3dn5tyZM2dmzpkzc7/7tmLpyse112gDPUA+WrGDFHDxBBByCmEiQ/NWbNt22HaB/lO0rFO5hn6sXxEg17wYMIGgXt8SnRbo
/0WPUxLPDFl0kKaQTtOLlAvdAYtxy8umzUqW9bKlQv/59y/3b7mP+4BM/i/3fOn/pcAWoAwoVyGAKoBKoAqoBmrYJoi2AtuA7UAtsAPYCdQB9cCdgAXs
AhqAu4C7gd1ABGgEmoBmrW+rTiX2IH+PLrcX9qVNUdDEKgaK6PMtX8sl57W/Bov4yL/AdvETcJxOStvojSWGrX+KeliHmJA6zMNI9ws/bNWgy0AZfcj8
L/i9n+0P1EVWp7bpY0YXa3+R3w38LsNb0Gfc5kfmtMPSvpL+c/YN7QYloo/iNEExOkqnYZ+DyE3RKdSsddeUfiK6sVeO43tiU1/r/aU0J73tkfhUfDqW
kOV3XOUl9qo5+t22XB48b0m+FMf837LjGzny6bbjz2HuvOa5VdVPb+Q3Z+BHM/BbMvCDnnyCJbA+/jX+JQOFFNkyDad8nFakApxWpvycVqWKOa1OFdnP
Cmn1F7B/L7IUHx2JDcniU6YuvpB8naRvCVoQJkB05KKgn2lI7vHpp7nfQJpnxVRxwqC1s79w5TuoJC198UtUNOmcQOww50UX3l1UfyOsooeJKGIiOph/
IIDcwsyaOtJAyvgIxD8fS0DYGaAd2Ad0APcCkzZCkUmv+VUoGjZrgLXFqtGpIeOV2tfC6/a1UvQxglHJGalgrcMQd+vdG98fHho48AzzU7QmcbfBUybO
4cuCv4VbtPJ7lutWI5IhrkV6Iw198YnY0dPWYHx6fDTak0xONkTa90W6axDXrL+oMRAbi1uRgfMs9FV+R6BAB9P1A42ufBPy59sWZ9sW0weaXfkr2N6C
GJbgZ5aiIiqcNk4q6AnINullnjcSNaFyPVVlakMi0kcA0wg7ebVZiXLmCQ+e4cHzefD8G3jL+hKpdFAlgZJYLRm8SKokuKaPl7COxyi/FfOxRw2imOqF
PFMEAjhtCN24xVXBR90hlmWwLL+WZWhZ5etkbRUU696FCtvwScmqc1UwaGeLFOVjUUValM9TFNSq6q7WFQzYp+DRrNdbUImU52d5AZa3nf1RDdo9CnjN
K4asKjuSh6xfaEB2m35UmXLa1I4opaF5eq8ab7qJ+cF02OMwaFCI28k2cjgPGZX0aUDFU6IHYVnExzZHHb2ORGPw4jHTLUg4B9Db2AGNvBzQWJ1ZxwGF
hwMKTycq1jajHMXD8t1WYrmtxMzDSkyXldDmrQT1VmxfSN1hwqaah3lV9WF5Zzg8PjydPJUcnbEOnhmOJ6z772tDAIsnEnG2qJ7x0dHOzdydhDP5edKK
TbzqHnJp6cLbv97sfy783psmtTZ+8oOc6Je0K8jvnfp+1aUn4zF9zzqm71oj+r51UlvI9WV1d5L5vbqdQ9nkc9GfY/zVb65e3rMjfOkt6B+9+UGfDBUb
eMf1Pc85C4RdumbiF+jfQ3/n/x9e5w0+7NVGbhGpUpV/Er1P0yROm1KPyZz1r+QorY7Idg7/Vc6GHD/tRb8n4GP90GEir/59rn8w2bSRO/Sh1X2iH7fA
eN7rJw81uf7/iep/NeroN4ib7gk8MV77Q7CCUV4TyZnBLTUJTmZq0v0X5TD/bcD7q/33oYdh1iHOFpibPp15jF/unTOF/39MfwKfDEdy
""")
)
"""By LibreOffice 7.4. Sheet Tab: id, val, x; 1 to 4 with =1/0, =NA(), =VALUE("a"), =NOSUCH(), =SQRT(-1), =1=1, ="" and 5;
sheet Two: k and =NA()."""

ERROR, FORMULA = 0x0205, 0x0006


def record(kind: int, data: bytes) -> bytes:
    """A record of a workbook."""
    return struct.pack("<HH", kind, len(data)) + data


def text(row: int, column: int, value: str) -> bytes:
    """A cell of text."""
    return record(0x0204, struct.pack("<HHHHB", row, column, 0, len(value), 0) + value.encode("latin-1"))


def error(row: int, column: int, code: int) -> bytes:
    """A cell that holds an error."""
    return record(ERROR, struct.pack("<HHHBB", row, column, 0, code, 1))


def chart() -> bytes:
    """A chart in a sheet, with a cell of its own that is none of the sheet's."""
    return record(0x0809, struct.pack("<HHIII", 0x0600, 0x0020, 0, 0, 0)) + error(1, 0, 0x24) + record(0x000A, b"")


def workbook(cells: Sequence[bytes], size: int) -> bytes:
    """A file with one sheet of these records; the stream is filled up to `size` bytes, at least 4096."""
    begin = struct.pack("<HHHHII", 0x0600, 0x0005, 0x0DBB, 0x07CC, 0, 6)
    sheet = struct.pack("<IHBB", 0, 0, 1, 0) + b"S"
    head = record(0x0809, begin) + record(0x0085, sheet) + record(0x000A, b"")
    head = head.replace(sheet, struct.pack("<I", len(head)) + sheet[4:])
    body = record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0x0DBB, 0x07CC, 0, 6)) + b"".join(cells)
    stream = (head + body + record(0x000A, b"")).ljust(size, b"\0")
    return compound(stream)


def compound(stream: bytes) -> bytes:
    """A compound file with this stream, of whole sectors, as its workbook; the table takes the sectors before it."""
    count = -(-len(stream) // 512)
    tables = -(-(count + 1) // 127)
    nexts = [0xFFFFFFFD] * tables + [0xFFFFFFFE]
    nexts += [*range(tables + 2, tables + 1 + count), 0xFFFFFFFE]
    table = struct.pack(f"<{tables * 128}I", *nexts, *[0xFFFFFFFF] * (tables * 128 - len(nexts)))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, tables, tables, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<109I", *range(tables), *[0xFFFFFFFF] * (109 - tables))
    entries = _entry("Root Entry", 5, 0xFFFFFFFE, 0, 1) + _entry("Workbook", 2, tables + 1, len(stream), 0xFFFFFFFF)
    return head + table + entries.ljust(512, b"\0") + stream.ljust(count * 512, b"\0")


def _entry(name: str, kind: int, start: int, size: int, child: int) -> bytes:
    packed = (name + "\0").encode("utf-16-le")
    ends = struct.pack("<HBBIII", len(packed), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
    return packed.ljust(64, b"\0") + ends + bytes(36) + struct.pack("<IQ", start, size)
