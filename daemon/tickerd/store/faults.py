"""What is wrong with the database: a line for people and a word for metrics, both without passwords."""

import ssl
from collections.abc import Iterator
from typing import NamedTuple

from tickerd.checks import escaped, redacted

CODES = (
    *("unreachable", "login", "tls", "no_database", "permission", "read_only"),
    *("locked", "full", "timeout", "schema", "other"),
)
"""The words: a bounded set, for a label."""


class Fault(NamedTuple):
    """One of `CODES`, and what people are told."""

    code: str
    message: str


class SchemaError(Exception):
    """The tables are not those of this version; the message is one line that says what to do."""


class AddressError(Exception):
    """A setting of the database is wrong; the message is one line that names it."""


class FileError(Exception):
    """The embedded database's file cannot be used; one of `CODES`, and one line that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TokenError(Exception):
    """No token can be made for `database.iam`; the message is one line."""


_BY_STATE = {
    "08": ("unreachable", "see to the server and the network"),
    "25006": ("read_only", "the server takes no writes (a standby, or one that fails over)"),
    "28": ("login", "see the user and the password of database.url, or database.iam"),
    "3D000": ("no_database", "create it, or correct database.url"),
    "42501": ("permission", "the role must own tickerd's tables, or be allowed to make them"),
    "42P01": ("schema", "run `tickerd db upgrade`"),
    "53": ("full", "see to the server's disk, memory and connections"),
    "55P03": ("locked", "somebody holds a lock on the tables"),
    "57014": ("timeout", "the server is too slow, or somebody cancels"),
    "57P": ("unreachable", "the server stops or starts"),
}
"""By the beginning of PostgreSQL's SQLSTATE (its manual, Appendix A)."""

_BY_SQLITE = {
    "SQLITE_BUSY": ("locked", "another program holds its lock"),
    "SQLITE_LOCKED": ("locked", "another program holds its lock"),
    "SQLITE_FULL": ("full", "make room on its disk"),
    "SQLITE_IOERR": ("full", "see to its disk"),
    "SQLITE_READONLY": ("permission", "make the file and its directory writable for this user"),
    "SQLITE_CANTOPEN": ("permission", "its directory must exist and be writable for this user"),
    "SQLITE_PERM": ("permission", "make the file writable for this user"),
    "SQLITE_NOTADB": ("other", "move the file away: it is no SQLite database"),
    "SQLITE_CORRUPT": ("other", "move the file away: it is damaged"),
}


def fault_of(error: BaseException, where: str) -> Fault:
    """What an error means for the database at `where` (a URL without password)."""
    if isinstance(error, FileError):
        return Fault(error.code, str(error))
    for kind, code in ((SchemaError, "schema"), (AddressError, "other"), (TokenError, "login")):
        if isinstance(error, kind):
            return Fault(code, str(error))
    for each in _chain(error):
        found = _known(each)
        if found is not None:
            code, said, remedy = found
            text = escaped(redacted(f"database {where}: {said}"))
            return Fault(code, f"{text}; {remedy}" if remedy else text)
    name = type(error).__name__
    return Fault("other", escaped(redacted(f"database {where}: {name}: {_first_line(error)}")))


def _known(error: BaseException) -> tuple[str, str, str] | None:
    """Code, what was said, remedy."""
    said = _first_line(error)
    for names, attribute in ((_BY_STATE, "sqlstate"), (_BY_SQLITE, "sqlite_errorname")):
        name = str(getattr(error, attribute, None) or "")
        for begin, (code, remedy) in names.items():
            if name.startswith(begin):
                return code, said, remedy
    found = None
    if isinstance(error, ssl.SSLError):
        found = "tls", said, "see database.tls_ca_file, and the host name that the certificate is for"
    elif isinstance(error, TimeoutError):
        found = "timeout", "no answer in time", "see to the server and the network"
    elif isinstance(error, OSError):
        found = "unreachable", error.strerror or said, "see to the server and the network"
    elif type(error).__module__.startswith("asyncpg") and "Interface" in type(error).__name__:
        found = "unreachable", said, "the connection is made anew"
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from, the driver's own first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    yield from reversed(found)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
