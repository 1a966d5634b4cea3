"""The baseline: a plain Llama Stack server with its stores in PostgreSQL, as its own command runs it."""
