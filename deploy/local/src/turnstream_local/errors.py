"""What can go wrong on one machine, each with the exit code that the command ends with.

LocalError
├── PortTakenError
├── DataDirectoryInUseError
├── DirectoryNotReachableError
├── MissingProgramError
├── NothingThereError
├── ChildFailedError
├── GatewayError
└── TurnFailedError
    └── KeyNeededError
"""

from typing import ClassVar


class LocalError(Exception):
    """Turnstream cannot run here; the message tells the operator why and what to do."""

    exit_code: ClassVar[int] = 1


class PortTakenError(LocalError):
    """Another program listens on a port that the operator asked for."""

    exit_code = 2


class DataDirectoryInUseError(LocalError):
    """Another `turnstream up` runs on the same data directory."""

    exit_code = 2


class DirectoryNotReachableError(LocalError):
    """A directory is not private enough, or too private for the account that has to enter it."""

    exit_code = 2


class MissingProgramError(LocalError):
    """A file that Turnstream needs is not part of this installation."""

    exit_code = 2


class NothingThereError(LocalError):
    """A data directory holds no installation."""

    exit_code = 2


class ChildFailedError(LocalError):
    """A child ended, or was not ready in time."""


class GatewayError(LocalError):
    """A gateway does not do what it was asked for, or is not there."""


class TurnFailedError(LocalError):
    """A turn did not stream as promised, or there is no model to ask."""


class KeyNeededError(TurnFailedError):
    """The gateway asks for an API key, of which only its owner knows more than a digest."""
