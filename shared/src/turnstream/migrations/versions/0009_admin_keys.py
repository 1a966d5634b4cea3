"""API keys that are an operator's."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Say of each key whether it is good for the admin API; none that there is was made for that."""
    op.execute("ALTER TABLE api_keys ADD COLUMN admin boolean NOT NULL DEFAULT false")
