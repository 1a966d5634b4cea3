"""One version of a prompt: a template, and the text that it becomes when its variables have values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turnstream.errors import InvalidRequestError
from turnstream_gateway.items import InputFile, InputImage, InputText
from turnstream_gateway.prompt_reference import Value

RENDERED_LIMIT = 128 << 10  # characters: a placeholder may stand in a template often, and its value be long each time

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")  # as Llama Stack reads them


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt with its variables' values."""

    text: str
    media: list[dict[str, Any]]  # the images and files, in the order in which the text names them
    version: int  # the one that was used


@dataclass(frozen=True, slots=True)
class Prompt:
    """A version of a prompt. It never changes, but for being the default."""

    id: str
    version: int
    template: str
    variables: list[str]  # every placeholder's name is among them
    is_default: bool

    def resource(self) -> dict[str, Any]:
        """Return it as Llama Stack's API shows it."""
        return {
            "prompt_id": self.id,
            "version": self.version,
            "prompt": self.template,
            "variables": self.variables,
            "is_default": self.is_default,
        }

    def render(self, values: Mapping[str, Value]) -> RenderedPrompt:
        """Return the prompt with values for its variables; what a value holds is not substituted again.

        An image or a file leaves a marker in the text, as `[image: name]`. Raises InvalidRequestError if a variable is
        not declared, if a placeholder has no value, or if the text would have more than RENDERED_LIMIT characters.
        """
        used = placeholders(self.template)
        if undeclared := [name for name in values if name not in self.variables]:
            message = f"The prompt does not declare these variables: {', '.join(undeclared)}."
            raise InvalidRequestError(message, code="undeclared_prompt_variables", param="prompt.variables")
        if missing := [name for name in used if name not in values]:
            message = f"The prompt needs values for these variables: {', '.join(missing)}."
            raise InvalidRequestError(message, code="missing_prompt_variables", param="prompt.variables")
        ordered = {name: values[name] for name in (*used, *values)}
        text = _substituted(self.template, {name: _text(name, value) for name, value in ordered.items()})
        media = [value.part() for value in ordered.values() if isinstance(value, InputImage | InputFile)]
        return RenderedPrompt(text, media, self.version)


def placeholders(template: str) -> list[str]:
    """Return the names in a template's placeholders, `{{ name }}`, each once, in the order of the text."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(template)))


def _text(name: str, value: Value) -> str:
    match value:
        case str():
            return value
        case InputText():
            return value.text
        case InputImage():
            return f"[image: {name}]"
        case InputFile():
            return f"[file: {name}]"


def _substituted(template: str, texts: dict[str, str]) -> str:
    # Counted first: a short request can ask for a text that does not fit into memory.
    length = len(template) + sum(len(texts[found[1]]) - len(found[0]) for found in _PLACEHOLDER.finditer(template))
    if length > RENDERED_LIMIT:
        message = f"With these values the prompt has {length} characters; it may have {RENDERED_LIMIT}."
        raise InvalidRequestError(message, code="prompt_too_long", param="prompt.variables")
    return _PLACEHOLDER.sub(lambda found: texts[found[1]], template)
