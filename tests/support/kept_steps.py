"""A journal in memory, for tests of what is written into one."""

from collections.abc import Sequence

from turnstream.steps import ApprovedCall, Step
from turnstream.turns import Turn


class KeptSteps:
    """Keeps the steps of one turn, as the store does."""

    def __init__(self, *steps: Step) -> None:
        self.approvals: dict[str, ApprovedCall] = {}  # that have gone to other turns' calls
        self.kept = {step.number: step for step in steps}
        self.writes: list[list[Step]] = []  # what was written together

    async def journal(self, turn: Turn, steps: Sequence[Step]) -> None:  # noqa: ARG002 - of one turn
        """Write steps."""
        self.writes.append(list(steps))
        self.kept |= {step.number: step for step in steps}

    async def steps(self, turn: str) -> list[Step]:  # noqa: ARG002 - of one turn
        """Return the steps in order."""
        return [self.kept[number] for number in sorted(self.kept)]

    async def approved(self, tenant: str, request: str) -> ApprovedCall | None:  # noqa: ARG002 - of one tenant
        """Return the call that an approval has gone to."""
        return self.approvals.get(request)
