"""A table of prompts is read whole or refused by row: what is read is what was written."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safediffusion.config.inputs import PromptsConfig
from safediffusion.errors import UserError
from safediffusion.evaluation.prompt_sets import PromptFile, read_geneval, read_rows
from safediffusion.evaluation.tasks import get_task
from safediffusion.evaluation.tasks.user_prompts import MOST
from safediffusion.prompts.select import Prompt, load_prompts
from safediffusion.prompts.table import Table, read_table, whole_number

FUZZ = settings(max_examples=120)
SEPARATORS = {".csv": ",", ".tsv": "\t"}
LOSSLESS = (csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from('\n\r\t,"; '))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def trained(path: Path, **settings: Any) -> list[Prompt]:
    return load_prompts(PromptsConfig.model_validate({"path": str(path), **settings})).rows


def cells(table: Table) -> list[list[Any]]:
    return [list(row.cells.values()) for row in table.rows]


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[list[str]], str]:
    """A suffix, cells, and what Python's csv writes for them under a header."""
    suffix, quoting = draw(st.sampled_from(sorted(SEPARATORS))), draw(st.sampled_from(LOSSLESS))
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), max_size=6))
    if quoting == csv.QUOTE_MINIMAL:  # before Python 3.12 its writer leaves a lone \r without quotes
        rows = [[cell.replace("\r", "\n") for cell in row] for row in rows]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=SEPARATORS[suffix], quoting=quoting, lineterminator=end)
    writer.writerows([[f"column {i}" for i in range(width)], *rows])
    return suffix, rows, draw(st.sampled_from(["", "\ufeff"])) + file.getvalue()


@FUZZ
@given(written())
def test_what_csv_writes_is_what_is_read(tmp_path: Path, table: tuple[str, list[list[str]], str]) -> None:
    suffix, rows, text = table
    assert cells(read_table(write(tmp_path / f"a{suffix}", text))) == rows


def words(content: Any) -> list[str]:
    return sorted(re.findall(r"\w+", content if isinstance(content, str) else "\n".join(content)))


@FUZZ
@given(written(), st.data())
def test_a_damaged_csv_is_refused_or_keeps_every_word(
    tmp_path: Path, table: tuple[str, list[list[str]], str], data: st.DataObject
) -> None:
    suffix, _, text = table
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        end = data.draw(st.sampled_from([place, place + 1, place + 1, len(text)]))
        text = text[:place] + data.draw(st.sampled_from(["", '"', ",", "\t", "\n", "x"])) + text[end:]
    try:
        found = read_table(write(tmp_path / f"a{suffix}", text))
    except UserError:
        return
    kept = [*found.columns, *(cell for row in cells(found) for cell in row)]
    assert words(kept) == words(text)


@FUZZ
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_table_or_one_clear_error(tmp_path: Path, content: bytes) -> None:
    for suffix in (".csv", ".tsv", ".jsonl", ".json", ".txt", ".parquet"):
        try:
            table = read_table(write(tmp_path / f"a{suffix}", content))
        except UserError as error:
            assert f"a{suffix}" in str(error) and "\n" not in str(error)
        else:
            kept = [str(cell) for row in cells(table) for cell in row]
            assert suffix != ".txt" or words(kept) == words(content.decode("utf-8-sig"))


OBJECTS = st.lists(
    st.dictionaries(st.text(max_size=4), st.text() | st.integers() | st.none(), max_size=3), max_size=5
)


@FUZZ
@given(OBJECTS, st.booleans())
def test_what_json_writes_is_what_is_read(tmp_path: Path, rows: list[dict[str, Any]], ascii: bool) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows)
    for suffix, text in ((".jsonl", lines), (".json", json.dumps(rows, indent=1, ensure_ascii=ascii))):
        try:
            table = read_table(write(tmp_path / f"a{suffix}", text))
        except UserError as error:
            assert "not text" in str(error)  # a control character in a cell
        else:
            assert [row.cells for row in table.rows] == rows


