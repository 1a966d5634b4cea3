"""Items that no turn made, and responses listed by tenant."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let a conversation hold items that a client put there, and find a tenant's turns in the order of their ids."""
    op.execute("ALTER TABLE items ALTER COLUMN turn DROP NOT NULL")
    op.execute("CREATE INDEX turns_by_tenant ON turns (tenant, id)")
