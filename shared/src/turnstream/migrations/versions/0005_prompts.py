"""Prompts and their versions."""

from alembic import op

revision = "0005"
down_revision = "0004"

PROMPTS = """
CREATE TABLE prompts (
    tenant text NOT NULL,
    id text NOT NULL,
    default_version integer NOT NULL, -- what is meant where no version is named
    PRIMARY KEY (tenant, id)
)
"""

VERSIONS = """
CREATE TABLE prompt_versions (
    tenant text NOT NULL,
    prompt text NOT NULL,
    version integer NOT NULL CHECK (version >= 1), -- without a gap
    template text NOT NULL,
    variables text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, prompt, version),
    FOREIGN KEY (tenant, prompt) REFERENCES prompts ON DELETE CASCADE
)
"""


def upgrade() -> None:
    """Create the tables."""
    for statement in (PROMPTS, VERSIONS):
        op.execute(statement)
