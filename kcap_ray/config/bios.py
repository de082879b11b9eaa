"""Which sentences a biography of bioS has, and what of them counts."""

from kcap_ray.config.errors import check

SENTENCES = ("birth_date", "birth_city", "university", "major", "employer", "work_city")
"""Sentences of a biography of bioS, one per attribute, with a template file each."""


def sentences_of(attributes: str | None) -> tuple[str, ...]:
    """The sentences that `data.attributes` asks for, in the order of `SENTENCES`; all by default.

    Raises `UserError` for a name that there is not, and for a work city without the employer that
    it follows from.
    """
    if attributes is None:
        return SENTENCES
    asked = [name.strip() for name in attributes.split(",")]
    unknown = [name for name in asked if name not in SENTENCES]
    check(
        not unknown and len(set(asked)) == len(asked),
        f"data.attributes: got {attributes!r}; write some of {', '.join(SENTENCES)}, each once, "
        "with commas between",
    )
    check(
        "work_city" not in asked or "employer" in asked,
        "data.attributes: work_city follows from the employer; write employer too",
    )
    return tuple(name for name in SENTENCES if name in asked)


def attributes_of(sentences: tuple[str, ...]) -> tuple[str, ...]:
    """Counted attributes: all but the work city, and the pronoun if a second sentence has one."""
    own = tuple(name for name in sentences if name != "work_city")
    return (*own, "pronoun") if len(sentences) > 1 else own
