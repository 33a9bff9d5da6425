"""The command ``csm mcp``: the published copy for assistants."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from csm_core.commands.options import ConfigOption, open_warehouse
from csm_core.errors import ConfigError, InputError

DEFAULT_PORT = 8770

app = typer.Typer()


@app.command(
    epilog="Examples:  csm mcp --config csm.yaml    csm mcp --http --port 8770    In the configuration of a client:  "
    '{"mcpServers": {"csm-health": {"command": "csm", "args": ["mcp", "--config", "/srv/csm/csm.yaml"]}}}',
    short_help="Serve the published copy to assistants (MCP).",
)
def mcp(
    http: Annotated[
        bool, typer.Option("--http", help="Serve streamable HTTP on this machine instead of standard input and output.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help=f"Port of --http; default: {DEFAULT_PORT}; 0: a free port.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Serve the published copy to an assistant, read-only, with the Model Context Protocol (extra `mcp`).

    The client of the assistant starts the command and talks to it over standard input and output. With --http, clients
    on this machine connect to http://127.0.0.1:PORT/mcp. docs/mcp.md has the tools, and how to register the command.
    """
    if port is not None and not http:
        message = "--port is the port of --http; add --http, or leave --port out"
        raise InputError(message)
    copy = open_warehouse(config).published_path
    try:
        from csm_core.publishing.assistant.server import serve_http, serve_stdio
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        message = 'csm mcp needs the extra `mcp`, which is not installed. Install it: pip install "csm-health[mcp]"'
        raise ConfigError(message) from None
    if http:
        serve_http(copy, DEFAULT_PORT if port is None else port, on_ready=typer.echo)
    else:
        if sys.stdin.isatty():
            typer.echo("csm: waiting for an MCP client on standard input; --http serves clients by HTTP", err=True)
        serve_stdio(copy)
