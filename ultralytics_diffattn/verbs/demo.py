# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn demo`: a page on this machine, to click on objects and see what they attend to."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.verbs.arguments import check_known

OWN: dict[str, Any] = {"port": 7860, "host": "127.0.0.1", "model": "", "baseline": ""}
POSITIONAL = ("model",)
NEEDED = "starlette", "uvicorn"


def demo(**arguments: Any) -> None:
    """Serve the page until Ctrl-C.

    Args:
        **arguments (Any): `port` (0 for any free one), `host` (by default this machine alone), `model` (trained
            weights; by default small ones that the package brings) and `baseline` (to stand beside).

    Raises:
        MissingPackageError: If the extra `demo` is not installed.
        MissingFileError: If a file does not exist.
        UserError: If an argument is unknown, the port is taken or a model has no attention.

    Examples:
        >>> demo(model="best.pt", baseline="yolo11n.pt")  # doctest: +SKIP
        diffattn demo: http://127.0.0.1:7860 (Ctrl-C ends it)
    """
    check_known("demo", arguments, OWN)
    given = {**OWN, **arguments}
    port, host = parse_port(given["port"]), str(given["host"])
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MissingPackageError(f'{" and ".join(missing)} missing: pip install "ultralytics-diffattn[demo]"')

    from ultralytics_diffattn.demo.serve import bind, hosts, serve, url

    with bind(host, port) as bound:  # before the models are loaded
        from ultralytics_diffattn.demo.app import build
        from ultralytics_diffattn.demo.detectors import from_command
        from ultralytics_diffattn.demo.images import example
        from ultralytics_diffattn.demo.views import open_view

        pair = from_command(str(given["model"]), str(given["baseline"]))
        open_view(pair, example(0), "")  # the first prediction takes longest
        print(f"diffattn demo: {url(bound)} (Ctrl-C ends it)", flush=True)
        serve(build(pair, hosts(host)), bound)


def parse_port(port: object) -> int:
    """Return the number of a port.

    Args:
        port (object): A whole number from 0 to 65535.

    Returns:
        (int): The number.

    Raises:
        UserError: If it is no such number.

    Examples:
        >>> parse_port(7860)
        7860
    """
    if not str(port).isdecimal() or int(str(port)) > 65535:
        raise UserError(f"port={port!r} must be a whole number from 0 to 65535, such as port=7860.")
    return int(str(port))
