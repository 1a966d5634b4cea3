"""The command `turnstream`."""

import argparse
import asyncio
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from turnstream.keys.command import add_actions
from turnstream.keys.command import run as run_action
from turnstream.settings import PostgresSettings
from turnstream_local import dead_letters
from turnstream_local.demo import demo
from turnstream_local.errors import LocalError
from turnstream_local.layout import default_data_directory, temporary_data_directory
from turnstream_local.ports import free_port
from turnstream_local.postgres import running_dsn
from turnstream_local.programs import Commands
from turnstream_local.system import Options
from turnstream_local.up import INTERRUPTED, up

DEFAULT_PORT = 8321
LOCAL_TIMEOUT = 5  # seconds to wait for a database on this machine


def main(arguments: Sequence[str] | None = None, *, commands: Commands | None = None) -> None:
    """Run the command, and exit with its code; other commands than Turnstream's own can stand in for its processes."""
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(options, commands or Commands()))
    except LocalError as error:
        print(f"turnstream: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"turnstream: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # before anything was started, which takes signals over
        sys.exit(INTERRUPTED)


def _up(options: argparse.Namespace, commands: Commands) -> int:
    chosen = Options(options.data_dir, options.port, options.workers, options.run_yaml, commands=commands)
    return asyncio.run(up(chosen))


def _demo(options: argparse.Namespace, commands: Commands) -> int:
    with temporary_data_directory() as data_dir:
        chosen = Options(data_dir, free_port(), run_yaml=options.run_yaml, commands=commands)
        return asyncio.run(demo(chosen, options.model))


def _provision(_options: argparse.Namespace, _commands: Commands) -> int:
    # As `python -m` would, so that there is one entry to it; its settings come from the environment.
    sys.argv[1:] = []
    runpy.run_module("turnstream.provision", run_name="__main__", alter_sys=True)
    return 0


def _keys(options: argparse.Namespace, _commands: Commands) -> int:
    if options.data_dir is None and os.environ.get("TURNSTREAM_POSTGRES_DSN"):
        return run_action(options, PostgresSettings())
    dsn = running_dsn(options.data_dir or _data_directory())
    return run_action(options, PostgresSettings(postgres_dsn=dsn, startup_timeout=LOCAL_TIMEOUT))


def _dead_letters(options: argparse.Namespace, _commands: Commands) -> int:
    return dead_letters.run(options)


def _data_directory() -> Path:
    return Path(os.environ.get("TURNSTREAM_DATA_DIR") or default_data_directory())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="turnstream", description="Run all of Turnstream on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run_up = commands.add_parser("up", help="start everything and keep it running until Ctrl-C")
    run_up.add_argument("--workers", type=_worker_count, default=2, help="worker processes (default: 2)")
    run_up.add_argument(
        "--port", type=_port_number, default=DEFAULT_PORT, help=f"of the gateway (default: {DEFAULT_PORT})"
    )
    run_up.add_argument(
        "--data-dir",
        type=Path,
        default=_data_directory(),
        help="where everything is kept (default: TURNSTREAM_DATA_DIR, or %(default)s)",
    )
    run_up.set_defaults(run=_up)

    run_demo = commands.add_parser("demo", help="start everything, stream one turn to the terminal, stop")
    run_demo.add_argument("--model", help="the model to ask (default: the first that there is)")
    run_demo.set_defaults(run=_demo)

    run_yaml = os.environ.get("TURNSTREAM_RUN_YAML")
    for command in (run_up, run_demo):
        command.add_argument(
            "--run-yaml",
            type=Path,
            default=Path(run_yaml) if run_yaml else None,
            help="Llama Stack's configuration (default: TURNSTREAM_RUN_YAML, or the one that Turnstream ships)",
        )

    provision = commands.add_parser("provision", help="create streams, consumers and tables where the environment says")
    provision.set_defaults(run=_provision)

    keys = commands.add_parser("keys", help="make, list and revoke API keys, each of which names a tenant")
    for action in add_actions(keys):
        action.add_argument(
            "--data-dir",
            type=Path,
            help="of a running `turnstream up` (default: not this machine but TURNSTREAM_POSTGRES_DSN, where it is "
            f"set; else TURNSTREAM_DATA_DIR, or {default_data_directory()})",
        )
    keys.set_defaults(run=_keys)

    letters = commands.add_parser("dead-letters", help="look at turns that were given up, and run them again")
    dead_letters.add_actions(letters, f"http://127.0.0.1:{DEFAULT_PORT}")
    letters.set_defaults(run=_dead_letters)
    return parser


def _port_number(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):  # noqa: PLR2004 - the range of ports
        raise argparse.ArgumentTypeError("must be a number from 1 to 65535")
    return int(text)


def _worker_count(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError("must be a number, 1 at least")
    return int(text)
