"""Tables of numbers: what their columns mean, what is read, and what is refused in which words."""

import json
from decimal import Decimal
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import smoothcert
from smoothcert.data.columns import Column, Columns
from smoothcert.errors import InvalidInput

AGE = {"name": "age", "low": 18, "high": 90, "step": 1}
INCOME = {"name": "income", "low": 0, "high": 200_000, "step": 500}
TEXT = "age,income,label\n18,0,no\n54,100000,yes\n90,200000,yes\n"
STEPS = [[0, 0], [1800, 1800], [3600, 3600]]


def columns(*features, **more):
    return {"features": list(features or (AGE, INCOME)), **more}


LABELLED = columns(label="label", classes=["no", "yes"])


def opened(folder, text, said=LABELLED, name="t.csv", **options):
    """The inputs of a table with its columns file."""
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif isinstance(text, str):
        path.write_text(text, newline="")
    else:
        parquet.write_table(text, path)
    if said is not None:
        (folder / "columns.json").write_text(json.dumps(said))
    return smoothcert.load_inputs(path, **options)


def refused(*given, **more):
    with pytest.raises(InvalidInput) as error:
        opened(*given, **more)
    return str(error.value)


def pixels(data):
    return [item.pixels.tolist() for item in data]


def test_each_column_has_its_own_grid(tmp_path):
    data = opened(tmp_path, TEXT)
    assert (data.levels, data.shape, data.off_grid) == (3600, (2,), 0.0)
    assert pixels(data) == STEPS
    assert (data.labels, data.classes) == ((0, 1, 1), ("no", "yes"))
    assert "A radius of 0.1 is a change of 7.2 of age or 20000 of income alone." in data.describe()
    assert "Grid 1/3600, with every value on it." in data.describe()


