"""Files that are almost tables, from a seed and a number: by grammars of hostile input, and by changes to valid files.

`hostile_table(seed, number)` gives the same bytes on every machine. `scripts/fuzz_tables.py` reads them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

# -- cells and names -------------------------------------------------------------------------------------------------

NUMBERS = (
    "0", "1", "-1.5", "3.25", "1e400", "-1e400", "1e-400", "9" * 400, "-" + "9" * 20, "18446744073709551616", "1_000",
    "1,234.5", "1.234,5", "$5", "95 %", "inf", "-Infinity", "NaN", "nan(5)", "0x1F", "1e", "++1", ".", "-", "1 000",
    "0." + "3" * 60, "9007199254740993", "1e308", "١٢٣", "½", "1d5", "0b1",
)  # fmt: skip
DATES = (
    "2024-12-31", "0000-00-00", "9999-12-31", "10000-01-01", "-99999-01-01", "292277026597-01-01", "2024-13-45",
    "31/12/2024", "12/31/2024", "2024-02-30", "2024-12-31T23:59:60Z", "2024-12-31T00:00:00+99:00", "1970-01-01",
    "2024-12-31 12:00:00.123456789123", "00:00:00", "31.12.24",
)  # fmt: skip
TEXTS = (
    "", " ", "Rome", "Oslo", "yes", "no", "true", "False", "NA", "null", "?", "\u202egnp.exe", "\u2066x", "e\u0301",
    "\U0001f600", "a\u0000b", "\x1b[2Jx", "\x9b31m", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "@SUM(1)",
    "\ufeff", "\u2028", "a" * 300, "\x07", "\x1a", "\ud7ff", "\uffff", "ﬁ", "İ", "ß", "\u00a0", "'", "\\", "\\N", "#",
)  # fmt: skip
QUOTED = ('""', '"a"', '"a""b"', '"a\nb"', '"a,b;c\td|e"', '"a', 'a"', '"a"b', '"""', '" x"', '"\r\n"', '"' * 7)
NAMES = (
    "a", "c", "y", "b", "A", " a", "a ", "", "1", "2.5", "ａ", "\u202ey", "<b>", "=1+1", "\x1b[31mred", "n" * 300,
    "__proto__", "y",
)  # fmt: skip
MAX_ROWS = 40


def _cell(rng: random.Random) -> str:
    return rng.choice(rng.choice((NUMBERS, NUMBERS, NUMBERS, DATES, DATES, TEXTS, TEXTS, QUOTED)))


def _plain_columns(rng: random.Random, n_rows: int) -> dict[str, list[str]]:
    """Return columns that make a table: a number, a category and a target."""
    return {
        "a": [f"{rng.gauss(0, 1):.3f}" for _ in range(n_rows)],
        "c": [rng.choice(("Rome", "Oslo")) for _ in range(n_rows)],
        "y": [rng.choice(("no", "yes")) for _ in range(n_rows)],
    }


def _csv_of(columns: dict[str, list[str]], delimiter: str = ",", end: str = "\n") -> str:
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "".join(delimiter.join(row) + end for row in rows)


# -- text ------------------------------------------------------------------------------------------------------------


def csv_with_hostile_cells(rng: random.Random) -> bytes:
    """A table in which some cells, and a column of one kind of hostile cells, stand for those of a plain one."""
    n_rows = rng.randrange(MAX_ROWS)
    columns = _plain_columns(rng, n_rows)
    kind = rng.choice((NUMBERS, DATES, TEXTS, QUOTED))
    few = rng.sample(kind, rng.randint(1, 3))
    columns[rng.choice(("d", "a", "y"))] = [rng.choice(few) for _ in range(n_rows)]
    for _ in range(rng.randrange(4) if n_rows else 0):
        rng.choice(list(columns.values()))[rng.randrange(n_rows)] = _cell(rng)
    return _encoded(_csv_of(columns, rng.choice(",,,;\t|"), rng.choice(("\n", "\r\n", "\r"))), rng)


