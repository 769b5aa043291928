"""What other libraries raise while they read a file, as errors that name it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tabcohort.errors import TabcohortError, TableError, printable

MAX_REASON = 200  # characters of a library's message
REMEDY = "save the table as CSV"
PARQUET = "Parquet file"
_NAMESPACE = re.compile(r"\b\w+::")


@contextlib.contextmanager
def as_table_error(name: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads a file into a `TableError`.

    All exceptions are caught, as decoders of damaged bytes raise any. Those written in Rust panic, which is not even an
    `Exception`, and each library has a class of its own for that.

    Args:
        name: of the file.
        what: it is, such as "Parquet file".

    Raises:
        TableError: the library failed; its message has the first line of what the library said.
    """
    try:
        yield
    except TabcohortError:
        raise
    except MemoryError:
        remedy = "split it" if what == PARQUET else "split it, or give it as Parquet"
        raise TableError(f"{name!r} needs more memory than there is; {remedy}") from None
    except NotImplementedError as error:
        raise TableError(f"{name!r} is a {what} that cannot be read ({_reason(error)}); {REMEDY}") from None
    except Exception as error:
        raise TableError(f"{name!r} is a damaged {what}: {_reason(error)}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise TableError(f"{name!r} is a damaged {what}, or has a column of a rare type; {REMEDY}") from None


def _reason(error: Exception) -> str:
    """Return the first line of a library's message, without control characters and the namespaces of C++ and Rust."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return str(printable(_NAMESPACE.sub("", lines[0])[:MAX_REASON]))