SAME = {
    "semicolons": TEXT.replace(",", ";"),
    "tabs": TEXT.replace(",", "\t"),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "Windows lines": TEXT.replace("\n", "\r\n"),
    "no last line end": TEXT.rstrip("\n"),
    "blank lines": TEXT.replace("\n", "\n\n"),
    "quotes": '"age","income","label"\n"18","0","no"\n"54","100000","yes"\n"90","200000","yes"\n',
    "spaces": "age , income, label\n 18, 0,no \n54 ,100000, yes\n90,200000,yes\n",
    "quoted separators": TEXT.replace("age", '"a,b",age')
    .replace("\n", '\n"x,y",', 3)
    .replace('"x,y",age', "age"),
    "other columns": TEXT.replace("label", "label,city")
    .replace("no\n", "no,Rome\n")
    .replace("yes\n", "yes,Paris\n"),
    "another order": "label,income,age\nno,0,18\nyes,100000,54\nyes,200000,90\n",
    "exponents and points": "age,income,label\n1.8e1,0.0,no\n54.,1e5,yes\n+90.00,2E+5,yes\n",
    "pandas' index": ",age,income,label\n0,18,0,no\n1,54,100000,yes\n2,90,200000,yes\n",
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_table_in_other_forms(case, tmp_path):
    data = opened(tmp_path, SAME[case])
    assert pixels(data) == STEPS
    assert data.labels == (0, 1, 1)


ARROW = {
    "whole": ([18, 54, 90], pa.int8()),
    "unsigned": ([18, 54, 90], pa.uint64()),
    "float32": ([18, 54, 90], pa.float32()),
    "decimal": ([Decimal(18), Decimal(54), Decimal(90)], pa.decimal128(5, 2)),
    "text": (["18", "54", "90"], pa.string()),
}


@pytest.mark.parametrize("case", ARROW)
def test_parquet(case, tmp_path):
    values, kind = ARROW[case]
    made = pa.table(
        {
            "age": pa.array(values, kind),
            "income": pa.array([0.0, 1e5, 2e5]),
            "label": pa.array(["no", "yes", "yes"]).dictionary_encode(),
        }
    )
    data = opened(tmp_path, made, name="t.parquet")
    assert (pixels(data), data.labels, data.off_grid) == (STEPS, (0, 1, 1), 0.0)


def test_what_pandas_writes(tmp_path):
    frame = pd.DataFrame({"age": [18, 90], "member": [True, False], "label": [1, 0]}, index=[5, 7])
    said = columns(AGE, {"name": "member", "low": 0, "high": 1, "step": 1}, label="label")
    (tmp_path / "columns.json").write_text(json.dumps(said))
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        data = smoothcert.load_inputs(tmp_path / name)
        assert pixels(data) == [[0, data.levels], [data.levels, 0]]
        assert data.labels == (1, 0)


def test_its_own_columns_file_counts_before_that_of_the_folder(tmp_path):
    (tmp_path / "t.columns.json").write_text(json.dumps(columns({**AGE, "high": 162}, INCOME)))
    data = opened(tmp_path, TEXT)
    assert data.labels is None
    assert pixels(data)[2] == [data.levels // 2, data.levels]


CELLS = {
    "missing": ("18,,no", "income in row 1 (the first is 0) is missing. Fill it in"),
    "NA": ("18,NA,no", "is missing"),
    "NaN": ("18,nan,no", "is missing"),
    "a question mark": ("18, ?,no", "is missing"),
    "infinite": ("18,inf,no", "is 'inf', not a number"),
    "locale comma": ('18,"1,5",no', "is '1,5', not a number. Write decimals as 1.5"),
    "thousands": ('18,"100,000",no', "thousands without a mark"),
    "apostrophe": ("18,100'000,no", "Write decimals as 1.5, and thousands without a mark"),
    "underscore": ("18,100_000,no", "thousands without a mark"),
    "a narrow space": ("18,100\u202f000,no", "thousands without a mark"),
    "a date": ("18,2024-01-05,no", "Names, dates and the like must be numbers"),
    "a name": ("18,low,no", "must be numbers in the table"),
    "hexadecimal": ("18,0x10,no", "not a number"),
    "other digits": ("18,٣,no", "not a number"),
    "a huge exponent": ("18,1e999999999,no", "not a number"),
    "many digits": (f"18,{'9' * 5000},no", "not a number"),
    "too large": ("18,200500,no", "is 200500, and "),
    "too small": ("17,0,no", "says 18 to 90. Leave such rows out, or widen that range"),
    "off its step": (
        "18.5,0,no",
        "is 18.5, which is not 18 and whole steps of 1. Correct the step",
    ),
    "too many values": ("18,1,500,no", "has 4 values in row 1 (the first is 0), but 3 columns"),
    "too few": ("18,500", "has 2 values in row 1"),
    "no label": ("18,500,", "label in row 1 (the first is 0) is missing, of 1 row in all"),
    "another label": ("18,500,maybe", "is 'maybe', which is not among the classes of "),
    "a label in another case": ("18,500,No", "is 'No', which is not among"),
}


@pytest.mark.parametrize("case", CELLS)
def test_cells_that_are_refused(case, tmp_path):
    row, message = CELLS[case]
    found = refused(tmp_path, f"age,income,label\n18,0,no\n{row}\n90,200000,yes\n")
    assert message in found
    assert "\n" not in found


TABLES = {
    "no heading": (b"18,0,no\n", "has no column 'age', which "),
    "a heading of numbers": (b"18,0,1\n19,500,0\n", "its first line must name the columns"),
    "a column twice": (b"age,age,income,label\n1,2,3,no\n", "has the column 'age' twice"),
    "two separators": (b"age;income,label\n1;2,no\n", "has commas and semicolons"),
    "no such column": (b"Age,income,label\n18,0,no\n", "Did you mean 'Age'?"),
    "no rows": (b"age,income,label\n", "has no rows"),
    "empty": (b"", "is empty. Its first line must name the columns"),
    "an open quote": (b'age,income,label\n"18,0,no\n', "is not a readable table"),
    "Latin-1": ("age,income,label,née\n".encode("latin-1"), "not a text file in UTF-8"),
    "a split": (b"age,income,label,split\n18,0,no,train\n", "has a column 'split'"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_are_refused(case, tmp_path):
    text, message = TABLES[case]
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([18, None], pa.int64(), "is missing"),
        ([18, float("nan")], pa.float64(), "is missing"),
        ([18, float("inf")], pa.float64(), "is inf, not a finite number"),
        ([18, 10**18], pa.int64(), f"is {10**18}, and "),
        (["18", "low"], pa.string(), "is 'low', not a number"),
        ([[18], [19]], pa.list_(pa.int64()), "is [18], not a finite number"),
    ],
)
def test_cells_of_parquet_that_are_refused(values, kind, message, tmp_path):
    made = pa.table({"age": pa.array(values, kind), "income": [0, 500]})
    assert message in refused(tmp_path, made, columns(), name="t.parquet")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1], pa.timestamp("s")),
        ([0, 1], pa.timestamp("ns")),
        ([2**50, 1], pa.timestamp("s")),  # a year that Python does not have
        ([10**9, 1], pa.date32()),
        ([1, 2], pa.duration("s")),
    ],
)
def test_dates_are_refused(values, kind, tmp_path):
    made = pa.table({"age": pa.array(values, kind), "income": [0, 500]})
    assert "Names, dates and the like" in refused(tmp_path, made, columns(), name="t.parquet")