def csv_by_grammar(rng: random.Random) -> bytes:
    """Lines of any cells, of any number, with any ends."""
    delimiter = rng.choice(",,,;\t|")
    n_columns = rng.choice((1, 2, 3, 3, 5, 40))
    names = [f"x{place}" for place in range(n_columns)] if rng.random() < 0.6 else rng.choices(NAMES, k=n_columns)
    lines, cells = [delimiter.join(names)], [_cell(rng) for _ in range(rng.choice((1, 2, 2, 4, 8)))]
    for _ in range(rng.randrange(MAX_ROWS)):
        n_cells = n_columns if rng.random() < 0.995 else rng.randrange(n_columns + 3)
        lines.append(delimiter.join(rng.choice(cells) for _ in range(n_cells)))
    for _ in range(rng.randrange(3)):
        extra = rng.choice(("", "# a comment", '"', lines[0], "\t", "sep=;", '{"a": 1}', "<html>"))
        lines.insert(rng.randrange(len(lines) + 1), extra)
    ends = rng.choice((["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r", "\n\n", "\u2028", "\x0b"]))
    text = "".join(line + rng.choice(ends) for line in lines)
    return _encoded(text.rstrip() if rng.random() < 0.2 else text, rng)


def csv_of_an_extreme(rng: random.Random) -> bytes:
    """Text that is extreme in one way: a huge cell, very many columns or rows of nothing, or none at all."""
    size = rng.choice((1_000, 30_000, 1_000_000))
    made = rng.choice((
        lambda: b"a,y\n" + b"x" * size + b",no\n1,yes\n",
        lambda: b'a,y\n"' + b"x\n" * size + b'",no\n1,yes\n',
        lambda: b'a,y\n"' + b'""' * size + b",no\n",
        lambda: b"," * size + b"\n",
        lambda: ",".join(f"n{place}" for place in range(size // 10)).encode() + b"\n" + b"1," * (size // 10) + b"\n",
        lambda: b"\n" * size,
        lambda: b"a,y\n" + b"\n" * size,
        lambda: b"a\n" + b"1\n" * (size // 10),
        lambda: b"\x00" * size,
        lambda: b"\xff\xfe" + b"\x00\xd8" * 7,
        lambda: b"a,y\n" + b"9" * size + b",no\n1,yes\n",
        lambda: b"a,y\n" + b"\xf0\x9f" * (size // 100) + b",no\n",
        lambda: "a,y\n".encode("utf-16") + "é".encode("utf-16-le") * size + b"\x0a",
        lambda: b'"' * size,
        lambda: b'"a' * (size // 10) + b"\n1\n",
        lambda: rng.randbytes(size // 10),
    ))  # fmt: skip
    return made()


def _encoded(text: str, rng: random.Random) -> bytes:
    """Return text in UTF-8, mostly, or with what other encodings have in it."""
    kind = rng.random()
    if kind < 0.7:
        return text.encode("utf-8", "surrogatepass")
    if kind < 0.75:
        return b"\xef\xbb\xbf" * rng.randint(1, 2) + text.encode("utf-8", "surrogatepass")
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "cp437", "utf-7"))
    data = text.encode(encoding, "replace")
    return data if rng.random() < 0.7 else mutated(data, rng)


JSON_VALUES = (
    *NUMBERS[:8], "1e400", "-0", "01", "1.", ".5", "NaN", "Infinity", "true", "null", "nul", '"x"', '"\\ud800"',
    '"\\u0000"', '"\\u202e"', '"a\x00b"', "[]", "[1]", "{}", '{"a": {"a": 1}}', "[" * 50 + "]" * 50, "[" * 3000,
    '{"a":' * 3000, '"' + "x" * 5000 + '"', '"2024-12-31"', '"\\x"', "'x'", "", "1 2", "/* */ 1", "10" * 200,
)  # fmt: skip


def json_by_grammar(rng: random.Random) -> bytes:
    """Lines of objects with hostile values, keys that come and go, and lines that are no objects."""
    names = [rng.choice((*NAMES, "\\ud800", '"', "\\")) for _ in range(rng.randint(1, 4))]
    names = ["a", "c", "y"] if rng.random() < 0.5 else names
    few = rng.sample(JSON_VALUES, 3)
    lines = []
    for _ in range(rng.randrange(MAX_ROWS)):
        kept = [name for name in names if rng.random() < 0.95]
        values = [
            rng.choice(few) if rng.random() < 0.03 else json.dumps(rng.choice((1, 2.5, "no", "yes", True, None)))
            for _ in kept
        ]
        lines.append("{" + ", ".join(f'"{name}": {value}' for name, value in zip(kept, values, strict=True)) + "}")
    if rng.random() < 0.3:
        lines.insert(
            rng.randrange(len(lines) + 1), rng.choice(("", "[", "[]", "1", "{", "}", "{}", "null", "]", '{"a"}'))
        )
    text = rng.choice(("\n", "\n", "\r\n", "\n\n", " ", ",\n")).join(lines)
    return _encoded(text, rng)


# -- what programs write ---------------------------------------------------------------------------------------------


def _columns_of(makers: Sequence[MakeColumn], rng: random.Random, n_rows: int) -> dict[str, pa.Array]:
    """Return plain columns with one or two that these make."""
    columns = {name: pa.array(cells) for name, cells in _plain_columns(rng, n_rows).items()}
    for name in rng.sample(("a", "d", "y"), rng.randint(0, 2)):
        make = rng.choice(makers)
        try:
            columns[name] = make(rng, n_rows)
        except (pa.ArrowException, ValueError, OverflowError, NotImplementedError):
            continue
    return columns


def _integers(rng: random.Random, n_rows: int, bits: int = 64) -> list[int]:
    few = (0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)))
    return [rng.choice(few) if rng.random() < 0.5 else rng.getrandbits(bits - 1) for _ in range(n_rows)]


def _cells_of(dtype: pa.DataType) -> Callable[[random.Random, int], pa.Array]:
    """Return what makes a column of a type over integers."""
    return lambda rng, n_rows: pa.array(_integers(rng, n_rows, dtype.bit_width)).cast(
        pa.int32() if dtype.bit_width == 32 else pa.int64()
    ).view(dtype)  # fmt: skip


def _dictionary(rng: random.Random, n_rows: int) -> pa.Array:
    """A dictionary whose indices lead out of it."""
    high = rng.choice((1, 2, 3, 127))
    indices = np.array(
        [rng.randint(rng.choice((0, -1)), high) for _ in range(n_rows)], rng.choice(("i1", "i2", "i4", "i8"))
    )
    levels = rng.choice((["no", "yes"], [], ["x"], [None, "x"], ["x", "x"], [1, 2], [[1], [2]], [1.5, float("nan")]))
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(levels), safe=False)


def _broken_text(rng: random.Random, n_rows: int) -> pa.Array:
    """Text whose bytes are no UTF-8, or whose offsets fall or lead out of the bytes."""
    offsets = np.arange(n_rows + 1, dtype=np.int32) * 2
    if n_rows > 1 and rng.random() < 0.6:  # the first and the last are what the writer itself reads
        offsets[rng.randrange(1, n_rows)] = rng.choice((-1, 2**31 - 1, 0, 10**6))
    data = bytes(rng.choice(b"ab\xff\x80\x00\xc3") for _ in range(2 * n_rows))
    return pa.Array.from_buffers(pa.string(), n_rows, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)])


