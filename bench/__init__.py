"""Turnstream and a plain Llama Stack server under the same load, in one run: `python -m bench`."""
