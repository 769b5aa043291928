"""Databases are read by URL and query, and never written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from tabcohort import TableError, read_frame
from tabcohort.data.databases import is_database, read_database, shown
from tabcohort.data.sources import read_source

CREATE = "CREATE TABLE patients (age INTEGER, city TEXT, dose NUMERIC(6, 2))"
INSERT = "INSERT INTO patients VALUES (31, 'Rome', 1.5), (45, NULL, NULL), (52, 'Oslo', 2)"
PATIENTS = {"age": [31, 45, 52], "city": ["Rome", None, "Oslo"], "dose": [1.5, None, 2.0]}


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "a b.db")) as connection:
        connection.execute(CREATE)
        connection.execute(INSERT)
        connection.commit()
    return f"sqlite:///{tmp_path / 'a b.db'}"


@pytest.fixture
def duck(tmp_path: Path) -> str:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute(CREATE)
        connection.execute(INSERT)
    return f"duckdb:///{tmp_path / 'a.duckdb'}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server that exists for this session, from Debian's package."""
    programs = postgres_programs()
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's name must be short

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        if os.geteuid() == 0:  # the server refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=60)

    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    try:
        run("initdb", "--username=tester", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-F -c listen_addresses= -c unix_socket_directories={folder}"
        run("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "--options", options)
        try:
            yield f"postgresql://tester:secret@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def postgres_programs() -> Path:
    """Return the folder of the server's programs; install them where that is possible, or skip with the reason."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders and os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "--yes", "--no-install-recommends", "postgresql"]
        installed = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not folders:
            pytest.skip(f"PostgreSQL cannot be installed: {installed.stderr.strip()[-200:]}")
    if not folders:
        pytest.skip("PostgreSQL is not installed, and only root can install Debian's package")
    return folders[-1]


@pytest.fixture(params=["sqlite", "duck", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Yield the URL of each kind of database, with the one table `patients`."""
    if request.param != "postgres":
        return request.getfixturevalue(request.param)
    url = request.getfixturevalue("postgres")
    execute(url, 'DROP TABLE IF EXISTS patients, "Visits 2"', "DROP TYPE IF EXISTS mood", CREATE, INSERT)
    return url


def test_a_query_gives_a_frame(url: str) -> None:
    frame = read_frame(url, "SELECT age, city, dose FROM patients ORDER BY age")
    assert frame.to_dict(as_series=False) == PATIENTS
    assert read_frame(url, "SELECT count(*) AS n FROM patients").rows() == [(3,)]


def test_the_only_table_needs_no_query_and_a_table_is_named_alone(url: str) -> None:
    source = read_source(url)
    assert source.frame.sort("age").to_dict(as_series=False) == PATIENTS
    system = {"sq": "SQLite", "du": "DuckDB", "po": "PostgreSQL"}[url[:2]]
    assert source.description == f"{system}, 3 rows x 3 columns"
    assert read_frame(url, "patients").equals(source.frame)


def test_no_rows_are_a_frame_with_columns(url: str) -> None:
    frame = read_frame(url, "SELECT * FROM patients WHERE age > 99")
    assert (frame.columns, len(frame)) == (["age", "city", "dose"], 0)


def test_an_unknown_table_offers_the_nearest(url: str) -> None:
    with pytest.raises(
        TableError, match=r"has no table 'patient' \(did you mean 'patients'\?\); its tables are 'patients'"
    ):
        read_frame(url, "patient")


def test_a_wrong_query_is_said_in_one_line(url: str) -> None:
    with pytest.raises(TableError, match=r"' cannot be read: .*(syntax error|Parser Error)") as raised:
        read_frame(url, "SELEC age FROM patients")
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_two_columns_of_one_name_are_refused(url: str) -> None:
    with pytest.raises(TableError, match="the query gives two columns called 'age'; rename one with AS"):
        read_frame(url, "SELECT age, age FROM patients")


@pytest.mark.parametrize(
    "query", ["INSERT INTO patients VALUES (1, 'x', 1)", "DELETE FROM patients", "CREATE TABLE more (a INTEGER)"]
)
def test_nothing_is_written(url: str, query: str) -> None:
    with pytest.raises(TableError, match=r"cannot be read: .*read.?only|must be a single SELECT"):
        read_frame(url, query)
    assert read_source(url).frame.sort("age").to_dict(as_series=False) == PATIENTS


def test_several_tables_are_listed(sqlite: str) -> None:
    with closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"))) as connection:
        connection.execute('CREATE TABLE "Visits 2" (a INTEGER)')
    with pytest.raises(
        TableError, match="has 2 tables; give a query, or the name of one of them: 'Visits 2', 'patients'"
    ):
        read_frame(sqlite)


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with pytest.raises(TableError, match=r"a\.db' has no tables"):
        read_frame(f"sqlite:///{tmp_path / 'a.db'}")


@pytest.mark.parametrize("query", ["PRAGMA foreign_keys = ON", "SELECT 1; SELECT 2"])
def test_sqlite_runs_one_select(sqlite: str, query: str) -> None:
    with pytest.raises(TableError, match=r"the query must be a single SELECT|one statement at a time"):
        read_frame(sqlite, query)


def test_duckdb_must_give_rows_and_reads_no_other_files(duck: str, tmp_path: Path) -> None:
    for query in ("SET threads = 1", "SELECT 1; SELECT 2", "-- nothing"):
        with pytest.raises(TableError, match="the query must be a single SELECT"):
            read_frame(duck, query)
    for query in (f"COPY patients TO '{tmp_path}/x.csv'", f"SELECT * FROM '{tmp_path}/x.csv'"):
        with pytest.raises(TableError, match=r"the query must be a single SELECT|cannot be read: Permission Error"):
            read_frame(duck, query)
    assert not (tmp_path / "x.csv").exists()


def test_types_that_sqlite_mixes_become_text(sqlite: str) -> None:
    frame = read_frame(
        sqlite, "SELECT 1 AS a, 1 AS b, 9223372036854775807 AS c UNION ALL SELECT 'x', 2.5, 1 ORDER BY c DESC"
    )
    assert frame.rows() == [("1", 1.0, 2**63 - 1), ("x", 2.5, 1)]


def test_duckdb_types_become_those_of_a_table(duck: str) -> None:
    frame = read_frame(
        duck, "SELECT 1.5::DECIMAL(9, 2) AS a, 7::HUGEINT AS b, DATE '2020-01-02' AS c, [1, 2] AS d, TRUE AS e"
    )
    assert [str(cell) for cell in frame.row(0)] == ["1.5", "7.0", "2020-01-02", "[1, 2]", "True"]


def test_postgresql_types_become_those_of_a_table(postgres: str) -> None:
    frame = read_frame(
        postgres,
        "SELECT 1.5::numeric AS a, DATE '2020-01-02' AS b, TRUE AS c, '{\"x\": 1}'::jsonb AS d, ARRAY[1, 2] AS e, "
        "'00000000-0000-0000-0000-000000000007'::uuid AS f, 'ab'::char(3) AS g, NULL::numeric AS h",
    )
    assert [str(cell) for cell in frame.row(0)] == [
        "1.5", "2020-01-02", "True", '{"x": 1}', "[1, 2]", "00000000-0000-0000-0000-000000000007", "ab ", "None",
    ]  # fmt: skip


def test_enumerations_of_postgresql_are_text(postgres: str) -> None:
    execute(postgres, "DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('sad', 'fine')")
    assert read_frame(postgres, "SELECT 'fine'::mood AS a, INTERVAL '1 day' AS b")["a"].to_list() == ["fine"]


def test_a_server_that_is_not_there_is_an_error_without_the_password() -> None:
    with pytest.raises(TableError, match=r"'postgresql://me:\*\*\*@localhost:1/x' cannot be read: ") as raised:
        read_frame("postgresql://me:secret@localhost:1/x", "SELECT 1 AS a")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlit:///a.db", r"'sqlit:///a\.db' is not the URL .* \(did you mean 'sqlite'\?\); it begins with sqlite:///"),
        ("https://x.org/a.csv", "is not the URL of a database that can be read; it begins with"),
        ("sqlite:///nowhere/a.db", r"there is no file 'nowhere/a\.db', .* a path from the root has a fourth slash"),
        ("duckdb:///a.duckdb", r"there is no file 'a\.duckdb'"),
    ],
)
def test_a_wrong_url_is_refused(url: str, words: str) -> None:
    with pytest.raises(TableError, match=words):
        read_database(url, "SELECT 1 AS a")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    for scheme in ("sqlite", "duckdb"):
        with pytest.raises(TableError, match=r"a\.db' cannot be read: "):
            read_frame(f"{scheme}:///{tmp_path / 'a.db'}")


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("duckdb:///a.duckdb", "duckdb", "duckdb"),
        ("postgresql://me:secret@localhost/x", "adbc_driver_postgresql", "postgres"),
    ],
)
def test_without_the_extra_the_command_that_installs_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        TableError, match=rf"needs an extra; install it with `pip install 'tabcohort\[{extra}\]'`"
    ) as raised:
        read_frame(url, "SELECT 1 AS a")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:secret@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:s3c#e/t@s?&=:x@host/x", "postgresql://me:***@host/x"),
        ("postgresql://:secret@host/x", "postgresql://:***@host/x"),
        ("postgresql://[me:secret@host/x", "postgresql://[me:***@host/x"),
        ("postgresql://me@host/x?password=s#/@t&sslmode=on", "postgresql://me@host/x?password=***&sslmode=on"),
        ("postgresql://host/x?user=me&SSLPassword=secret", "postgresql://host/x?user=me&SSLPassword=***"),
        ("postgresql://host/x?user=me&password=a:b@c", "postgresql://host/x?user=me&password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, masked: str) -> None:
    assert shown(url) == masked


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@host:5432/x", "postgresql://me@[::1]:5432/x?user=a:b", "sqlite:///folder/a:b@c.db",
        "postgresql://host:5432/x?user=me@b.c",
    ],
)  # fmt: skip
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert shown(url) == url


