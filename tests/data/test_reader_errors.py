"""Whatever a library raises while it reads a file is an error that names the file, in one line."""

from __future__ import annotations

import pytest

from tabcohort import TableError
from tabcohort.data.reader_errors import MAX_REASON, as_table_error


class PanicException(BaseException):
    pass


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (ValueError("negative seek value -1"), r"^'t\.x' is a damaged zip file: negative seek value -1$"),
        (OSError("unable to fetch\n\nThe file is corrupted."), r"^'t\.x' is a damaged zip file: unable to fetch$"),
        (ValueError("a\x1b[2Jb"), r"^'t\.x' is a damaged zip file: a\\x1b\[2Jb$"),
        (ValueError("codec in a::B::c"), r"^'t\.x' is a damaged zip file: codec in c$"),
        (ValueError("x" * 9_999), rf"^'t\.x' is a damaged zip file: x{{{MAX_REASON}}}$"),
        (RuntimeError(), r"^'t\.x' is a damaged zip file: RuntimeError$"),
        (NotImplementedError("128 bits"), r"^'t\.x' is a zip file that cannot be read \(128 bits\); save the table as"),
        (MemoryError(), r"^'t\.x' needs more memory than there is; split it, or give it as Parquet$"),
        (PanicException("unwrap"), r"^'t\.x' is a damaged zip file, or has a column of a rare type; save the table as"),
        (TableError("ours"), "^ours$"),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, BaseException) else "",
)
def test_what_a_library_raises_is_an_error_of_ours(raised: BaseException, words: str) -> None:
    with pytest.raises(TableError, match=words), as_table_error("t.x", "zip file"):
        raise raised


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), as_table_error("t.x", "zip file"):
        raise KeyboardInterrupt