UNQUOTED = "prompt,label\na dog,benign\na person, sitting, outside,unsafe\n"
HEADER = '"prompt","label"\n'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            UNQUOTED,
            r"row 2, line 3: 4 fields under a header of 2 \(prompt, label\); put .* into quotes",
        ),
        ("a.csv", "prompt,label\na dog\n", "row 1, line 2: 1 fields under a header of 2"),
        ("a.tsv", "prompt\tlabel\na\tb\tc\n", "row 1, line 2: 3 fields.*holds a tab into quotes"),
        ("a.csv", "prompt,prompt\na,b\n", "names prompt more than once"),
        ("a.csv", "prompt,,\na,b,c\n", "several columns without a name"),
        ("a.csv", ",prompt\na dog,a cat\n", "row 1, line 2: a column without a name"),
        ("a.csv", HEADER + '"a dog,benign\n"a cat",unsafe\n', "row 1, line 2: the quotes do not match"),
        ("a.csv", HEADER + '"a dog",benign\n"a cat,unsafe', "row 2, line 3: the quotes do not match"),
        ("a.csv", '"prompt\na dog\n', "the header: the quotes do not match"),
        ("a.csv", "prompt\na\0dog\n", "line 2 holds the byte 0x00"),
        ("a.csv", "prompt\ncaf\u00e9\n".encode("latin-1"), "line 2 is not UTF-8 text"),
        ("a.txt", "a dog\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "not UTF-8 text"),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "row 2, line 2: `prompt` is 3, which is not text"),
        ("a.jsonl", '{"prompt": true}\n', "row 1, line 1: `prompt` is True"),
        ("a.jsonl", '{"prompt": null}\n', r"row 1, line 1: `prompt` is empty \(null\)"),
        ("a.jsonl", '{"prompt": "a"}\n\n{"text": "b"}\n', "row 2, line 3 has no `prompt`"),
        ("a.jsonl", '{"prompt": ["a", "b"]}\n', "row 1, line 1: `prompt` holds several texts; write one"),
        ("a.jsonl", '{"prompt": {"en": "a"}}\n', "`prompt` holds several texts"),
        ("a.csv", "prompt\n\"['a dog', 'a cat']\"\n", "row 1, line 2: `prompt` holds several texts"),
        (
            "a.jsonl",
            '{"prompt": "a", "prompt": "b"}\n',
            "row 1, line 1 is not valid JSON: 'prompt' stands twice",
        ),
        ("a.jsonl", '{"prompt": "a", "x": NaN}\n', "NaN is not a number"),
        ("a.jsonl", '{"prompt": "\\ud800"}\n', "a character that is not text"),
        ("a.jsonl", '{"prompt": "a\\u0000"}\n', "a character that is not text"),
        ("a.jsonl", "3\n", "row 1, line 1: int is not a row"),
        ("a.jsonl", "[" * 100_000 + "\n", "row 1, line 1 is nested too deeply"),
        ("a.json", '{"a":' * 100_000, "a.json is nested too deeply"),
        ("a.jsonl", "1" * 5000 + "\n", "row 1, line 1 is not valid JSON"),
        ("a.json", '{"prompt": ["a"], "label": []}', "different lengths"),
        ("a.json", '{"prompt": "a"}', "give {column: "),
        ("a.json", '{"prompt": "a"}\n{"prompt": "b"}', "is a .jsonl, rename it"),
        ("a.parquet", "prompt\na\n", "not a valid parquet file"),
        ("a.jsonl", '{"prompt": "a", "label": 0}\n', "row 1, line 1: label 0 is not known"),
        (
            "a.jsonl",
            '{"prompt": "a", "category": {"a": 1}}\n',
            "row 1, line 1: the category is not understood",
        ),
    ],
)
def test_what_cannot_be_read_whole_is_refused_by_row(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        trained(write(tmp_path / name, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.CSV", "\ufeffprompt, label , category\r\na dog, benign, animal\r\n\r\n"),
        ("a.csv", 'Prompt , LABEL,Category\n"a dog",Benign,animal\n   \n'),
        ("a.csv", ",prompt,label,category\n0,a dog,benign,animal\n"),
        ("a.csv", 'prompt, label, category\n"a dog", "benign", "animal"\n'),
        ("a.TSV", "prompt\tlabel\tcategory\ra dog\tbenign\tanimal\r"),
        ("a.Json", '{"prompt": ["a dog"], "label": ["benign"], "category": ["animal"]}'),
        ("a.json", '[{"prompt": "a dog", "label": "benign", "categories": ["animal"]}]'),
        ("a.JSONL", '{"prompt": "a dog", "label": "benign", "category": "animal"}\r\n\r\n'),
    ],
)
def test_headers_and_suffixes_are_read_in_any_case_and_with_spaces(
    tmp_path: Path, name: str, text: str
) -> None:
    assert trained(write(tmp_path / name, text)) == [Prompt("a dog", "benign", "animal")]


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "mine.txt", "a dog\n")
    assert trained(Path("~/mine.txt")) == [Prompt("a dog")]