FILES = {
    "not JSON": ("{", "is not JSON"),
    "another file": ({"mean": 0.5}, "must say what a table's columns are"),
    "another key": (columns(levels=3), "has 'levels', which is not known"),
    "a typing error": (columns({**AGE, "stpe": 1}), "Did you mean 'step'?"),
    "no low": (columns({"name": "age", "high": 3}), "must have name, low and high"),
    "a text": (columns({**AGE, "low": "18"}), "the low of 'age' must be a number; got \"18\""),
    "true": (columns({**AGE, "low": True}), "must be a number; got true"),
    "a constant": (columns({**AGE, "high": None}), "A column with one value does not show"),
    "infinite": ('{"features": [{"name": "a", "low": 0, "high": Infinity}]}', "must be a number"),
    "the wrong way round": (columns({**AGE, "low": 91}), "needs low < high; got 91 and 90"),
    "no whole step": (
        columns({**AGE, "step": 5}),
        "no whole number of steps of 5. Give a high of 93, or another step",
    ),
    "a step of zero": (columns({**AGE, "step": 0}), "needs a step > 0; got 0"),
    "a column twice": (columns(AGE, AGE), "has the column 'age' twice"),
    "the label as input": (columns(label="age"), "the label, which the model must not get"),
    "no columns": ({"features": []}, "must be a list of 1 to 4096 columns"),
    "a class twice": (columns(label="label", classes=["no", "no"]), "each once"),
    "classes of two kinds": (columns(label="label", classes=["no", 1]), "a list of texts, or of"),
    "classes without label": (columns(classes=["no", "yes"]), "has classes, but no label"),
    "too fine a step": (
        columns(AGE, {**INCOME, "step": 1}),
        "or give --grid 1/200000, on which sigma is at most 0.0205",
    ),
    "numbers of rows": (
        columns({"name": "id", "low": 10**9, "high": 10**9 + 100}),
        "a number that only names the row is no input",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_columns_files_that_are_refused(case, tmp_path):
    said, message = FILES[case]
    text = said if isinstance(said, str) else json.dumps(said)
    (tmp_path / "t.columns.json").write_text(text)
    assert message in refused(tmp_path, TEXT, None)


def test_advice_of_a_refused_step_works(tmp_path):
    fine = columns(AGE, {**INCOME, "step": 1})
    assert opened(tmp_path, TEXT, fine, grid="1/200000").levels == 200_000
    del fine["features"][1]["step"]
    assert opened(tmp_path, TEXT, fine).levels == 4032
    wide = columns({**AGE, "step": 5, "high": 93}, INCOME)
    assert opened(tmp_path, "age,income\n93,500\n", wide).off_grid == 0


def test_labels_are_numbers_from_0_names_or_listed_numbers(tmp_path):
    text = "age,income,label\n18,0,{}\n19,0,{}\n20,0,{}\n"
    plain = columns(label="label")
    assert opened(tmp_path, text.format(0, 2, 1), plain).labels == (0, 2, 1)
    assert opened(tmp_path, text.format("1.0", 2, "0.0"), plain).labels == (1, 2, 0)
    assert opened(tmp_path, text.format(-1, -1, -1), plain).labels is None
    assert opened(tmp_path, text.format("", "NA", ""), plain).labels is None
    assert "labels of -1 (unknown" in refused(tmp_path, text.format(-1, 1, 1), plain)
    assert 'in the order of the model\'s "classes"' in refused(
        tmp_path, text.format("a", "b", "a"), plain
    )
    assert "either whole numbers or names" in refused(tmp_path, text.format("a", 1, 2), plain)
    signed = columns(label="label", classes=[-1, 1])
    data = opened(tmp_path, text.format(-1, 1, -1), signed)
    assert (data.labels, data.classes) == ((0, 1, 0), ("-1", "1"))
    turned = columns(label="label", classes=["yes", "no"])
    assert opened(tmp_path, text.format("no", "yes", "no"), turned).labels == (1, 0, 1)
    swapped = columns(label="label", classes=["2", "1"])
    assert opened(tmp_path, text.format(1, 2, 2), swapped).labels == (1, 0, 0)


def test_the_proposed_file_is_the_one_to_save(tmp_path):
    text = (
        "id,age,weight,city,constant,gaps,class\n"
        "1,20,60.5,Rome,3,1,7\n2,26,71.25,Paris,3,,9\n3,23,80,Rome,3,2,7\n"
    )
    message = refused(tmp_path, text, None)
    first, _, rest = message.partition("\n")
    body, _, advice = rest.partition("}\n")
    said = json.loads(body + "}")
    assert "t.columns.json beside it, or columns.json" in first
    assert said == columns(
        {"name": "id", "low": 1, "high": 3, "step": 1},
        {"name": "age", "low": 20, "high": 26, "step": 3},
        {"name": "weight", "low": 60.5, "high": 80, "step": 0.25},
        {"name": "constant", "low": 3, "high": None},
        {"name": "gaps", "low": 1, "high": 2, "step": 1},
        label="class",
        classes=[7, 9],
    )
    for told in ("they are no numbers, or of rows: 'city'", "say the high yourself: constant"):
        assert told in advice
    assert "Values are missing, to be filled in or left out: gaps." in advice
    with pytest.raises(InvalidInput, match="A column with one value"):
        opened(tmp_path, text, said)
    said["features"] = said["features"][1:3]
    data = opened(tmp_path, text, said)
    assert (data.labels, data.off_grid) == ((0, 1, 0), 0.0)


def test_no_file_is_proposed_where_nothing_speaks_for_one(tmp_path):
    assert "has 0 columns of numbers besides the label" in refused(
        tmp_path, "city,label\nRome,1\n", None
    )
    assert "several columns that may hold the classes" in refused(
        tmp_path, "a,y,label\n1,2,3\n", None
    )


def test_a_parquet_file_without_images_is_proposed_for_too(tmp_path):
    made = pa.table({"age": [1, 2], "__index_level_0__": [0, 1], "y": ["a", "b"]})
    message = refused(tmp_path, made, None, name="t.parquet")
    assert '{"name": "age", "low": 1, "high": 2, "step": 1}],' in message
    assert "'__index_level_0__'" in message


PIECES = [*',;\t"\n\r0123456789-.', "nan", "1e308", "9" * 50, "\0", "é", "null", "[", "{", "true"]


@given(st.data(), st.booleans())
def test_damaged_files_are_read_or_refused(tmp_path_factory, data, in_table):
    """Pieces put into the table, or into what says what it is: never another kind of error."""
    text, said = TEXT, json.dumps(LABELLED)
    damaged = text if in_table else said
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        piece = data.draw(st.sampled_from(PIECES))
        damaged = damaged[:at] + piece + damaged[at + data.draw(st.integers(0, 3)) :]
    folder = tmp_path_factory.mktemp("t")
    (folder / "t.columns.json").write_text(said if in_table else damaged)
    try:
        found = opened(folder, damaged if in_table else text, None)
    except InvalidInput:
        return
    for item in found:
        assert 0 <= item.pixels.min() <= item.pixels.max() <= found.levels


@pytest.mark.parametrize(
    ("counts", "levels"),
    [([72, 400], 3600), ([128, 512], 4096), ([1], 4096), ([4095, 4], 4096), ([1, 100], 4000)],
)
def test_the_finest_grid_up_to_4096_with_all_steps_on_it(counts, levels):
    made = [Column(str(n), Fraction(0), Fraction(n), Fraction(1)) for n in counts]
    assert Columns(None, tuple(made)).levels(None) == levels


NUMBERS = st.decimals(0, 8, places=3)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5), st.integers(1, 4096))
def test_distances_from_the_grid_are_never_too_small(tmp_path_factory, rows, levels):
    folder = tmp_path_factory.mktemp("t")
    said = columns({"name": "a", "low": 0, "high": 8}, {"name": "b", "low": -1, "high": 9})
    text = "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows)
    data = opened(folder, text, said, grid=Fraction(1, levels))
    squares = [
        sum(
            (place - Fraction(int(step), levels)) ** 2
            for place, step in zip(
                (Fraction(a) / 8, (Fraction(b) + 1) / 10), item.pixels, strict=True
            )
        )
        for (a, b), item in zip(rows, data, strict=True)
    ]
    assert max(squares) <= Fraction(data.off_grid) ** 2
    assert data.off_grid <= 1.02 * sqrt(max(squares))
    assert data.off_grid <= sqrt(2) / 2 / levels * 1.02


def test_values_stored_as_float32_are_on_their_own_step_and_measured(tmp_path):
    said = columns({"name": "a", "low": 0, "high": 1, "step": 0.1})
    made = pa.table({"a": pa.array([0.3, 0.7], pa.float32())})
    data = opened(tmp_path, made, said, name="t.parquet")
    assert pixels(data) == [[3 * data.levels // 10], [7 * data.levels // 10]]
    exact = max(abs(Fraction(float(np.float32(x))) - Fraction(str(x))) for x in (0.3, 0.7))
    assert exact <= Fraction(data.off_grid) <= exact * Fraction(102, 100)
