from modularml.display.text_table import text_table


def test_numbers_stand_to_the_right_and_no_line_ends_with_blanks() -> None:
    rows = [["a", "1.5", "x"], ["longer", "12.25", ""]]
    assert text_table(["name", ">n", ""], rows).split("\n") == [
        "name        n",
        "a         1.5  x",
        "longer  12.25",
    ]
    assert text_table(["name", ">n"], []) == "name  n"


def test_a_table_is_shown_as_its_lines_and_is_text() -> None:
    table = text_table(["name"], [["a"]])
    assert repr(table) == table == "name\na" and str(table) + "!" == "name\na!"


def test_wide_characters_take_two_cells_and_combining_ones_none() -> None:
    table = text_table(["", ">n"], [["温度", "1"], ["e\u0301", "22"], ["abcd", "3"]])
    assert table.split("\n") == ["       n", "温度   1", "e\u0301     22", "abcd   3"]


def test_rows_in_the_middle_are_left_out() -> None:
    rows = [[str(i)] for i in range(9)]
    assert text_table([">i"], rows, max_rows=4).split("\n") == ["i", "0", "1", "…", "7", "8"]
    assert len(text_table([">i"], rows, max_rows=9).split("\n")) == 10
