"""What the two ends of a streamed answer say to each other, and how long they wait for it.

The answering end sends frames: a kind, the number of data frames before it, a line break, and a body. The asking end
sends back how many bytes it has read, in decimal, or CANCEL.
"""

DATA, END = b"D", b"E"
FAILURE = b"F"  # an end too; its body is the error
ALIVE = b"A"  # says nothing but that
BUSY = b"B"  # instead of an answer: this process is full and has left the group, another may have room
CANCEL = b"cancel"

WINDOW = 256 << 10  # bytes that may be on their way, unread: what a slow reader costs either end
READ = WINDOW // 2  # bytes behind which the asking end says how much it has read
FRAME = WINDOW // 4  # bytes of a body; with READ less than the window, so that neither end waits for the other
HEARTBEAT = 0.5  # seconds of silence behind which an answering end shows that it is alive
SILENCE = 5.0  # seconds behind which the asking end gives it up
STALL = 60.0  # seconds that an answer waits to be read


def frame(kind: bytes, number: int, body: bytes = b"") -> bytes:
    """Return a frame's bytes."""
    return b"%b%d\n%b" % (kind, number, body)


def parse(data: bytes) -> tuple[bytes, int, bytes]:
    """Return a frame's kind, number and body."""
    head, _, body = data.partition(b"\n")
    return head[:1], int(head[1:]), body
