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
    """Return the table as it should be, each setting under the first process that has it."""
    parts = (
        ("every process", Settings),
        ("the gateway", GatewaySettings),
        ("a worker", WorkerSettings),
        ("provisioning", ProvisionSettings),
    )
    lines = ["| Variable | Default | Meaning | Read by |", "|---|---|---|---|"]
    for reader, settings in parts:
        for name, field in settings.model_fields.items():
            shared = Settings.model_fields.get(name)
            if settings is not Settings and shared and shared.default == field.default:
                continue
            variable = "LLAMA_STACK_URL" if name == "llama_stack_url" else f"TURNSTREAM_{name.upper()}"
            shown = "required" if field.default is PydanticUndefined else _default(field.default)
            lines.append(f"| `{variable}` | {shown} | {field.description} | {reader} |")
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    if value is None:
        return "none"
    return f"`{value.relative_to(ROOT) if isinstance(value, Path) else value}`"
