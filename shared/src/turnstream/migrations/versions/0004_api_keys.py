"""API keys, each of which names a tenant."""

from alembic import op

revision = "0004"
down_revision = "0003"

API_KEYS = """
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'), -- fit to stand in a subject of the bus
    name text NOT NULL,            -- what an operator calls it
    hash bytea NOT NULL UNIQUE,    -- SHA-256; the key itself is kept nowhere
    hint text NOT NULL,            -- its first characters, to know it by
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
)
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(API_KEYS)
