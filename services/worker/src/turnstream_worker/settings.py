"""The worker's settings."""

from pathlib import Path

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt, SecretStr

from turnstream.settings import FetchSettings, Settings

# Beside the code in a checkout; an image or another place is named by the setting.
_RUN_YAML = Path(__file__).parents[4] / "deploy" / "llama-stack" / "run.yaml"


class WorkerSettings(Settings, FetchSettings):
    """How a worker takes and runs turns."""

    concurrency: PositiveInt = Field(32, description="turns a worker runs at a time")
    pass_through: PositiveInt = Field(64, description="calls straight to a model that a worker carries at a time")
    lease: PositiveFloat = Field(15, description="seconds a turn is a worker's without a sign of life")
    heartbeat: PositiveFloat = Field(5, description="seconds between two signs of life")
    beat: PositiveFloat = Field(0.5, description="seconds between two beats, by which workers know of each other")
    dead_after: PositiveFloat = Field(2, description="seconds of silence after which a worker's turns are taken over")
    sweep: PositiveFloat = Field(2, description="seconds between two searches for turns that were lost")
    lost_after: PositiveFloat = Field(
        5, description="seconds after which a turn that the queue should have given is lost"
    )
    max_attempts: PositiveInt = Field(3, description="times a turn is begun before it fails")
    run_yaml: Path = Field(_RUN_YAML, description="Llama Stack's configuration, for the embedded stack")
    llama_stack_url: str | None = Field(
        None,
        description="a Llama Stack server to use instead of the embedded one",
        validation_alias=AliasChoices("LLAMA_STACK_URL", "TURNSTREAM_LLAMA_STACK_URL"),
    )
    model_timeout: PositiveFloat = Field(120, description="seconds a model may stay silent")
    deadline: PositiveFloat = Field(86_400, description="seconds a turn may take from its acceptance")
    max_model_calls: PositiveInt = Field(50, description="times a turn may ask its model")
    tools_at_a_time: PositiveInt = Field(16, description="calls of tools that a turn may have under way")
    max_journal: PositiveInt = Field(3 << 20, description="bytes of steps after which a turn goes no further")
    model_tries: PositiveInt = Field(3, description="times a model is asked whose provider says to try again")
    max_history: PositiveInt = Field(64 << 20, description="bytes of earlier items that a turn may read")
    max_output: PositiveInt = Field(1 << 20, description="characters of text and arguments a turn may produce")
    attachments: PositiveInt = Field(50, description="images, files and videos a turn may hold with its conversation")
    attachment_limit: PositiveInt = Field(20 << 20, description="bytes one of them may have")
    attachments_limit: PositiveInt = Field(32 << 20, description="bytes all of a turn's may have together")
    tools_yaml: Path | None = Field(
        None, description="the operator's own tools, which clients may have their models call"
    )
    tool_timeout: PositiveFloat = Field(120, description="seconds a tool may take")
    tool_output: PositiveInt = Field(256 << 10, description="bytes a tool may return")
    tool_threads: PositiveInt = Field(16, description="the operator's tools that run at a time and are not async")
    mcp_timeout: PositiveFloat = Field(20, description="seconds to connect to an MCP server, and to list its tools")
    mcp_connections: PositiveInt = Field(256, description="MCP servers a worker is connected to at a time")
    mcp_idle: PositiveFloat = Field(
        60, description="seconds that a worker stays connected to an MCP server without use"
    )
    brave_search_api_key: SecretStr | None = Field(
        None,
        description="Brave's key for web searches, of requests that bring none",
        validation_alias=AliasChoices("TURNSTREAM_BRAVE_SEARCH_API_KEY", "BRAVE_SEARCH_API_KEY"),
    )
    tavily_search_api_key: SecretStr | None = Field(
        None,
        description="Tavily's key for web searches, of requests that bring none",
        validation_alias=AliasChoices("TURNSTREAM_TAVILY_SEARCH_API_KEY", "TAVILY_SEARCH_API_KEY"),
    )
