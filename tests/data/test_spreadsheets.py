"""Spreadsheets of all kinds are read: the first sheet, whose first row has the names."""

from __future__ import annotations

import base64
import io
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tabcohort import TabcohortWarning, TableError, read_frame
from tabcohort.data import spreadsheets
from tabcohort.data.sources import read_source
from tabcohort.data.spreadsheets import read_spreadsheet

Cell = float | str | None
PEOPLE = [["age", "city"], [31, "Rome"], [45, "Oslo"]]
XLS = (  # of the same rows, as Excel 97 saves them
    r"""c-rk)Jxmlq6#i!Kj{6B5dw7_D3AtcIMH*vc1FIxR1)ek-W1<Ia4B@;bCk+;e;*};QRuUQ#8XJ@bFj{CwVS>@Z#Kh!IODhviEZ~+m"""
    r"""Z)f#D3N8_%X1>k5dHdd*nRhd9-rmfcwM21lvAKk8=t2NxH;S4HnV=H&UrdnRbtUW95h||6KZR(77P2OU=XI~cat-Brmtf#&@D)+u"""
    r"""6O}6%L%)-=Q~QW+_8}vr51m8>W=Rr96MNObbcpEzrcc=N1=BMuxzDtdY>VPD)~x>a(<+KD8Lg~~L-xDOZ9cH%BpR_Qqxkj%;n{|8"""
    r"""Hb0Wd{+)`JU@hiB>(*=M?0hC$M3NS89^c&*@Xg<;FH>5+zj6VR|JW)I?;w9@1c52I*Eqln6p*U{Zxg0%XDn;4<1omA3n?<!ZQ_PT"""
    r"""#wVy6aBj%A^Eb0jOy*_Y$L5xOT*vWUOLQ3Z%qKX?P0G~kkH5a{8%$eQSu(}B+sp7rq*HKlN4B8Gan`V3Y}?NC1k=0R>mlZwnI<VV"""
    r"""scuU*D(2iY+uUPq8;x^{@y<G0!5<^O@a4ivOX0J1ocM*_(yipedutA@^u-yb_VSrVhv*P9k0hR1el1is_{g;Bx6BYROy#?)K4bOR"""
    r"""K#bW0Q}0dAj!^buoBgB_V_5=|%3l1OO=)lJU~jPflCt+^U(RBe(SRkXq&)QtF=%LLXlQ6?XlQ8cJ%svKA5h1PkUBer)xFLJm9oAj"""
    r"""`EM}*hn{gdnD!t?bsiH{#m_;6gx{CgWgGv#P~swup2sK#*^kkx<Co5UqVo6bx}o{!wotX>m#gt}kH_Bx2W-X?"""
)


def xlsx(*sheets: Sequence[Sequence[Cell]]) -> bytes:
    """Return the smallest workbook with these sheets, which are called S1, S2, ..."""

    def row(number: int, cells: Sequence[Cell]) -> str:
        return "".join(
            f'<c r="{chr(65 + place)}{number}" t="inlineStr"><is><t>{cell}</t></is></c>' if isinstance(cell, str)
            else f'<c r="{chr(65 + place)}{number}"><v>{cell}</v></c>'
            for place, cell in enumerate(cells) if cell is not None
        )  # fmt: skip

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    numbers = range(1, len(sheets) + 1)
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{office}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        + "".join(f'<sheet name="S{number}" sheetId="{number}" r:id="r{number}"/>' for number in numbers)
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        + "".join(
            f'<Relationship Id="r{number}" Type="{office}/worksheet" Target="worksheets/s{number}.xml"/>'
            for number in numbers
        )
        + "</Relationships>",
    }
    for number, rows in zip(numbers, sheets, strict=True):
        cells = "".join(f'<row r="{place}">{row(place, cells)}</row>' for place, cells in enumerate(rows, start=1))
        files[f"xl/worksheets/s{number}.xml"] = f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
    return zipped(files)


