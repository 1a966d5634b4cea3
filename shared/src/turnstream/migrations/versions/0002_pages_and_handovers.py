"""Items that no turn made, responses listed by tenant, and attempts that ended in a handover."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let a conversation hold a client's own items, list a tenant's turns by id, and count handovers."""
    op.execute("ALTER TABLE items ALTER COLUMN turn DROP NOT NULL")
    op.execute("ALTER TABLE turns ADD COLUMN handovers integer NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX turns_by_tenant ON turns (tenant, id)")
