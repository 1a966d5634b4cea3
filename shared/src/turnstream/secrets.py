"""What a client sends along with a turn for its tools and providers alone: headers, tokens, keys.

It is sealed before it is stored, with a key that the database does not hold, and bound to its turn.
"""

from base64 import b64decode, b64encode
from binascii import Error
from secrets import token_bytes
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from turnstream.errors import SecretsUnreadableError

KEY_BYTES = 32  # AES-256
NONCE_BYTES = 12  # as NIST SP 800-38D has it
VERSION = b"\x01"  # of what is before and behind it


class Secrets:
    """Seals turns' secrets by AES-GCM, with the first of some keys; opens them with whichever of the keys it was."""

    def __init__(self, keys: SecretStr | None) -> None:
        """Take the keys as the setting has them: base64 of 32 bytes each, with commas between. Raises ValueError."""
        texts = keys.get_secret_value().split(",") if keys else []
        self._ciphers = [AESGCM(_key(text)) for text in texts if text]

    @property
    def configured(self) -> bool:
        """Whether there is a key; without one nothing can be sealed."""
        return bool(self._ciphers)

    def seal(self, turn: str, value: dict[str, Any]) -> bytes:
        """Return a turn's secrets, which are JSON, so that only `open` for the same turn reads them."""
        nonce = token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._ciphers[0].encrypt(nonce, orjson.dumps(value), turn.encode())

    def open(self, turn: str, sealed: bytes) -> dict[str, Any]:
        """Return the secrets that were sealed for a turn; raise SecretsUnreadableError if no key opens them."""
        version, nonce, ciphertext = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        for cipher in self._ciphers if version == VERSION else ():
            try:
                value: dict[str, Any] = orjson.loads(cipher.decrypt(nonce, ciphertext, turn.encode()))
            except (InvalidTag, ValueError):
                continue
            return value
        raise SecretsUnreadableError(f"no key of this process opens the secrets of {turn}")


def new_key() -> str:
    """Return a new random key, as the setting takes it."""
    return b64encode(token_bytes(KEY_BYTES)).decode()


def _key(text: str) -> bytes:
    try:
        key = b64decode(text.strip(), validate=True)
    except (Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        # Without the text itself, and without the error that quotes it: both would end in the log.
        raise ValueError(f"a key of TURNSTREAM_SECRETS_KEY is not {KEY_BYTES} bytes in base64") from None
    return key
