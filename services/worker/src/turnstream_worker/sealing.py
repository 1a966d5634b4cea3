"""What a client keeps for us and cannot read or change: reasoning, and what a conversation was summed up to."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12  # as NIST SP 800-38D has it
VERSION = "ts1."


class Sealing:
    """Seals texts by AES-GCM with the deployment's key, each for one tenant."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, tenant: str, text: str) -> str:
        """Return a text so that only `open` for the same tenant reads it."""
        nonce = token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(errors="surrogatepass"), tenant.encode())
        return VERSION + urlsafe_b64encode(nonce + sealed).decode()

    def open(self, tenant: str, sealed: str) -> str | None:
        """Return a text that was sealed for a tenant; None if it was not, or is not ours at all."""
        if not sealed.startswith(VERSION):
            return None
        try:
            raw = urlsafe_b64decode(sealed.removeprefix(VERSION))
            text = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], tenant.encode())
        except (ValueError, InvalidTag):
            return None
        return text.decode(errors="surrogatepass")