MakeColumn = Callable[[random.Random, int], pa.Array]
BROKEN_COLUMNS: tuple[MakeColumn, ...] = (_dictionary, _broken_text)  # which only Arrow's writer does not read
RARE_COLUMNS: tuple[MakeColumn, ...] = (
    *(_cells_of(dtype) for dtype in (
        pa.timestamp("s"), pa.timestamp("ns", "Europe/Rome"), pa.timestamp("us", "no/where"), pa.date32(), pa.date64(),
        pa.time32("s"), pa.time64("ns"), pa.duration("us"), pa.float64(), pa.uint64(), pa.int64(), pa.int32(),
    )),
    lambda rng, n: pa.array([rng.choice((None, 10**36, -1)) for _ in range(n)], pa.decimal128(38, 0)),
    lambda rng, n: pa.array([rng.choice((None, 10**70, -1)) for _ in range(n)], pa.decimal256(76, 0)),
    lambda rng, n: pa.array([None] * n),
    lambda rng, n: pa.array([rng.choice(([], [1], [1, None])) for _ in range(n)]),
    lambda rng, n: pa.array([{"a": 1}] * n),
    lambda rng, n: pa.array([[("k", 1)]] * n, pa.map_(pa.string(), pa.int32())),
    lambda rng, n: pa.array([rng.randbytes(3) for _ in range(n)]),
    lambda rng, n: pa.array([rng.randbytes(4) for _ in range(n)], pa.binary(4)),
    lambda rng, n: pa.array([rng.choice((*TEXTS, None)) for _ in range(n)], pa.large_string()),
    lambda rng, n: pa.array([rng.choice((*TEXTS, None)) for _ in range(n)], pa.string_view()),
    lambda rng, n: pa.array(np.array([rng.choice((1.5, float("nan"), 65504)) for _ in range(n)], np.float16)),
    lambda rng, n: pa.array([rng.choice((1e308, -1e308, float("inf"), float("nan"), 5e-324)) for _ in range(n)]),
    lambda rng, n: pa.array([rng.choice((True, False, None)) for _ in range(n)]),
    lambda rng, n: pa.RunEndEncodedArray.from_arrays(pa.array([n or 1], pa.int32()), pa.array(["x"])).slice(0, n),
    lambda rng, n: pa.UnionArray.from_sparse(pa.array([0] * n, pa.int8()), [pa.array([1] * n)]),
    lambda rng, n: pa.array([pa.MonthDayNano([1, 2, 3])] * n, pa.month_day_nano_interval()),
)  # fmt: skip


