"""API keys: which tenant's a request is."""

from turnstream.keys.keys import TENANT, WELL_FORMED, Caller, Key, Keys, digest

__all__ = ["TENANT", "WELL_FORMED", "Caller", "Key", "Keys", "digest"]
