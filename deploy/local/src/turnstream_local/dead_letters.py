"""`turnstream dead-letters`: what an operator does about turns that were given up, over a gateway's admin API."""

import argparse
import json
import os
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from turnstream.table import table
from turnstream_local.errors import GatewayError

TIMEOUT = httpx.Timeout(60.0, connect=5.0)  # seconds
PATH = "/v1/admin/dead-letters"


def add_actions(parser: argparse.ArgumentParser, default_url: str) -> None:
    """Give a command the actions as commands of its own."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    show_all = actions.add_parser("list", help="list them, those first that were filed first")
    show_all.add_argument("--tenant", help="only this tenant's")
    show_all.add_argument("--after", metavar="TURN", help="go on behind this one")
    show_all.add_argument("--limit", type=int, default=20, help="how many at most, up to 100 (default: %(default)s)")
    show_all.set_defaults(action=_list)

    show = actions.add_parser("show", help="show one, with what its turn has done last")
    show.set_defaults(action=_show)
    replay = actions.add_parser("replay", help="run its turn again, as a new one of the same tenant, and discard it")
    replay.set_defaults(action=_replay)
    discard = actions.add_parser("discard", help="discard it; its response stays as it is")
    discard.set_defaults(action=_discard)
    for action in (show, replay, discard):
        action.add_argument("turn", help="the turn's id: resp_...")

    for action in (show_all, show, replay, discard):
        action.add_argument("--url", type=_url, default=default_url, help="the gateway (default: %(default)s)")
        action.add_argument("--json", action="store_true", help="print the gateway's answer as it is")


def run(options: argparse.Namespace) -> int:
    """Do the action that was asked for; return the exit code. Raises GatewayError if the gateway does not do it."""
    key = os.environ.get("TURNSTREAM_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=options.url, headers=headers, timeout=TIMEOUT, trust_env=False) as client:
        options.action(client, options)
    return 0


def _list(client: httpx.Client, options: argparse.Namespace) -> None:
    params = {"tenant": options.tenant, "after": options.after, "limit": options.limit}
    page = _ask(client, "GET", PATH, {name: value for name, value in params.items() if value is not None})
    if options.json:
        _print_json(page)
        return
    heads = ("TURN", "TENANT", "REASON", "ATTEMPTS", "FILED (UTC)")
    for line in table([heads, *(_row(letter) for letter in page["data"])]):
        print(line)
    if page["has_more"]:
        print(f"There are more: --after {page['last_id']}")


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    reason, attempts = letter["reason"]["code"], str(letter["attempts"])
    return (letter["id"], letter["tenant"], reason, attempts, _minute(letter["filed_at"]))


def _show(client: httpx.Client, options: argparse.Namespace) -> None:
    letter = _ask(client, "GET", _path(options.turn))
    if options.json:
        _print_json(letter)
        return
    response = letter["response"] or {}
    rows = {
        "turn": letter["id"],
        "tenant": letter["tenant"],
        "reason": f"{letter['reason']['code']}: {letter['reason']['message']}",
        "attempts": str(letter["attempts"]),
        "filed (UTC)": _minute(letter["filed_at"]),
        "status": response.get("status", "deleted"),
        "model": response.get("model", "-"),
        "created (UTC)": _minute(response["created_at"]) if response else "-",
    }
    for line in table(list(rows.items())):
        print(line)
    if letter["steps"]:
        heads = ("STEP", "KIND", "NAME", "ATTEMPT", "STATE", "STARTED (UTC)", "SECONDS")
        print()
        for line in table([heads, *(_step(step) for step in letter["steps"])]):
            print(line)


def _step(step: dict[str, Any]) -> tuple[str, ...]:
    took = f"{step['finished_at'] - step['started_at']:.3f}" if step["finished_at"] else "-"
    started = f"{datetime.fromtimestamp(step['started_at'], UTC):%Y-%m-%d %H:%M:%S}"
    return (str(step["number"]), step["kind"], step["name"] or "-", str(step["attempt"]), step["state"], started, took)


def _replay(client: httpx.Client, options: argparse.Namespace) -> None:
    answer = _ask(client, "POST", f"{_path(options.turn)}/replay")
    if options.json:
        _print_json(answer)
    else:
        print(f"{answer['id']} runs again as {answer['response_id']}.")


def _discard(client: httpx.Client, options: argparse.Namespace) -> None:
    answer = _ask(client, "DELETE", _path(options.turn))
    if options.json:
        _print_json(answer)
    else:
        print(f"The dead letter about {answer['id']} is discarded.")


def _ask(client: httpx.Client, method: str, path: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the gateway's answer; raise GatewayError with what it says if it refuses."""
    try:
        answer = client.request(method, path, params=params)
        said: dict[str, Any] = answer.json()
        if answer.is_success:
            return said
        message, code = said["error"]["message"], said["error"]["code"]
    except httpx.HTTPError as error:
        raise GatewayError(f"the gateway at {client.base_url} does not answer: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise GatewayError(f"what answers at {client.base_url} is no gateway: {answer.status_code}") from error
    raise GatewayError(message + _hint(code))


def _hint(code: str | None) -> str:
    return " The key is taken from TURNSTREAM_API_KEY." if code in {"invalid_api_key", "admin_key_required"} else ""


def _url(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise argparse.ArgumentTypeError("is no URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError("must begin with http:// or https:// and name a host")
    return text


def _path(turn: str) -> str:
    return f"{PATH}/{quote(turn, safe='')}"


def _minute(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2))
