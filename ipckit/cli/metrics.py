"""`ipckit metrics`: the numbers of a running server for Prometheus, over HTTP.

It reads the server's memory and asks it nothing; while there is no server it says so (ipckit_up 0).
PATH is the server's control socket, its pid file or its runtime directory. Without it: the only
server in the runtime directory of this user. Ends with SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
from typing import Any

from ipckit.cli.answers import CommandFailed, add_command, port_from

__all__ = ["add_to"]


def add_to(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add `metrics` to the command line."""
    parser = add_command(
        subparsers,
        common,
        "metrics",
        help="serve the numbers of a running server to Prometheus",
        description=__doc__ or "",
        example="ipckit metrics --port 9464",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port",
        type=port_from(0),
        default=9464,
        metavar="N",
        help="port to listen on; 0: any (9464)",
    )
    parser.add_argument("path", metavar="PATH", nargs="?", help="of the server, see above")
    parser.set_defaults(run=_metrics)


def _metrics(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("prometheus_client") is None:
        raise CommandFailed(
            "prometheus_client is not installed: pip install 'ipckit-linux[metrics]'"
        )
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - an extra

    from ipckit.metrics import Watching  # noqa: PLC0415

    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads
    registry, watching = CollectorRegistry(), Watching(options.path)
    registry.register(watching)
    try:
        server, thread = start_http_server(options.port, options.host, registry)
    except OSError as why:
        raise CommandFailed(
            f"{options.host}:{options.port}: {why.strerror}; choose another --port or --host"
        ) from None
    url = f"http://{options.host}:{server.server_port}/metrics"
    print(json.dumps({"url": url}) if options.json else f"serving {url}", flush=True)
    signal.sigwait(ends)
    server.shutdown()
    thread.join()
    server.server_close()
    watching.close()
    return 0
