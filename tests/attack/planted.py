"""Secrets planted in every variable that holds one, and a search for them in everything that is written."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import duckdb
import yaml

from csm_core.errors import CSMError
from csm_core.operations.alerts import post, slack_message, webhook
from tests.in_process import csm

ID = "11111111111111111111111111111111"
# What each secret is made of, behind a part that no other text has.
KINDS = {
    "plain": "{}abcdefgh",
    "quotes": '{}it\'s"quoted"\\x',
    "url": "{}p@ss/w+rd=%&?#x",
    "html": "{}<b>&amp;</b>",
    "base64": "{}QUJD+/RFRg==",
    "json": '{{"{}": [1, "\\u0041"]}}',
    "long": "{}" + "0123456789" * 200,
    "line break": "{}first-line\n{}second-line",
    "control": "{}bell\x07tab\there",
    "not ASCII": "{}é€𝄞xyz",
}
# These are rejected when they are read.
UNUSABLE = ("line break", "control", "not ASCII")
VARIABLES = (
    *("NOTION_TOKEN", "CSM_ALERT_WEBHOOK", "STRIPE_API_KEY", "ZENDESK_TOKEN", "HUBSPOT_TOKEN", "DELIGHTED_API_KEY"),
    *("CSM_POSTGRES_DSN", "MY_CRM_LOGIN"),
)


@dataclass
class Echo:
    """A service that rejects every request and repeats what it was sent, in every encoding it can think of."""

    url: str
    received: list[bytes] = field(default_factory=list[bytes])


@contextmanager
def echo_service() -> Generator[Echo]:
    """The service, on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            found.received.append(body)
            sent = self.headers.get("authorization", "")
            kind, _, value = sent.partition(" ")
            if kind == "Basic":
                value = base64.b64decode(value).decode("utf-8", "replace").removesuffix(":").rpartition(":")[2] or value
            message = " ; ".join([sent, *(form for form in forms(value or self.path))])
            answer = {"object": "error", "status": 400, "code": "validation_error", "message": message}
            content = json.dumps(answer).encode()
            self.send_response(400)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: Any) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Echo(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def secret_of(variable: str, kind: str) -> str:
    """The secret of a kind for a variable; its first letters are in no other text."""
    core = f"ZQ{VARIABLES.index(variable)}{list(KINDS).index(kind)}kXw7-"
    return KINDS[kind].replace("{}", core).replace("{{", "{").replace("}}", "}")


def value_of(variable: str, kind: str, service: Echo) -> str:
    """What the variable holds, with the secret in it."""
    secret = secret_of(variable, kind)
    if variable == "CSM_ALERT_WEBHOOK":
        return f"{service.url}/services/{secret}"
    if variable == "CSM_POSTGRES_DSN":
        return f"postgresql://user:{quote(secret, safe='')}@127.0.0.1:9/database"
    return secret


def forms(secret: str) -> Iterator[str]:
    """How a secret may be written; not the function that hides it."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield from (secret, repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], html.escape(secret))
    yield from (quote(raw), quote(raw, safe=""), quote_plus(raw), raw.hex())
    for text in (raw, b"user:" + raw, b"me@x.example/token:" + raw, raw + b":"):
        yield base64.b64encode(text).decode().rstrip("=")
        yield base64.urlsafe_b64encode(text).decode().rstrip("=")


def leaks(written: str | bytes, variables: Mapping[str, str]) -> list[str]:
    """The variables of which a secret (kind by variable) is in a text or in the bytes of a file, and the form."""
    data = written.encode("utf-8", "surrogatepass") if isinstance(written, str) else written
    found: list[str] = []
    for variable, kind in variables.items():
        secret = secret_of(variable, kind)
        parts = [secret, *(line for line in secret.splitlines() if len(line) >= 8)]
        for part in parts:
            found += [
                f"{variable} ({kind}) as {form[:60]!r}"
                for form in forms(part)
                if form.encode("utf-8", "surrogatepass") in data
            ]
    return found


def plant(folder: Path, kinds: list[str] | None = None) -> list[str]:
    """Plant secrets of each kind in every variable, call the commands that use them, and give what leaked."""
    findings: list[str] = []
    with echo_service() as service:
        for kind in kinds or list(KINDS):
            place = folder / re.sub(r"\W", "_", kind)
            place.mkdir(parents=True)
            findings += _plant_kind(place, kind, service)
    return findings


def _plant_kind(folder: Path, kind: str, service: Echo) -> list[str]:
    chosen = dict.fromkeys(VARIABLES, kind)
    values = {variable: value_of(variable, kind, service) for variable in VARIABLES}
    environment = {
        **values,
        "NOTION_BASE_URL": service.url,
        "NOTION_DATABASE_ID": ID,
        "ZENDESK_EMAIL": "me@x.example",
        "DAGSTER_HOME": str(folder / "dagster_home"),
    }
    write_company(folder, service, every_source=True)
    findings: list[str] = []
    asked = len(service.received)
    for arguments in (["doctor"], ["doctor", "--json"], ["notion", "doctor"], ["config"]):
        done = csm(*arguments, folder=folder, environment=environment)
        text = done.stdout + done.stderr
        findings += [f"{' '.join(arguments)}: {leak}" for leak in leaks(text, chosen)]
        if done.error is not None:
            findings.append(f"{' '.join(arguments)}: {kind}: {done.error!r}")
    if kind not in UNUSABLE and len(service.received) == asked:
        findings.append(f"{kind}: no command reached the service, so nothing was shown")
    findings += _alert(kind, values, chosen, service)
    return findings + in_files(folder, chosen)


def _alert(kind: str, values: Mapping[str, str], chosen: Mapping[str, str], service: Echo) -> list[str]:
    """Post an alert that quotes every secret; what the receiver got, and the error, must not hold one."""
    quoted = [form for variable in VARIABLES for form in forms(secret_of(variable, kind))]
    before = len(service.received)
    kept = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        said = ""
        post(slack_message("title", {"fact": quoted[0]}, quoted), webhook())
    except CSMError as error:
        said = str(error)
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    texts = [said, *(body.decode() for body in service.received[before:])]
    return [f"alert: {leak}" for text in texts for leak in leaks(text, chosen)]


def in_files(folder: Path, chosen: Mapping[str, str]) -> list[str]:
    """What leaked into files below a folder: their bytes, and the texts of every table of a DuckDB file."""
    findings: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        findings += [f"{path.relative_to(folder)}: {leak}" for leak in leaks(path.read_bytes(), chosen)]
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for schema, table in connection.execute(
                    "select schema_name, table_name from duckdb_tables()"
                ).fetchall():
                    rows = connection.execute(f'select * from "{schema}"."{table}"').fetchall()
                    findings += [f"{schema}.{table}: {leak}" for leak in leaks(repr(rows) + str(rows), chosen)]
    return findings


def write_company(folder: Path, service: Echo, *, every_source: bool) -> Path:
    """A company of two accounts whose records reach until yesterday, in ``folder``; its csm.yaml."""
    from datetime import UTC, datetime, timedelta

    records = folder / "records"
    records.mkdir(exist_ok=True)
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=number) for number in range(10)]
    (records / "accounts.csv").write_text(
        "account_id,account_name,created_at\na1,Ahlers,2025-01-01\na2,Bolt,2025-01-01\n", encoding="utf-8"
    )
    (records / "features.csv").write_text("feature,module\nreports,core\n", encoding="utf-8")
    (records / "usage_events.csv").write_text(
        "event_id,account_id,user_id,event_name,feature,occurred_at\n"
        + "".join(f"e{day},a1,u1,login,reports,{day}T00:10:00Z\n" for day in days),
        encoding="utf-8",
    )
    api = {"base_url": service.url, "attempts": 1, "timeout_seconds": 5}
    vendors: list[dict[str, Any]] = [
        {"system": "stripe", "api": api},
        {"system": "zendesk", "api": api},
        {"system": "hubspot", "api": api},
        {"system": "hubspot", "name": "crm", "api": {**api, "key_variable": "MY_CRM_LOGIN"}},
        {"system": "delighted", "api": api},
        {"system": "postgres", "connect_timeout_seconds": 2, "queries": {"tickets": {"sql": "select 1"}}},
    ]
    stated = {
        "warehouse": "data/csm.duckdb",
        "partitions_start": str(days[-1]),
        "sources": [{"system": "files", "path": "records"}, *(vendors if every_source else [])],
    }
    file = folder / "csm.yaml"
    file.write_text(yaml.safe_dump(stated), encoding="utf-8")
    return file
