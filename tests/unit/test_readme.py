"""The README says what is true."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from turnstream.provision import ProvisionSettings
from turnstream.settings import Settings
from turnstream_gateway.settings import GatewaySettings
from turnstream_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SERVICES: dict[str, type[Settings]] = {
    "the gateway": GatewaySettings,
    "a worker": WorkerSettings,
    "provisioning": ProvisionSettings,
}


def test_every_setting_stands_in_the_table() -> None:
    """The configuration table is what the settings say: name, default, meaning."""
    table = README.partition("<!-- settings: checked by tests/unit/test_readme.py -->\n")[2]
    assert table.partition("<!-- /settings -->")[0] == settings_table()


def test_links_lead_somewhere() -> None:
    """Every link within the project leads to a file that is there."""
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def settings_table() -> str:
    """Return the table as it should be: what every process reads first, with the defaults that a service changes."""
    lines = ["| Variable | Default | Meaning | Read by |", "|---|---|---|---|"]
    readers: dict[str, type[Settings]] = {"every process": Settings, **SERVICES}
    for reader, settings in readers.items():
        for name, field in settings.model_fields.items():
            if settings is not Settings and name in Settings.model_fields:
                continue
            default = _default(field.default)
            if settings is Settings:
                default += "".join(f"; {service}: {theirs}" for service, theirs in _changed(name))
            variable = "LLAMA_STACK_URL" if name == "llama_stack_url" else f"TURNSTREAM_{name.upper()}"
            lines.append(f"| `{variable}` | {default} | {field.description} | {reader} |")
    return "\n".join(lines) + "\n"


def _changed(name: str) -> list[tuple[str, str]]:
    """Return the services that have another default for a shared setting, and theirs."""
    shared = Settings.model_fields[name].default
    defaults = {service: settings.model_fields[name].default for service, settings in SERVICES.items()}
    return [(service, _default(default)) for service, default in defaults.items() if default != shared]


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    return f"`{value.relative_to(ROOT) if isinstance(value, Path) else value}`"
