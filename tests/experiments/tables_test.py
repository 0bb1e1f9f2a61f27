import pytest

from experiments import harness

TABLE = harness.Table(
    "Two `methods`",
    ("method", "barrier", "seen", "accuracy %"),
    [
        ("a | b", harness.Number(0.5, ".3f", 0.25), "-", harness.Number(0.975, ".1%")),
        ("<i>", harness.Number(None), "all", ""),
    ],
    "python x.py --a='<b>'",
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (harness.Number(0.5), "0.5000"),
        (harness.Number(0.5, ".1%", 0.01), "50.0 ± 1.0"),
        (harness.Number(1234567, ",d"), "1,234,567"),
        (harness.Number(-1e-9, ".2f"), "0.00"),
        (harness.Number(-1e-9, ".1e"), "-1.0e-09"),
        (harness.Number(0.5, ".1f", float("nan")), "0.5"),
        (harness.Number(None, ".1f", 0.5), "-"),
        (harness.Number(float("nan")), "-"),
        (harness.Number(float("inf"), ".2f"), "inf"),
    ],
)
def test_numbers_read_well(number, text):
    assert str(number) == text


def test_text_has_numbers_at_the_right():
    assert harness.to_text([TABLE, TABLE._replace(caption="", rows=[])]).split(
        "\n"
    ) == [
        "Two `methods`",
        "method          barrier  seen      accuracy %",
        "--------  -------------  ------  ------------",
        "a | b     0.500 ± 0.250  -               97.5",
        "<i>                   -  all",
        "",
        "",
    ]


def test_markdown_has_numbers_at_the_right_and_keeps_its_columns():
    caption, _, *table, _, command = harness.to_markdown(TABLE).split("\n")
    assert (caption, command) == ("**Two `methods`**", "`python x.py --a='<b>'`")
    assert [line.replace(" ", "") for line in table] == [
        "|method|barrier|seen|accuracy%|",
        "|:---------|--------------:|:-------|-------------:|",
        r"|a\|b|0.500±0.250|-|97.5|",
        "|<i>|-|all||",
    ]


def test_html_is_escaped_and_has_numbers_at_the_right():
    text = harness.to_html(TABLE)
    assert "<figcaption>Two <code>methods</code></figcaption>" in text
    assert text.count('<td style="text-align: right;">') == 4
    assert "<td>&lt;i&gt;" in text and "<i>" not in text
    assert text.index("</table>") < text.index("--a=&#x27;&lt;b&gt;&#x27;</code>")


def test_a_row_of_another_length_is_refused():
    rows = [("a", "b"), ("a",)]
    with pytest.raises(ValueError):
        harness.to_text([harness.Table("", ("x", "y"), rows)])


def test_measures_are_one_row_each():
    text = harness.to_text([harness.measures("", {"mse": 0.123456, "steps": 3})])
    assert text.split("\n") == ["mse    0.12346", "steps  3"]
