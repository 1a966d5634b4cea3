"""The map of the bus: every stream, consumer and subject, in one place. Only tenants and ids stand in a subject."""

from dataclasses import dataclass

DAY = 86_400  # seconds

UNSTORED_AGE = 3600  # seconds that the events of a turn which is not to be stored are kept, for its reader
DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream stream as it is provisioned."""

    name: str
    subjects: tuple[str, ...]
    work_queue: bool  # a message leaves when it is acknowledged; else it stays until `max_age`
    max_age: float = 0  # seconds; 0 keeps for ever
    max_bytes: int = -1  # of the whole stream; -1 is unbounded
    max_per_subject: int = -1  # messages of one subject, of which a newer one takes the place of the oldest
    discard_new: bool = False  # when full, refuse the newest instead of dropping the oldest
    republish: tuple[str, str] | None = None  # source and destination, after the message is stored
    message_ages: bool = False  # whether a message can say how long it is kept itself


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable pull consumer as it is provisioned.

    It has no limit of deliveries: the turn's row counts attempts, so that the last one ends visibly instead of the
    message being left behind in the stream.
    """

    stream: str
    name: str
    subject: str


TURNS = Stream("TURNS", ("turns.>",), work_queue=True, max_bytes=1 << 30, discard_new=True)
EVENTS = Stream(
    "EVENTS",
    ("events.>",),
    work_queue=False,
    max_age=3 * DAY,
    max_bytes=8 << 30,
    republish=("events.>", "live.>"),
    message_ages=True,
)
# What was given up, one letter for each turn: a letter that is filed again takes the place of the one before.
DEAD = Stream("DEAD", ("dead.turns.>",), work_queue=False, max_age=30 * DAY, max_bytes=256 << 20, max_per_subject=1)
STREAMS = (TURNS, EVENTS, DEAD)

INTERACTIVE = Consumer("TURNS", "interactive", "turns.interactive.>")
CONSUMERS = (INTERACTIVE,)

STACK_MODELS = "stack.models"
STACK_PROVIDERS = "stack.providers"
INFERENCE = "stack.inference.*"
QUESTIONS = "stack.questions.*"
COUNT_TOKENS = "stack.questions.count_tokens"
COMPACT = "stack.questions.compact"

# The last word of a worker's beat: that it lives, that it does and the store does not answer it, that it has left in
# order.
HERE, BLIND, GONE = "here", "blind", "gone"

# Streamed answers, and what their askers say meanwhile; each process has subjects of its own below these. They are no
# inboxes: into another's inbox NATS lets a service answer once, and within two minutes.
STREAM_ANSWERS = "streams.answers"
STREAM_WORDS = "streams.words"


def inference(operation: str) -> str:
    """Return the subject of calls that are passed through to a model: `chat/completions`, as their path says."""
    return f"stack.inference.{operation}"


def turns(tenant: str) -> str:
    """Return the subject that a tenant's new turns are queued on."""
    return f"turns.interactive.{tenant}"


def events(tenant: str, turn: str) -> str:
    """Return the subject of a turn's log."""
    return f"events.{tenant}.{turn}"


def dead(tenant: str, turn: str) -> str:
    """Return the subject of a turn's dead letter; a star for either means any."""
    return f"dead.turns.{tenant}.{turn}"


def live(tenant: str, turn: str) -> str:
    """Return the subject that a turn's log is republished on once an event is stored."""
    return f"live.{tenant}.{turn}"


def cancel(turn: str) -> str:
    """Return the subject that tells a turn's worker to stop it."""
    return f"control.cancel.{turn}"


def beat(worker: str, word: str) -> str:
    """Return the subject that a worker says on that it is HERE, BLIND or GONE."""
    return f"control.beat.{worker}.{word}"


def reader(turn: str) -> str:
    """Return the subject that who reads a turn is present on, if the turn ends with its readers."""
    return f"control.reader.{turn}"
