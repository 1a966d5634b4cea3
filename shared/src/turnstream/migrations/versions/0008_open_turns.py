"""What is open apart from what is kept: a narrow table of the turns that are not settled yet, and the journal.

A turn's row is written when it is accepted and when it ends. All that changes in between, and all that a reconciler has
to look through, stands in a small row of `open_turns`, which is gone once the turn's last event is stored.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

OPEN_TURNS = """
CREATE TABLE open_turns (
    turn text PRIMARY KEY,
    tenant text NOT NULL,
    conversation text,                   -- the conversation whose line it stands in
    attempt integer NOT NULL DEFAULT 0,  -- raised by every claim; every later write of the owner carries it
    handovers integer NOT NULL DEFAULT 0, -- attempts that were given up by a worker that was told to stop
    owner text,                          -- who runs it: the worker and its claim, with a slash between
    until timestamptz,                   -- when the owner's lease ends
    finished boolean NOT NULL DEFAULT false, -- whether its row says how it ended; its last event may be missing
    queued_at timestamptz NOT NULL DEFAULT now() -- when a message for it was last put on the queue
) WITH (fillfactor = 60) -- room beside the row for its updates
"""

STEPS = """
CREATE TABLE steps (
    turn text NOT NULL,
    number integer NOT NULL,   -- 0, 1, 2, … over all attempts
    kind text NOT NULL CHECK (kind IN ('model_call', 'tool_call', 'list_tools', 'compaction')),
    name text,                 -- the tool's, or the server's
    attempt integer NOT NULL,  -- that began it
    state text NOT NULL CHECK (state IN ('started', 'finished', 'uncertain')),
    digest bytea NOT NULL,     -- SHA-256 of what went in
    items json,                -- the output items that it made
    usage json,                -- of the model calls that it made
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (turn, number)
)
"""


def upgrade() -> None:
    """Move what changes while a turn is open out of its row."""
    op.execute(OPEN_TURNS)
    op.execute(STEPS)
    op.execute(
        "INSERT INTO open_turns (turn, tenant, conversation, attempt, handovers)"
        " SELECT id, tenant, conversation, attempt, handovers FROM turns WHERE output IS NULL"
    )
    op.execute("UPDATE turns SET status = 'queued' WHERE status = 'running'")
    op.execute(
        "ALTER TABLE turns DROP COLUMN attempt, DROP COLUMN handovers, DROP COLUMN lease_owner, DROP COLUMN lease_until"
    )
    # What its client gave a turn for tools and providers, encrypted, gone when it ends; and whether its conversation
    # keeps what it had finished when it was cancelled.
    op.execute("ALTER TABLE turns ADD COLUMN secrets bytea, ADD COLUMN kept boolean NOT NULL DEFAULT false")
    # The turns of a conversation that have not ended, in the order in which they run: the first one may.
    op.execute("ALTER TABLE conversations ADD COLUMN line text[] NOT NULL DEFAULT '{}'")
    op.execute(
        "UPDATE conversations SET line = waiting.turns FROM ("
        " SELECT conversation, array_agg(turn ORDER BY turn) AS turns FROM open_turns"
        " WHERE conversation IS NOT NULL GROUP BY conversation"
        ") AS waiting WHERE waiting.conversation = conversations.id"
    )
