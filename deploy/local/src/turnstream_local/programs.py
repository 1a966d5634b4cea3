"""The commands and environments of Turnstream's own processes."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from turnstream_local.child import Program
from turnstream_local.errors import MissingProgramError
from turnstream_local.ports import LOOPBACK

GRACE = float(os.environ.get("TURNSTREAM_GRACE", "5"))  # seconds that turns go on for when everything is stopped
KILL_AFTER = GRACE + 15.0  # seconds until a process that was told to stop is killed; it bounds itself before that
SECRETS_KEY = "TURNSTREAM_SECRETS_KEY"
# Any of these names a real model; with none of them the stand-in answers.
MODEL_SETTINGS = ("OPENAI_API_KEY", "TOGETHER_API_KEY", "OLLAMA_URL", "VLLM_URL", "LLAMA_STACK_URL")


@dataclass(frozen=True)
class Commands:
    """The command lines; addresses and passwords come in the environment, which other users cannot read."""

    gateway: tuple[str, ...] = (sys.executable, "-m", "turnstream_gateway")
    worker: tuple[str, ...] = (sys.executable, "-m", "turnstream_worker")
    stand_in: tuple[str, ...] = (sys.executable, "-m", "turnstream_local.stand_in")
    provision: tuple[str, ...] = (sys.executable, "-m", "turnstream.provision")


@dataclass(frozen=True)
class Programs:
    """Turnstream's own processes, as programs to start."""

    commands: Commands
    postgres_dsn: str
    secrets_key: str = ""

    def provision(self, nats_url: str) -> Program:
        """Create streams, consumers and tables, then end."""
        return Program("provision", self.commands.provision, self._environment(nats_url))

    def gateway(self, nats_url: str, port: int) -> Program:
        """Answer HTTP on a port of the loopback interface."""
        address = {"TURNSTREAM_HTTP_HOST": LOOPBACK, "TURNSTREAM_HTTP_PORT": str(port)}
        environment = self._environment(nats_url, {**address, **self._key()})
        return Program("gateway", self.commands.gateway, environment, grace=KILL_AFTER)

    def worker(self, nats_url: str, number: int, run_yaml: Path, stand_in_url: str | None) -> Program:
        """Run turns, with the models that a Llama Stack configuration names."""
        models = {"TURNSTREAM_RUN_YAML": str(run_yaml), **({"STAND_IN_URL": stand_in_url} if stand_in_url else {})}
        environment = self._environment(nats_url, {**models, **self._key()})
        return Program(f"worker-{number}", self.commands.worker, environment, grace=KILL_AFTER)

    def stand_in(self, port: int) -> Program:
        """Answer as a model would, on a port of the loopback interface."""
        return Program(
            "stand-in",
            (*self.commands.stand_in, "--host", LOOPBACK, "--port", str(port)),
            {**os.environ, **PYTHON_SETTINGS},
        )

    def _key(self) -> dict[str, str]:
        """Return the key for turns' secrets, where the operator has not set one."""
        return {} if os.environ.get(SECRETS_KEY) else {SECRETS_KEY: self.secrets_key}

    def _environment(self, nats_url: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
        addresses = {
            "TURNSTREAM_NATS_URL": nats_url,
            "TURNSTREAM_POSTGRES_DSN": self.postgres_dsn,
            "TURNSTREAM_GRACE": str(GRACE),
        }
        return {**os.environ, **PYTHON_SETTINGS, **addresses, **(more or {})}


# Safe path: a file in the directory where turnstream was called must not stand in for a module of the same name.
PYTHON_SETTINGS = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}


def real_model_configured() -> bool:
    """Tell whether the environment names a real model."""
    return any(os.environ.get(name) for name in MODEL_SETTINGS)


def default_run_yaml() -> Path:
    """Return the Llama Stack configuration that Turnstream ships: in the wheel, or in the repository beside it."""
    here = Path(__file__).resolve()
    candidates = [here.with_name("run.yaml"), here.parents[3] / "llama-stack" / "run.yaml"]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise MissingProgramError(
        f"no run.yaml in {' or '.join(str(candidate.parent) for candidate in candidates)}: "
        "name one with --run-yaml or TURNSTREAM_RUN_YAML"
    )
