"""The tools that a worker runs itself: those of MCP servers, the web search, and the operator's own in Python."""
