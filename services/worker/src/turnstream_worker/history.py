"""What came before a turn, for a model to read."""

from turnstream.errors import ConversationGoneError, HistoryTooLongError, PreviousGoneError, TurnError
from turnstream.store import Store
from turnstream.turns import Item, Turn


async def read_history(store: Store, turn: Turn, limit: int) -> list[Item]:
    """Return the items before a turn's own, `limit` bytes at most; raise TurnError if that cannot be done."""
    try:
        return await store.history(turn, limit)
    except HistoryTooLongError as error:
        message = "What came before the turn is more than a turn may read."
        raise TurnError(message, code="context_length_exceeded", status=400) from error
    except ConversationGoneError as error:
        message = "The conversation was deleted before the turn ran."
        raise TurnError(message, code="conversation_not_found", status=404) from error
    except PreviousGoneError as error:
        message = "A response that the turn follows was deleted before the turn ran."
        raise TurnError(message, code="previous_response_not_found", status=404) from error