def _table_of(makers: Sequence[MakeColumn], rng: random.Random) -> pa.Table:
    columns = _columns_of(makers, rng, rng.randrange(MAX_ROWS))
    names = list(columns) if rng.random() < 0.9 else [rng.choice(NAMES) for _ in columns]
    return pa.Table.from_arrays(list(columns.values()), names)


def _plain_table(rng: random.Random) -> pa.Table:
    return pa.table(_plain_columns(rng, 20))


def arrow(rng: random.Random) -> bytes:
    """An Arrow file or stream with rare columns, or one whose bytes are changed."""
    is_changed = rng.random() < 0.6
    makers = BROKEN_COLUMNS if rng.random() < 0.3 else RARE_COLUMNS
    table = _plain_table(rng) if is_changed and rng.random() < 0.5 else _table_of(makers, rng)
    file = io.BytesIO()
    if rng.random() < 0.6:
        compression = rng.choice(("uncompressed", "lz4", "zstd"))
        try:
            pyarrow.feather.write_feather(table, file, compression=compression)
        except (pa.ArrowException, ValueError):  # run ends and unions
            file = io.BytesIO()
            pyarrow.feather.write_feather(_plain_table(rng), file, compression=compression)
    else:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return mutated(file.getvalue(), rng, keep=8) if is_changed else file.getvalue()


def parquet(rng: random.Random) -> bytes:
    """A Parquet file with rare columns, or one whose bytes are changed."""
    is_changed = rng.random() < 0.7
    table = _plain_table(rng) if is_changed and rng.random() < 0.5 else _table_of(RARE_COLUMNS, rng)
    file = io.BytesIO()
    options = {
        "compression": rng.choice(("none", "snappy", "zstd", "gzip", "brotli", "lz4")),
        "use_dictionary": rng.random() < 0.5,
        "data_page_version": rng.choice(("1.0", "2.0")),
        "version": rng.choice(("1.0", "2.6")),
        "row_group_size": rng.choice((1, 7, 1000)),
        "store_schema": rng.random() < 0.5,
    }
    try:
        pyarrow.parquet.write_table(table, file, **options)
    except (pa.ArrowException, ValueError, OverflowError):
        file = io.BytesIO()
        pyarrow.parquet.write_table(_plain_table(rng), file, **options)
    data = file.getvalue()
    if not is_changed:
        return data
    if rng.random() < 0.5:  # what describes the columns is at the end
        length = int.from_bytes(data[-8:-4], "little")
        return data[: -8 - length] + mutated(data[-8 - length : -8], rng) + data[-8:]
    return mutated(data, rng, keep=5)


# -- spreadsheets ----------------------------------------------------------------------------------------------------

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
ODS = "urn:oasis:names:tc:opendocument:xmlns:"
REFERENCES = ("XFD1048576", "A0", "A99999999999", "ZZZZ1", "1A", "", "A1:B2", "é1", "A-1", "AMJ70000")
NESTED_ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def _xlsx_cell(reference: str, text: str, rng: random.Random) -> str:
    kind = rng.random()
    where = f' r="{reference}"' if rng.random() < 0.98 else rng.choice(("", f' r="{rng.choice(REFERENCES)}"'))
    if kind < 0.9:
        return f'<c{where} t="inlineStr"><is><t>{text}</t></is></c>'
    which = rng.choice(("s", "str", "b", "e", "d", "n", "zz", ""))
    value = rng.choice((*NUMBERS, *DATES, "#DIV/0!", "-1", "999999999", "&b;"))
    style = rng.choice(("", ' s="1"', ' s="-1"', ' s="4294967296"'))
    return f'<c{where} t="{which}"{style}><v>{value}</v></c>'