def ods(rows: Sequence[Sequence[Cell]]) -> bytes:
    """Return the smallest OpenDocument spreadsheet with these rows."""

    def cell(value: Cell) -> str:
        kind = 'string"' if isinstance(value, str) else f'float" office:value="{value}"'
        return f'<table:table-cell office:value-type="{kind}><text:p>{value}</text:p></table:table-cell>'

    names = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    body = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": f"<office:document-content{names}><office:body><office:spreadsheet><table:table "
            f'table:name="S1">{body}</table:table></office:spreadsheet></office:body></office:document-content>',
            "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:'
            'manifest:1.0"/>',
        }
    )


def zipped(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    "data", [xlsx(PEOPLE), ods(PEOPLE), zlib.decompress(base64.b85decode(XLS))], ids=["xlsx", "ods", "xls"]
)
def test_a_spreadsheet_is_read_whatever_it_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(data)
    source = read_source(tmp_path / "table.csv")
    assert source.frame.to_dict(as_series=False) == {"age": [31, 45], "city": ["Rome", "Oslo"]}
    assert source.description == "spreadsheet, 2 rows x 2 columns"


def test_only_the_first_sheet_is_read_with_a_warning() -> None:
    with pytest.warns(
        TabcohortWarning, match=r"'t\.xlsx': only the first sheet, 'S1', is read; the others are 'S2', 'S3'"
    ):
        frame = read_spreadsheet(xlsx(PEOPLE, [["x"], [1]], [["y"]]), "t.xlsx")
    assert frame.columns == ["age", "city"]


def test_rows_before_and_after_the_table_may_be_empty() -> None:
    frame = read_spreadsheet(xlsx([[], [], *PEOPLE, []]), "t.xlsx")
    assert frame.rows() == [(31, "Rome"), (45, "Oslo")]


def test_text_after_many_numbers_stays() -> None:
    frame = read_spreadsheet(xlsx([["a"], *([number] for number in range(1500)), ["x"]]), "t.xlsx")
    assert frame["a"][-1] == "x"


def test_names_are_checked_as_in_text() -> None:
    with pytest.raises(TableError, match=r"'t\.xlsx' has two columns called 'a'"):
        read_spreadsheet(xlsx([["a", "a"], [1, 2]]), "t.xlsx")
    with pytest.warns(TabcohortWarning, match="column 1 without a name counts the rows"):
        assert read_spreadsheet(xlsx([[None, "a"], [0, 7], [1, 9]]), "t.xlsx").columns == ["a"]


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(TableError, match=r"'t\.xlsx': the sheet 'S1' is empty; the first sheet must hold the table"):
        read_spreadsheet(xlsx([]), "t.xlsx")


def test_a_damaged_spreadsheet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(zipped({"xl/workbook.xml": "<workbook/>"}))
    with pytest.raises(TableError, match=r"t\.xlsx' is a damaged spreadsheet: "):
        read_frame(tmp_path / "t.xlsx")
    (tmp_path / "t.xls").write_bytes(zlib.decompress(base64.b85decode(XLS))[:600])
    with pytest.raises(TableError, match=r"t\.xls' is a damaged spreadsheet: "):
        read_frame(tmp_path / "t.xls")


def test_a_spreadsheet_whose_cells_are_too_far_apart_ends_no_process_of_ours() -> None:
    """The reader makes room for all cells between; where there is none it ends its process."""
    with zipfile.ZipFile(io.BytesIO(xlsx(PEOPLE))) as archive:
        files = {name: archive.read(name).decode().replace('r="B3"', 'r="XFD1048576"') for name in archive.namelist()}
    with pytest.raises(TableError, match=r"'t\.xlsx' is a damaged spreadsheet, or has cells so far apart that reading"):
        read_spreadsheet(zipped(files), "t.xlsx")


def test_a_spreadsheet_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheets, "MAX_SECONDS", 0)
    with pytest.raises(TableError, match=r"'t\.xlsx' is a spreadsheet that takes more than 0 seconds to read; save"):
        read_spreadsheet(xlsx(PEOPLE), "t.xlsx")


def test_without_the_extra_the_command_that_installs_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(TableError, match=r"'t\.xlsx' is a spreadsheet, .* `pip install 'tabcohort\[excel\]'`, or save"):
        read_spreadsheet(xlsx(PEOPLE), "t.xlsx")
