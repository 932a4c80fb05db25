# Ultralytics DiffAttn - AGPL-3.0 License
"""A port on this machine, and a server on it that tells nobody."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from ultralytics_diffattn.errors import UserError

LOCAL = "127.0.0.1", "localhost", "::1"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket on a free port; made before any model is loaded, so that a busy one costs no time.

    Args:
        host (str): An address of this machine.
        port (int): 0 for any free one.

    Returns:
        (socket.socket): Bound, and listening.

    Raises:
        UserError: If the port is taken, or the address is not of this machine.

    Examples:
        >>> with bind("127.0.0.1", 0) as bound:
        ...     bound.getsockname()[0]
        '127.0.0.1'
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"port={port} on {host} cannot be used ({error.strerror or error}); if another demo runs there, give "
            f"another port, such as port={port + 1 if port < 65535 else 7860}, or port=0 for any that is free."
        ) from error


def url(bound: socket.socket) -> str:
    """Return the address to open in a browser.

    Args:
        bound (socket.socket): From `bind`.

    Returns:
        (str): The address; a socket on all interfaces is asked on this machine.

    Examples:
        >>> with bind("127.0.0.1", 0) as bound:
        ...     url(bound)
        'http://127.0.0.1:...'
    """
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def hosts(host: str) -> list[str]:
    """Return the names under which a browser may ask a server on an address.

    Args:
        host (str): As for `bind`.

    Returns:
        (list[str]): On this machine alone, its names; else any, since nobody knows what others call it.

    Examples:
        >>> hosts("127.0.0.1"), hosts("0.0.0.0")
        (['127.0.0.1', 'localhost', '::1', '[::1]'], ['*'])
    """
    return [*LOCAL, "[::1]"] if host in LOCAL else ["*"]


def serve(app: Any, bound: socket.socket) -> None:
    """Serve until Ctrl-C.

    Args:
        app (Any): An ASGI application.
        bound (socket.socket): From `bind`.
    """
    import uvicorn

    silence_ultralytics()
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=2)
    with suppress(KeyboardInterrupt):  # the ordinary end; uvicorn hands the signal on once it has closed all
        uvicorn.Server(config).run(sockets=[bound])


def silence_ultralytics() -> None:
    """Switch off the events that ultralytics sends of each prediction, in this process and not in its settings."""
    try:
        from ultralytics.utils.events import events
    except ImportError:  # before 8.4
        from ultralytics.hub.utils import events  # type: ignore[import-not-found,no-redef]
    events.enabled = False