def _sheet(rng: random.Random) -> str:
    columns = _plain_columns(rng, rng.randrange(1, 12))
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    cells = (
        "".join(_xlsx_cell(f"{'ABC'[place]}{number}", cell, rng) for place, cell in enumerate(row))
        for number, row in enumerate(rows, start=1)
    )
    lines = [f'<row r="{number}">{row}</row>' for number, row in enumerate(cells, start=1)]
    if rng.random() < 0.1:
        lines.insert(
            rng.randrange(len(lines)), f'<row r="{rng.choice((0, -1, 2**31, "x", 1048576))}"><c r="A1"/></row>'
        )
    dimension = rng.choice(("", "", "A1:C12", "A1:XFD1048576", "C9:A1", "x", "A1:ZZZZZZZ99999999999"))
    extra = rng.choice(("", "", "", f'<mergeCells><mergeCell ref="{rng.choice(REFERENCES)}"/></mergeCells>'))
    entities = NESTED_ENTITIES if rng.random() < 0.1 else ""
    size = f'<dimension ref="{dimension}"/>' if dimension else ""
    return f'{entities}<worksheet xmlns="{MAIN}">{size}<sheetData>{"".join(lines)}</sheetData>{extra}</worksheet>'


def _xlsx_members(rng: random.Random) -> dict[str, str]:
    relation = f'<Relationship Id="r" Type="{OFFICE}/'
    members = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}">{relation}officeDocument" Target="xl/workbook.xml"/>'
        "</Relationships>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><workbookPr date1904="1"/><sheets>'
        '<sheet name="S" sheetId="1" r:id="r"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{relation}worksheet" Target="'
        f'{rng.choice(("worksheets/s.xml", "worksheets/s.xml", "/xl/worksheets/s.xml", "../../x"))}"/></Relationships>',
        "xl/worksheets/s.xml": _sheet(rng),
    }
    if rng.random() < 0.3:
        members["xl/styles.xml"] = f'<styleSheet xmlns="{MAIN}"><numFmts><numFmt numFmtId="165" formatCode="yyyy"/>' \
            '</numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="165"/></cellXfs></styleSheet>'  # fmt: skip
    if rng.random() < 0.3:
        members["xl/sharedStrings.xml"] = (
            f'<sst xmlns="{MAIN}" count="{rng.choice((1, 2**40, -1))}"><si><t>x</t></si></sst>'
        )
    return members


def _ods_members(rng: random.Random) -> dict[str, str]:
    def cell(text: str) -> str:
        kind = rng.choice(("string",) * 8 + ("float", "date", "time", "boolean", "percentage", "zz"))
        value = rng.choice((*NUMBERS, *DATES))
        repeated = (
            "" if rng.random() < 0.97 else f' table:number-columns-repeated="{rng.choice((0, 3, -1, 16384, 10**12))}"'
        )
        shown = f"<text:p>{text}</text:p>"
        return (
            f'<table:table-cell office:value-type="{kind}" office:value="{value}" office:date-value="{value}"'
            f"{repeated}>{shown}</table:table-cell>"
        )

    columns = _plain_columns(rng, rng.randrange(1, 12))
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    lines = [f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows]
    if rng.random() < 0.2:
        count = rng.choice((0, 3, -1, 1048576, 10**9, 10**18))
        lines.append(f'<table:table-row table:number-rows-repeated="{count}">{cell("x")}</table:table-row>')
    spaces = "".join(f' xmlns:{name}="{ODS}{name}:1.0"' for name in ("office", "table", "text"))
    return {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{ODS}manifest:1.0"/>',
        "content.xml": f"<office:document-content{spaces}><office:body><office:spreadsheet>"
        f'<table:table table:name="S">{"".join(lines)}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>",
    }


