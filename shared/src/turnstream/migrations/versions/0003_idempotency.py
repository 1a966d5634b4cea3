"""What tells a request that is sent again from a new one."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Keep a turn's idempotency key, unique in its tenant, and the digest of the body that it came with."""
    op.execute("ALTER TABLE turns ADD COLUMN idempotency_key text, ADD COLUMN fingerprint bytea")
    op.execute("CREATE UNIQUE INDEX turns_by_key ON turns (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL")
