"""The model of a turn, by which responses are listed."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Take it out of the parameters, in which Postgres cannot look for it once one of them holds a NUL."""
    op.execute("ALTER TABLE turns ADD COLUMN model text")
    op.execute(r"UPDATE turns SET model = request ->> 'model' WHERE position('\u0000' IN request::text) = 0")