def _zipped(members: dict[str, bytes], rng: random.Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def spreadsheet(rng: random.Random) -> bytes:
    """A workbook with hostile cells and places, one of whose members is changed, or the bytes of the file."""
    make = rng.choice((_xlsx_members, _xlsx_members, _ods_members))
    members = {name: text.encode("utf-8", "replace") for name, text in make(rng).items()}
    kind = rng.random()
    if kind < 0.35:
        name = rng.choice(list(members))
        members[name] = mutated(members[name], rng)
    elif kind < 0.4:
        del members[rng.choice(list(members))]
    data = _zipped(members, rng)
    return mutated(data, rng, keep=4) if 0.4 <= kind < 0.6 else data


# -- packed ----------------------------------------------------------------------------------------------------------


def packed(rng: random.Random) -> bytes:
    """A packed file whose bytes are changed, that holds a hostile one, or that unpacks to very much."""
    if rng.random() < 0.02:
        content = rng.choice((b"\x00", b"a,y\n", b"1,", b"\n")) * rng.choice((10**5, 10**6))
    else:
        content = rng.choice((csv_with_hostile_cells, csv_by_grammar, json_by_grammar, parquet))(rng)
    kind = rng.randrange(6)
    if kind == 0:
        data = gzip.compress(content, 1, mtime=0)
    elif kind == 1:
        data = bz2.compress(content)
    elif kind == 2:
        data = lzma.compress(content)
    elif kind == 3:
        data = pa.compress(content, "zstd", asbytes=True)
    elif kind == 4:
        names = rng.choice((["t.csv"], ["t.csv"], ["t.csv", "u.csv"], [], ["../t.csv"], ["\x1b[2J.csv"], ["a.npy"]))
        data = _zipped(dict.fromkeys(names, content), rng)
    else:
        data = gzip.compress(content[: len(content) // 2], 1, mtime=0) + gzip.compress(content[len(content) // 2 :], 1)
    return mutated(data, rng, keep=rng.choice((0, 4))) if rng.random() < 0.5 else data


# -- changes to bytes ------------------------------------------------------------------------------------------------

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(data: bytes, rng: random.Random, keep: int = 0) -> bytes:
    """Return bytes with one to four changes after the first `keep`."""
    head, changed = data[:keep], bytearray(data[keep:])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        place, kind = rng.randrange(len(changed)), rng.randrange(8)
        length = min(rng.choice((1, 2, 4, 16, 300)), len(changed) - place)
        if kind <= 1:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[place] = rng.randrange(256)
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length] * rng.choice((1, 2, 50))
        elif kind == 5:
            value = struct.pack("<Q", rng.choice(INTERESTING))[: rng.choice((1, 2, 4, 8))]
            changed[place : place + len(value)] = value
        elif kind == 6:
            changed[place:place] = rng.randbytes(length)
        elif rng.random() < 0.3:
            del changed[place:]
        else:
            other = rng.randrange(len(changed))
            changed[place : place + length] = changed[other : other + length]
    return head + bytes(changed)


def text_mutated(rng: random.Random) -> bytes:
    """A plain table as text whose bytes are changed."""
    columns = _plain_columns(rng, 20)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    text = _csv_of(columns) if rng.random() < 0.5 else "\n".join(map(json.dumps, rows))
    return mutated(text.encode(), rng)


MAKERS: Sequence[tuple[Callable[[random.Random], bytes], str, int]] = (  # with an ending, and how often of 100
    (csv_with_hostile_cells, "csv", 20),
    (csv_by_grammar, "csv", 16),
    (csv_of_an_extreme, "csv", 1),
    (text_mutated, "csv", 10),
    (json_by_grammar, "jsonl", 14),
    (arrow, "arrow", 14),
    (parquet, "parquet", 14),
    (spreadsheet, "xlsx", 1),
    (packed, "gz", 8),
)


@dataclass(frozen=True)
class HostileTable:
    """A file: what made it, the ending of its name, and its bytes."""

    kind: str
    ending: str
    data: bytes


def hostile_table(seed: int, number: int) -> HostileTable:
    """Return a file that is almost a table."""
    rng = random.Random(f"{seed}-{number}")
    make, ending, _ = rng.choices(MAKERS, [weight for *_, weight in MAKERS])[0]
    return HostileTable(make.__name__, ending, make(rng))
