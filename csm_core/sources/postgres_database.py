"""A PostgreSQL database as a source: one read-only transaction, rows as CSV, errors that never hold the password.

Rows come by ``copy (query) to stdout``. The server gives them out as they come, as a cursor does, so neither side holds
more than a piece; other than with a cursor, nothing is made of a row on this side but the bytes that go to a file.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.redaction import without_secrets
from csm_core.sources.settings import PostgresSettings
from csm_core.system.addresses import checked_host, checked_port
from csm_core.system.project_files import extra_missing
from csm_core.system.secrets import secret

if TYPE_CHECKING:
    import psycopg

EXTRA = "postgres"
# What a server says to whom it knows but does not let in; it gives no code before there is a connection.
_TO_MEND = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "could not translate host",
)
_SETTINGS = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "extra_float_digits": "1"}


def require_psycopg() -> ModuleType:
    """The library. Raises ConfigError naming the extra where it is not installed."""
    try:
        import psycopg
    except ImportError:
        raise ConfigError(extra_missing("reading PostgreSQL", EXTRA)) from None
    return psycopg


class Database:
    """A source's database, opened for one transaction that can only read and sees everything as of one moment."""

    def __init__(self, connection: psycopg.Connection[Any], settings: PostgresSettings, secrets: list[str]) -> None:
        self._connection = connection
        self._label = settings.label
        self._seconds = settings.statement_timeout_seconds
        self._secrets = secrets

    def begin(self) -> None:
        """Say how times are written and how long a query may take."""
        settings = {**_SETTINGS, "statement_timeout": f"{self._seconds}s", "default_transaction_read_only": "on"}
        with self.told("the start of the transaction"):
            for name, value in settings.items():
                self._connection.execute(f"set local {name} to '{value}'".encode())

    def described(self) -> str:
        """Which server that is, for `csm doctor`. Raises SourceError if it would let us write."""
        with self.told("the look at the server"):
            row = self._connection.execute(
                "select current_setting('server_version'), current_setting('transaction_read_only'), current_database()"
            ).fetchone()
        version, read_only, name = row or ("", "", "")
        if read_only != "on":
            message = f"{self._label}: the server does not keep the transaction read-only"
            raise SourceError(message)
        return f"PostgreSQL {str(version).split()[0]}, database {name}, read-only"

    def now(self) -> str:
        """The moment of which the transaction sees everything, as text with its zone."""
        with self.told("the look at the server"):
            row = self._connection.execute("select cast(now() as text)").fetchone()
        return str(row[0]) if row else ""

    def columns(self, name: str, query: str) -> list[tuple[str, str]]:
        """Name and type of each column of a query's result; nothing of it is read. ``name`` is for messages."""
        with self.told(name), self._connection.cursor() as cursor:
            cursor.execute(f"select * from (\n{query}\n) as query limit 0".encode())
            types = self._connection.adapters.types
            return [
                (column.name, found.name if (found := types.get(column.type_code)) else "other")
                for column in cursor.description or ()
            ]

    def rows(self, name: str, query: str) -> Iterator[bytes]:
        """The result as CSV: the line of column names, then each row by itself."""
        statement = f"copy ({query}) to stdout (format csv, header)".encode()
        with self.told(name), self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in copy:
                yield bytes(row)

    @contextmanager
    def told(self, name: str) -> Generator[None]:
        """Turn what the library raises into what a person can read; ``name`` says in what it happened."""
        psycopg = require_psycopg()
        where = f"{self._label}: {name}"
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            message = (
                f"{where}: stopped by the server: {self._said(error)}. It may take {self._seconds} s "
                "(statement_timeout_seconds): make it faster, read it by increments, or give it more time."
            )
            raise SourceError(message) from None
        except psycopg.errors.ReadOnlySqlTransaction as error:
            message = f"{where}: may only read: {self._said(error)}"
            raise SourceError(message) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            message = f"{where}: the connection failed: {self._said(error)}"
            raise SourceUnavailableError(message) from None
        except psycopg.Error as error:
            message = f"{where}: refused by the server: {self._said(error)}"
            raise SourceError(message) from None

    def _said(self, error: psycopg.Error) -> str:
        text = error.diag.message_primary or str(error)
        return hidden(text, self._secrets)


@contextmanager
def opened(settings: PostgresSettings) -> Generator[Database]:
    """A source's database in a read-only transaction, rolled back and closed in the end.

    Raises ConfigError where the address is missing, is none, or is not let in, and SourceUnavailableError where the
    server cannot be reached.
    """
    psycopg = require_psycopg()
    address = secret(settings.dsn_variable, "the address of the database, postgresql://user:password@host/database")
    parts = _parts_of(address, settings)
    secrets = [address, *(str(parts[name]) for name in ("password", "sslpassword") if parts.get(name))]
    wanted = {"connect_timeout": settings.connect_timeout_seconds, "client_encoding": "UTF8"}
    try:
        connection = psycopg.connect(**{"application_name": "csm-health", **parts, **wanted})
    except psycopg.Error as error:
        said = hidden(str(error), secrets)
        if any(known in said for known in _TO_MEND):
            message = f"{settings.label}: {settings.dsn_variable} is not let in: {said}"
            raise ConfigError(message) from None
        message = f"{settings.label}: the database cannot be reached: {said}"
        raise SourceUnavailableError(message) from None
    try:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        database = Database(connection, settings, secrets)
        database.begin()
        yield database
    finally:
        connection.close()


def hidden(text: str, secrets: list[str]) -> str:
    """One line of a message without what must not be shown."""
    for value in secrets:
        text = text.replace(value, "…")
    return " ".join(without_secrets(text).split())[:500]


def _parts_of(address: str, settings: PostgresSettings) -> Mapping[str, Any]:
    psycopg = require_psycopg()
    try:
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        message = (
            f"{settings.label}: {settings.dsn_variable} does not hold the address of a PostgreSQL database: expected "
            "postgresql://user:password@host/database, special characters of the password as %40 and the like"
        )
        raise ConfigError(message) from None
    try:
        for host in str(parts.get("host") or "").split(","):
            # A folder is where the server's socket is.
            if host and not host.startswith(("/", "@")):
                checked_host(f"[{host}]" if ":" in host else host)
        for port in str(parts["port"]).split(",") if parts.get("port") is not None else ():
            if port:
                checked_port(port)
    except ValueError as error:
        message = (
            f"{settings.label}: {settings.dsn_variable}: {error}. Set it to the address of the database, "
            "postgresql://user:password@host:5432/database."
        )
        raise ConfigError(message) from None
    return parts
