"""A Python function's signature as a model sees it: a JSON schema, and arguments that are checked by it."""

import inspect
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from turnstream_worker.tools.tool import ToolError

KEY = "idempotency_key"  # a parameter that is the caller's to fill in, not the model's

_BY_KEYWORD = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


class Signature:
    """What a function takes. Its annotations are pydantic's; whatever has none takes any value."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Read a function's signature; raise TypeError if it cannot be called by keywords alone."""
        parameters = inspect.signature(function).parameters
        if unfit := [name for name, parameter in parameters.items() if parameter.kind not in _BY_KEYWORD]:
            raise TypeError(f"a tool's parameters have a name and can be given by it; {unfit[0]!r} cannot")
        hints = get_type_hints(function, include_extras=True)
        fields = {
            name: hints.get(name, Any) if parameter.default is parameter.empty else NotRequired[hints.get(name, Any)]
            for name, parameter in parameters.items()
            if name != KEY
        }
        arguments = with_config(ConfigDict(extra="forbid"))(TypedDict("Arguments", fields))  # type: ignore[operator] # its fields are known at run time only
        self._arguments = TypeAdapter[dict[str, Any]](arguments)
        self._takes_key = KEY in parameters
        self.schema = self._arguments.json_schema()

    def bind(self, arguments: dict[str, Any], key: str) -> dict[str, Any]:
        """Return what to call the function with; raise ToolError if the arguments are not what it takes."""
        try:
            bound = self._arguments.validate_python(arguments)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ToolError(f"Invalid argument '{where}': {first['msg']}.", reason="bad_arguments") from error
        return {**bound, KEY: key} if self._takes_key else bound
