"""A PostgreSQL database as a source: one read-only transaction, rows as CSV, error messages without the password.

Rows are read with ``copy (query) to stdout``. As with a cursor, the server streams them, so neither side keeps the
result in memory. Unlike with a cursor, rows are not converted to Python objects: their bytes are written to a file.
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
# Messages about a wrong address or login. libpq returns no error code before there is a connection.
_CONFIGURATION_ERRORS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "could not translate host",
)
_SETTINGS = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "extra_float_digits": "1"}


def require_psycopg() -> ModuleType:
    """The psycopg library. Raises ConfigError with the name of the extra if it is not installed."""
    try:
        import psycopg
    except ImportError:
        raise ConfigError(extra_missing("reading PostgreSQL", EXTRA)) from None
    return psycopg


class Database:
    """The database of a source in one read-only transaction, which sees one snapshot."""

    def __init__(self, connection: psycopg.Connection[Any], settings: PostgresSettings, secrets: list[str]) -> None:
        self._connection = connection
        self._label = settings.label
        self._seconds = settings.statement_timeout_seconds
        self._secrets = secrets

    def begin(self) -> None:
        """Set the formats of times and the timeout of queries."""
        settings = {**_SETTINGS, "statement_timeout": f"{self._seconds}s", "default_transaction_read_only": "on"}
        with self.translated_errors("starting the transaction"):
            for name, value in settings.items():
                self._connection.execute(f"set local {name} to '{value}'".encode())

    def described(self) -> str:
        """Server version and database, for `csm doctor`. Raises SourceError if the transaction can write."""
        with self.translated_errors("querying the server version"):
            row = self._connection.execute(
                "select current_setting('server_version'), current_setting('transaction_read_only'), current_database()"
            ).fetchone()
        version, read_only, name = row or ("", "", "")
        if read_only != "on":
            message = f"{self._label}: the server did not start a read-only transaction"
            raise SourceError(message)
        return f"PostgreSQL {str(version).split()[0]}, database {name}, read-only"

    def now(self) -> str:
        """The start time of the transaction, as text with its time zone."""
        with self.translated_errors("querying the server time"):
            row = self._connection.execute("select cast(now() as text)").fetchone()
        return str(row[0]) if row else ""

    def columns(self, name: str, query: str) -> list[tuple[str, str]]:
        """Name and type of each column of a query's result, without reading rows. ``name`` is for messages."""
        with self.translated_errors(name), self._connection.cursor() as cursor:
            cursor.execute(f"select * from (\n{query}\n) as query limit 0".encode())
            types = self._connection.adapters.types
            return [
                (column.name, found.name if (found := types.get(column.type_code)) else "other")
                for column in cursor.description or ()
            ]

    def rows(self, name: str, query: str) -> Iterator[bytes]:
        """The result as CSV: the line of column names, then one item per row."""
        statement = f"copy ({query}) to stdout (format csv, header)".encode()
        with self.translated_errors(name), self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in copy:
                yield bytes(row)

    @contextmanager
    def translated_errors(self, name: str) -> Generator[None]:
        """Turn errors of psycopg into errors of this project; ``name`` is the query or step in the message."""
        psycopg = require_psycopg()
        where = f"{self._label}: {name}"
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            message = (
                f"{where}: cancelled by the server: {self._message(error)}. The limit is {self._seconds} s: make the "
                "query faster, set `incremental_by`, or increase `statement_timeout_seconds`."
            )
            raise SourceError(message) from None
        except psycopg.errors.ReadOnlySqlTransaction as error:
            message = f"{where}: the transaction is read-only: {self._message(error)}"
            raise SourceError(message) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            message = f"{where}: the connection failed: {self._message(error)}"
            raise SourceUnavailableError(message) from None
        except psycopg.Error as error:
            message = f"{where}: the query failed: {self._message(error)}"
            raise SourceError(message) from None

    def _message(self, error: psycopg.Error) -> str:
        text = error.diag.message_primary or str(error)
        return hidden(text, self._secrets)


@contextmanager
def opened(settings: PostgresSettings) -> Generator[Database]:
    """The database of a source in a read-only transaction, which is rolled back and closed at the end.

    Raises ConfigError if the address is missing or invalid or the login fails, and SourceUnavailableError if the server
    cannot be reached.
    """
    psycopg = require_psycopg()
    address = secret(settings.dsn_variable, "the address of the database, postgresql://user:password@host/database")
    parts = _parts_of(address, settings)
    secrets = [address, *(str(parts[name]) for name in ("password", "sslpassword") if parts.get(name))]
    wanted = {"connect_timeout": settings.connect_timeout_seconds, "client_encoding": "UTF8"}
    try:
        connection = psycopg.connect(**{"application_name": "csm-health", **parts, **wanted})
    except psycopg.Error as error:
        reported = hidden(str(error), secrets)
        if any(text in reported for text in _CONFIGURATION_ERRORS):
            message = f"{settings.label}: login with {settings.dsn_variable} failed: {reported}"
            raise ConfigError(message) from None
        message = f"{settings.label}: the database cannot be reached: {reported}"
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
    """A message on one line, without the secrets."""
    for value in secrets:
        text = text.replace(value, "…")
    return " ".join(without_secrets(text).split())[:500]


def _parts_of(address: str, settings: PostgresSettings) -> Mapping[str, Any]:
    psycopg = require_psycopg()
    try:
        parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        message = (
            f"{settings.label}: {settings.dsn_variable} is not the address of a PostgreSQL database; expected "
            "postgresql://user:password@host/database, with special characters percent-encoded (@ as %40)"
        )
        raise ConfigError(message) from None
    try:
        for host in str(parts.get("host") or "").split(","):
            # A folder is the location of a Unix socket.
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
