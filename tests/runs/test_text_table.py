from kcap_ray.runs.text_table import as_text, text_table


def test_a_table_is_aligned_and_nothing_in_it_is_markup() -> None:
    """Numbers on their right side, text on its left one; brackets stay, and no line is cut."""
    long = "reason " * 100
    rows = [("[red]one[/red]", "1", long), ("two", "1,000", "")]
    text = as_text(
        text_table({"cell": "left", "[n]": "right", "": "left"}, rows, caption="[b]", wrapped="")
    )
    assert text.splitlines() == [
        "cell              [n]",
        f"[red]one[/red]      1  {long}".rstrip(),
        "two             1,000",
        "[b]",
    ]
