"""What a turn asks, as the request of a chat completion."""

from typing import Any

from turnstream_worker.messages import Message

# Parameters that a chat completion takes by the same name.
SAME_NAME = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
LOGPROBS = "message.output_text.logprobs"


def chat_request(asked: dict[str, Any], messages: list[Message]) -> dict[str, Any]:
    """Return the request; what the API does not know comes first, so that it can replace nothing that it does."""
    request: dict[str, Any] = {
        **asked.get("provider", {}),
        "model": asked["model"],
        "messages": messages,
        **{name: asked[name] for name in SAME_NAME if name in asked},
        **_text(asked.get("text", {})),
        **_tools(asked),
    }
    if "max_output_tokens" in asked:
        request["max_tokens"] = asked["max_output_tokens"]
    if effort := asked.get("reasoning", {}).get("effort"):
        request["reasoning_effort"] = effort
    if asked.get("service_tier", "auto") != "auto":
        request["service_tier"] = asked["service_tier"]
    if wants_logprobs(asked):
        request["logprobs"] = True
        request["top_logprobs"] = asked.get("top_logprobs", 0)
    return request


def wants_logprobs(asked: dict[str, Any]) -> bool:
    """Tell whether the probabilities of the tokens are asked for."""
    return LOGPROBS in asked.get("include", ()) or asked.get("top_logprobs", 0) > 0


def _text(text: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {}
    if "verbosity" in text:
        request["verbosity"] = text["verbosity"]
    match text.get("format", {"type": "text"}):
        case {"type": "json_object"}:
            request["response_format"] = {"type": "json_object"}
        case {"type": "json_schema"} as wanted:
            schema = {
                name: wanted[name] for name in ("name", "description", "schema", "strict") if wanted[name] is not None
            }
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def _tools(asked: dict[str, Any]) -> dict[str, Any]:
    tools, choice = asked.get("tools", []), asked.get("tool_choice", "auto")
    # Few servers know choices that are objects, and some take them for "auto" in silence. All do what these say if they
    # never see the other tools.
    match choice:
        case {"type": "allowed_tools", "tools": allowed, "mode": mode}:
            names, choice = {tool["name"] for tool in allowed}, mode
            tools = [tool for tool in tools if tool["name"] in names]
        case {"name": name}:
            tools, choice = [tool for tool in tools if tool["name"] == name], "required"
    if not tools or choice == "none":
        return {}
    request: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if "tool_choice" in asked:
        request["tool_choice"] = choice
    if "parallel_tool_calls" in asked:  # with tools alone: OpenAI's API refuses it without them
        request["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return request


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if _has_grammar(tool):
        wanted = tool["format"]
        grammar = {"syntax": wanted["syntax"], "definition": wanted["definition"]}
        custom = {"name": tool["name"], "description": tool["description"] or ""}
        return {"type": "custom", "custom": {**custom, "format": {"type": "grammar", "grammar": grammar}}}
    if tool["type"] == "custom":
        # Chat completions know custom tools at few providers. A function of one text is the same to a model.
        parameters = {
            "type": "object",
            "properties": {"input": {"type": "string"}},
            "required": ["input"],
            "additionalProperties": False,
        }
        function = {"name": tool["name"], "description": tool["description"], "parameters": parameters}
    else:
        function = {name: tool[name] for name in ("name", "description", "parameters", "strict")}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _has_grammar(tool: dict[str, Any]) -> bool:
    """Tell whether only the provider itself can hold the model to a tool's format."""
    return tool["type"] == "custom" and (tool["format"] or {}).get("type") == "grammar"
