from pathlib import Path

import pytest

from kcap_ray.knowledge import pools
from kcap_ray.text.tokenizer.bpe import encode

FOLDER = Path(pools.__file__).parent / "pools"
FILES = [
    path.relative_to(FOLDER).as_posix()
    for path in sorted(FOLDER.glob("*/*.txt"))
    if path.name != "dates.txt"
]


@pytest.mark.parametrize("file", FILES)
def test_no_value_begins_with_the_tokens_of_another(file: str) -> None:
    """Else the loss on the shorter value would leave out the choice between the two."""
    values = [line.split("\t")[0] for line in (FOLDER / file).read_text().splitlines()]
    tokens = {tuple(encode(f" {value}")) for value in values}
    beginnings = {said[:n] for said in tokens for n in range(1, len(said))}
    assert not tokens & beginnings
