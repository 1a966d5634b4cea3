"""The tool that the measured turns call."""


async def nothing() -> str:
    """Do nothing."""
    return "done"
