"""Vectors for texts: the sum of what each word hashes to, so that texts with words in common lie close together."""

import base64
import math
import re
import struct
from functools import lru_cache
from hashlib import shake_256
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from turnstream_local.stand_in.chat_request import Wire, bad_body

DIMENSIONS = 384
"""Of a vector, unless the request says otherwise; run.yaml says so too."""
WORD = re.compile(r"\w+")

type Tokens = list[int]


class EmbeddingsRequest(Wire):
    """One request for embeddings."""

    model: str
    input: Annotated[str | list[str] | Tokens | list[Tokens], Field(min_length=1)]
    dimensions: Annotated[int, Field(ge=1, le=4096)] = DIMENSIONS
    encoding_format: Literal["float", "base64"] = "float"

    @property
    def texts(self) -> list[str]:
        """The texts to embed; tokens are read as words."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [" ".join(map(str, self.input))]
        return [part if isinstance(part, str) else " ".join(map(str, part)) for part in self.input]


def parse_embeddings_request(body: Any) -> EmbeddingsRequest:
    """Check a body; ApiError says which field is wrong."""
    try:
        return EmbeddingsRequest.model_validate(body)
    except ValidationError as error:
        raise bad_body(error) from error


def embeddings(request: EmbeddingsRequest) -> dict[str, Any]:
    """Build the body of the answer."""
    vectors = [embed(text, request.dimensions) for text in request.texts]
    tokens = sum(len(WORD.findall(text)) for text in request.texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, request.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """Return a text's vector, of length one."""
    words = WORD.findall(text.lower()) or [""]
    total = [sum(values) for values in zip(*(_hashed(word, dimensions) for word in words), strict=True)]
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / length for value in total]


@lru_cache(maxsize=4096)
def _hashed(word: str, dimensions: int) -> tuple[int, ...]:
    return struct.unpack(f"{dimensions}b", shake_256(word.encode()).digest(dimensions))


def _encoded(vector: list[float], form: str) -> list[float] | str:
    if form == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
