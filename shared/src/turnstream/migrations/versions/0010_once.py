"""What happens once: an approval goes to one call, a turn stands at one place, and its time is over at one moment."""

from alembic import op

revision = "0010"
down_revision = "0009"

APPROVALS = """
CREATE TABLE approvals (
    tenant text NOT NULL,
    request text NOT NULL,  -- the item that asked for approval
    turn text NOT NULL,     -- the turn whose call it has gone to: the first one that was begun with it
    step integer NOT NULL,  -- the call's in the turn's journal, which may be gone with its turn; this row stays
    call text NOT NULL,     -- the call's item
    PRIMARY KEY (tenant, request)
)
"""

# Where turns stood that left items in their conversation, and about where those stood that left none: ids sort by time.
PLACES = (
    """
UPDATE turns SET stood_behind = first.position - 1
FROM (SELECT turn, min(position) AS position FROM items WHERE turn IS NOT NULL GROUP BY turn) AS first
WHERE first.turn = turns.id
""",
    """
UPDATE turns SET stood_behind = coalesce((
    SELECT max(position) FROM items WHERE items.conversation = turns.conversation AND items.turn < turns.id
), 0)
WHERE conversation IS NOT NULL AND output IS NOT NULL AND stood_behind IS NULL
""",
)


def upgrade() -> None:
    """Keep what approvals went to, where turns stood in their conversations, and when their time is over."""
    op.execute(APPROVALS)
    # The position of the last item before the turn's own in its conversation, 0 if there was none; null until it ends.
    op.execute("ALTER TABLE turns ADD COLUMN stood_behind bigint")
    for statement in PLACES:
        op.execute(statement)
    # When it was accepted; and when its time is over, where its client has said so or that was found to be past.
    op.execute(
        "ALTER TABLE open_turns ADD COLUMN accepted_at timestamptz NOT NULL DEFAULT now(), ADD COLUMN due timestamptz"
    )
    op.execute("UPDATE open_turns SET accepted_at = created_at FROM turns WHERE turns.id = open_turns.turn")
