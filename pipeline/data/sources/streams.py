"""From the bytes of a file to numbered lines of text, a block at a time: decompressed, decoded, and bounded.

What a file is shows in its first bytes, not in its name: gzip, zstd, UTF-8 with or without a byte order mark, or UTF-16
with one. A line ends with LF, CRLF or CR, whichever comes. Bytes that are not UTF-8 become lone surrogates.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from backports import zstd

from pipeline.errors import SourceError

CHUNK = 2**20
# The longest line that is read; a longer one is a fault with its beginning as text.
LONGEST = 32 * 2**20
BEGINNING = 1000
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)


class Block(NamedTuple):
    """Whole lines with their ends, of which `first` is the number of the first, and their size in bytes.

    A line above `LONGEST` bytes has a block of its own, is `cut`, and holds its beginning only.
    """

    first: int
    lines: list[str]
    size: int
    cut: bool = False


def blocks(stream: io.BufferedReader, address: str, encoding: str = "auto") -> Iterator[Block]:
    """Yield the lines of a file.

    Args:
        stream: BufferedReader. Its bytes.
        address: str. Of the file, for errors.
        encoding: str. A codec; auto is what the first bytes show.

    Raises:
        SourceError: the file, at `address`, ends or breaks in the middle; the message names the line.
    """
    number = 1
    pending: list[bytes] = []
    waiting = 0  # bytes of the line whose end has not come, of which `pending` keeps at most about `LONGEST`
    chunks = _chunks(stream, encoding)
    while True:
        try:
            chunk = next(chunks, b"")
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{address}:{number}: from this line on the file is not {encoding} ({error}); set "
                "data.sources.SOURCE.encoding to what it is, such as latin-1 or utf-8; default: auto"
            ) from error
        except BROKEN as error:
            raise SourceError(
                f"{address}:{number}: the file breaks off or is damaged in this line ({error}); it was perhaps not "
                "copied to its end: copy or write it again"
            ) from error
        end = _whole_lines(chunk) if chunk else 0
        if chunk and not end:
            if waiting <= LONGEST:
                pending.append(chunk)
            waiting += len(chunk)
            continue
        for block in _closed(pending, waiting, chunk[:end], number):
            yield block
            number += len(block.lines)
        pending, waiting = [chunk[end:]], len(chunk) - end
        if not chunk:
            return


def fault_of(block: Block, file: str) -> str:
    """Return what a block that was cut says of its line."""
    return f"too long: a line of {block.size:,} bytes, of which at most {LONGEST:,} are read ({file}:{block.first})"


def _closed(pending: list[bytes], waiting: int, rest: bytes, number: int) -> Iterator[Block]:
    """Yield the lines that `rest` completes; only the first can be too long, because `rest` is short."""
    if waiting + len(rest) > LONGEST:
        first = rest[: _first_line(rest)]
        if (size := waiting + len(first)) > LONGEST:
            beginning = bytes(islice(chain.from_iterable([*pending, first]), BEGINNING))
            yield Block(number, [beginning.decode("utf-8", "surrogateescape") + "\n"], size, cut=True)
            pending, rest, number = [], rest[len(first) :], number + 1
    data = b"".join([*pending, rest])
    pending.clear()
    if data:
        text = data.decode("utf-8", "surrogateescape")
        yield Block(number, list(io.StringIO(text, newline="")), len(data))


def _whole_lines(chunk: bytes) -> int:
    """Return where the last whole line ends; a CR at the very end may be half of a CRLF."""
    return chunk.rfind(b"\n") + 1 or chunk.rfind(b"\r", 0, -1) + 1


def _first_line(data: bytes) -> int:
    """Return where the first line ends."""
    line = next(iter(data.splitlines(keepends=True)), b"")
    return len(line)


def _chunks(stream: io.BufferedReader, encoding: str) -> Iterator[bytes]:
    """Yield the file's content as UTF-8, without a byte order mark."""
    content = _decompressed(stream)
    if encoding != "auto":
        decoder = codecs.getincrementaldecoder(encoding)()
        while chunk := content.read1(CHUNK):
            if text := decoder.decode(chunk):
                yield text.encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
        return
    head = b""
    while len(head) < len(codecs.BOM_UTF8) and (more := content.read1(CHUNK)):
        head += more
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        while head:
            if text := decoder.decode(head):
                yield text.encode("utf-8", "surrogatepass")
            head = content.read1(CHUNK)
        decoder.decode(b"", final=True)
        return
    head = head.removeprefix(codecs.BOM_UTF8) or content.read1(CHUNK)
    while head:
        yield head
        head = content.read1(CHUNK)


def _decompressed(stream: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile | zstd.ZstdFile:
    head = stream.peek(len(ZSTD))
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=stream)
    return zstd.ZstdFile(stream) if head.startswith(ZSTD) else stream
