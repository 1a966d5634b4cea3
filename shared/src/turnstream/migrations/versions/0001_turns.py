"""Turns, conversations and items. What a turn asks and answers is json, kept as it came: no query looks inside."""

from alembic import op

revision = "0001"
down_revision = None

CONVERSATIONS = """
CREATE TABLE conversations (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    metadata json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""

TURNS = """
CREATE TABLE turns (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'incomplete', 'cancelled')),
    conversation text,             -- the conversation it reads and extends
    previous text,                 -- or the turn that it follows
    request json NOT NULL,         -- the parameters, without the input
    input json NOT NULL,           -- items
    output json,                   -- items; null until the turn is finished
    usage json,
    error json,
    incomplete json,               -- why it is incomplete
    attempt integer NOT NULL DEFAULT 0, -- raised by every claim; every later write of the owner carries it
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
) WITH (fillfactor = 70) -- room beside the row for the updates of a turn's life, which keeps them off the index
"""

ITEMS = """
CREATE TABLE items (
    conversation text NOT NULL REFERENCES conversations ON DELETE CASCADE,
    position bigint GENERATED ALWAYS AS IDENTITY,
    id text NOT NULL,
    turn text NOT NULL,
    data json NOT NULL,
    PRIMARY KEY (conversation, position),
    UNIQUE (conversation, id)
)
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in (CONVERSATIONS, TURNS, ITEMS):
        op.execute(statement)