@pytest.mark.parametrize("password", ["pa/ss", "pa@ss", "pa/s@s#"])
def test_no_part_of_a_password_is_in_the_reason_of_the_driver(password: str) -> None:
    words = (
        r"'postgresql://me:\*\*\*@localhost:1/x' cannot be read: its password has a slash or an @; write %2F and %40"
    )
    with pytest.raises(TableError, match=words):
        read_frame(f"postgresql://me:{password}@localhost:1/x", "SELECT 1 AS a")


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_messages_about_files_do_not_show_a_password(scheme: str) -> None:
    with pytest.raises(
        TableError, match=r"there is no file 'a\.db\?password=\*\*\*', which '.*=\*\*\*' names"
    ) as raised:
        read_frame(f"{scheme}:///a.db?password=secret", "SELECT 1 AS a")
    assert "secret" not in str(raised.value)


def execute(url: str, *statements: str) -> None:
    """Run statements in a database of DuckDB or PostgreSQL."""
    from adbc_driver_postgresql import dbapi

    path = url.removeprefix("duckdb:///")
    with duckdb.connect(path) if path != url else dbapi.connect(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


def test_a_table_may_be_named_with_its_schema(url: str) -> None:
    schema = "public" if url.startswith("postgres") else "main"
    assert read_frame(url, f" {schema}.patients ").equals(read_frame(url, "patients"))


@pytest.mark.parametrize("url", ["duck", "postgres"], indirect=True)
def test_tables_of_another_schema_are_listed_and_read_with_it(url: str) -> None:
    execute(url, "CREATE SCHEMA ward", "CREATE TABLE ward.visits (a INTEGER)", "INSERT INTO ward.visits VALUES (7)")
    try:
        assert read_frame(url, "ward.visits").rows() == [(7,)]
        with pytest.raises(TableError, match=r"has 2 tables; .*: 'patients', 'ward\.visits'$"):
            read_frame(url)
        with pytest.raises(
            TableError, match=r"no table 'ward\.visit' \(did you mean 'ward\.visits'\?\); its tables are"
        ):
            read_frame(url, "ward.visit")
    finally:
        execute(url, "DROP SCHEMA ward CASCADE")


def test_a_url_is_told_from_a_file() -> None:
    assert is_database("sqlite:///a.db")
    assert not is_database("folder/a.db")
