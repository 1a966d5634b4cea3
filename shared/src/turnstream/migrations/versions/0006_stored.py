"""Turns that are not to be stored, the service tier that a turn got, and the key of what clients keep sealed."""

import secrets

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"

SEALING_KEY_BYTES = 32


def upgrade() -> None:
    """Mark turns, note their tier, and make a key."""
    op.execute("ALTER TABLE turns ADD COLUMN stored boolean NOT NULL DEFAULT true, ADD COLUMN service_tier text")
    op.execute("CREATE TABLE secrets (name text PRIMARY KEY, value bytea NOT NULL)")
    insert = text("INSERT INTO secrets (name, value) VALUES ('sealing', :value)")
    op.execute(insert.bindparams(value=secrets.token_bytes(SEALING_KEY_BYTES)))
