"""The beginnings of images, as far as anybody looks at them who does not decode them."""

from struct import pack


def png(width: int = 2, height: int = 3) -> bytes:
    """Make a PNG's signature and header."""
    return b"\x89PNG\r\n\x1a\n" + pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def gif(width: int = 2, height: int = 3) -> bytes:
    """Make a GIF's header."""
    return b"GIF89a" + pack("<HH", width, height) + bytes(3)


def jpeg(width: int = 2, height: int = 3, *segments: bytes, frame: int = 0xC0) -> bytes:
    """Make a JPEG up to its frame, with segments before it."""
    header = b"\xff\xd8" + b"".join(segments or [segment(0xE0, b"JFIF\0" + bytes(9))])
    return header + segment(frame, pack(">BHH", 8, height, width) + bytes(10))


def segment(marker: int, content: bytes) -> bytes:
    """Make a JPEG's segment."""
    return pack(">BBH", 0xFF, marker, len(content) + 2) + content


def webp(chunk: bytes, content: bytes) -> bytes:
    """Make a WebP's first chunk."""
    return b"RIFF" + pack("<I", len(content) + 12) + b"WEBP" + chunk + pack("<I", len(content)) + content


def lossy_webp(width: int = 2, height: int = 3) -> bytes:
    """Make a WebP of a VP8 frame; the two bits above each side are a scale."""
    return webp(b"VP8 ", b"\x10\x02\x00\x9d\x01\x2a" + pack("<HH", width | 0x4000, height | 0x8000))


def lossless_webp(width: int = 2, height: int = 3) -> bytes:
    """Make a WebP of a VP8L image; the bits above its sides say whether it is transparent."""
    return webp(b"VP8L", b"\x2f" + pack("<I", (width - 1) | (height - 1) << 14 | 1 << 28))


def extended_webp(width: int = 2, height: int = 3) -> bytes:
    """Make a WebP with features."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", bytes(4) + sides)