def test_a_cell_may_be_longer_than_the_librarys_limit(tmp_path: Path) -> None:
    before, long = csv.field_size_limit(), "a dog " * 50_000
    path = write(tmp_path / "a.csv", f'prompt,label\n"{long}",benign\n')
    assert trained(path)[0].text == long.strip()
    assert csv.field_size_limit() == before


def test_a_refused_file_leaves_the_librarys_limit_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    refusals = []
    for text in ("prompt,label\na,b,c\nd,e\n", 'prompt,label\n"a,b\n'):
        with pytest.raises(UserError) as refused:
            trained(write(tmp_path / "a.csv", text))
        refusals.append(refused)  # keeps the traceback, and with it every frame that read the file
    assert csv.field_size_limit() == before


def test_a_cell_may_hold_line_ends_and_the_next_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'prompt,label\n"a dog\r\nand a cat",benign\na, b, c\n')
    with pytest.raises(UserError, match="row 2, line 4"):
        read_table(path)


def test_parquet_is_read_without_its_pictures_and_numbers_stay_exact(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"prompt": ["a dog", "a cat"], "seed": [2**53 + 1, 2**64 - 1], "image": [b"x", b"y"]}
    kinds = {"prompt": pyarrow.large_string(), "seed": pyarrow.uint64(), "image": pyarrow.binary()}
    parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(kinds)), tmp_path / "a.PARQUET")
    found = read_table(tmp_path / "a.PARQUET")
    assert found.columns == ("prompt", "seed", "image") and "image" not in found.rows[0].cells
    assert [row["seed"] for row in read_rows(tmp_path / "a.PARQUET")] == [2**53 + 1, 2**64 - 1]
    lists = pyarrow.table({"prompt": [["a dog", "a cat"]]})
    parquet.write_table(lists, tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"row 1: `prompt` holds several texts"):
        trained(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("9007199254740993", 2**53 + 1),
        (2**53 + 1, 2**53 + 1),
        ("12.0", 12),
        (12.0, 12),
        ("1e3", 1000),
        (" 7 ", 7),
    ],
)
def test_whole_numbers_are_exact(cell: Any, value: int) -> None:
    assert whole_number(cell, 2**64) == value


@pytest.mark.parametrize(
    "cell",
    ["1.5", "", None, True, -1, "-1", "1e99", "1e999999999", "nan", float("inf"), "1_000", 2**64, 1e19, "x"],
)
def test_what_is_no_whole_number_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"whole number|exactly"):
        whole_number(cell, 2**64)


def test_a_seed_in_a_file_stays_exact_and_a_huge_one_is_refused_by_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt,seed\na,9007199254740993\nb,1e23\n")
    with pytest.raises(UserError, match=r"row 2, line 3: seed is '1e23'; give a whole number"):
        read_rows(path)
    path = write(
        tmp_path / "b.jsonl", '{"prompt": "a", "seed": 9007199254740993}\n{"prompt": "b", "seed": 4.0}\n'
    )
    assert [row["seed"] for row in read_rows(path)] == [2**53 + 1, 4]


def test_evaluation_reads_the_column_it_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt,caption\na dog,a cat\n")
    assert [row["prompt"] for row in read_rows(PromptFile(path, "Caption"))] == ["a cat"]
    with pytest.raises(UserError, match=r"lacks the column text; .*--column: prompt, caption"):
        read_rows(PromptFile(path, "text"))


def test_a_file_longer_than_what_is_judged_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, task = write(tmp_path / "a.txt", "a dog\na cat\na bird\n"), get_task("clip")
    assert len(task.prompts(2, 0, path)) == 2 and task.not_used(2, 0, path) == 1
    assert "clip uses the first 2 of 3 rows" in caplog.text
    assert task.not_used(None, 0, path) == 0 and MOST > 3
    assert get_task("world-i2p").not_used(2, 0) == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"tag": "two"}, "needs tag, include"),
        ({"tag": "two", "include": []}, "tag is 'two'"),
        ({"tag": "counting", "include": [{"class": "dog", "count": "2"}]}, "class and a count"),
        (
            {"tag": "position", "include": [{"class": "dog", "count": 1, "position": ["left of", 0]}]},
            "a position is",
        ),
    ],
)
def test_metadata_that_is_not_genevals_is_refused_by_row(tmp_path: Path, item: dict, message: str) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps(item | {"prompt": "a dog"}) + "\n")
    with pytest.raises(UserError, match=rf"row 1, line 1 is not GenEval's: .*{message}"):
        read_geneval(path)
