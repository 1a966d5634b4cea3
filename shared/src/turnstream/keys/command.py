"""The actions that an operator has on API keys: create, list, revoke."""

import argparse
import asyncio
import sys

from turnstream import logs
from turnstream.database import Database
from turnstream.errors import TerminalError, TurnstreamError
from turnstream.keys.keys import TENANT, Key, Keys
from turnstream.settings import PostgresSettings
from turnstream.table import table

NAME_LENGTH = 64  # characters


def add_actions(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Give a command the actions as commands of its own; return those, for options that the caller adds."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    create = actions.add_parser("create", help="make a key for a tenant; it is shown once, on standard output")
    create.add_argument("tenant", type=_tenant, help="whose requests it lets in: a-z, 0-9, _ and -, 64 at most")
    create.add_argument("--name", type=_name, default="", help="what to call it in lists")
    create.add_argument("--admin", action="store_true", help="let it use the admin API too, which is about all tenants")
    create.set_defaults(action=_create)

    show = actions.add_parser("list", help="show all keys, by their first characters")
    show.set_defaults(action=_list)

    revoke = actions.add_parser("revoke", help="end a key; gateways refuse it after TURNSTREAM_KEYS_TTL seconds")
    revoke.add_argument("id", help="the key's id, as listed: key_...")
    revoke.set_defaults(action=_revoke)
    return [create, show, revoke]


def run(options: argparse.Namespace, settings: PostgresSettings) -> int:
    """Do the action that was asked for; return the exit code."""
    logs.configure("keys", "error")  # what is printed here is for people and scripts
    try:
        asyncio.run(_run(options, settings))
    except TurnstreamError as error:
        print(f"turnstream: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, settings: PostgresSettings) -> None:
    database = await Database.connect(settings)
    try:
        await options.action(Keys(database), options)
    finally:
        await database.close()


async def _create(keys: Keys, options: argparse.Namespace) -> None:
    key, clear = await keys.create(options.tenant, options.name, admin=options.admin)
    print(clear)
    kind = ", an admin key" if key.admin else ""
    print(f"This is {key.id} of tenant {key.tenant}{kind}. Keep it now: it is not shown again.", file=sys.stderr)


async def _list(keys: Keys, _options: argparse.Namespace) -> None:
    heads = ("ID", "TENANT", "KEY", "CREATED (UTC)", "REVOKED (UTC)", "ADMIN", "NAME")
    for line in table([heads, *(_shown(key) for key in await keys.all())]):
        print(line)


async def _revoke(keys: Keys, options: argparse.Namespace) -> None:
    key = await keys.revoke(options.id)
    if key is None:
        raise TerminalError(f"there is no key '{options.id}'")
    print(f"{key.id} of tenant {key.tenant} is revoked.")


def _shown(key: Key) -> tuple[str, ...]:
    revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "-"
    created, admin = f"{key.created_at:%Y-%m-%d %H:%M}", "yes" if key.admin else "-"
    return (key.id, key.tenant, f"{key.hint}...", created, revoked, admin, key.name)


def _tenant(text: str) -> str:
    if not TENANT.fullmatch(text):
        raise argparse.ArgumentTypeError("must be 1 to 64 of a-z, 0-9, _ and -")
    return text


def _name(text: str) -> str:
    if len(text) > NAME_LENGTH or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be {NAME_LENGTH} printable characters at most")
    return text
