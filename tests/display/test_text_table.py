from modularml.display.text_table import text_table


def test_numbers_stand_to_the_right_and_no_line_ends_with_blanks() -> None:
    rows = [["a", "1.5", "x"], ["longer", "12.25", ""]]
    assert text_table(["name", ">n", ""], rows).split("\n") == [
        "name        n",
        "a         1.5  x",
        "longer  12.25",
    ]
    assert text_table(["name", ">n"], []) == "name  n"


def test_rows_in_the_middle_are_left_out() -> None:
    rows = [[str(i)] for i in range(9)]
    assert text_table([">i"], rows, max_rows=4).split("\n") == ["i", "0", "1", "…", "7", "8"]
    assert len(text_table([">i"], rows, max_rows=9).split("\n")) == 10
