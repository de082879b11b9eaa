"""The data set of a `Cell`: people, their facts, and the kind of text these become."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

from kcap_ray.config.bios import sentences_of
from kcap_ray.config.errors import UserError, check, check_choice

DataKind = Literal["bioS", "bioS_simple", "bioR", "bioD", "tuples", "random"]
Style = Literal["sentence", "compact"]
Vocab = Literal["compact", "full"]
Behind = Literal["useful", "junk"]
Mixing = Literal["windows", "biographies"]

BUILT_IN_POOLS = ("full", "mini")
PATHS = ("pools", "file", "templates", "pool_sizes")
"""Fields that name a file or a directory; `pools` may also be one of `BUILT_IN_POOLS`."""

# Kinds that fields belong to; a field that is not here belongs to all.
_KINDS_OF: dict[str, tuple[DataKind, ...]] = {
    **dict.fromkeys("KCD", ("bioD",)),
    **dict.fromkeys("LT", ("bioD", "random")),
    "style": ("bioD",),
    "file": ("bioR", "tuples"),
    "templates": ("bioS", "bioS_simple", "tuples"),
    **dict.fromkeys(("attributes", "max_names", "max_values"), ("bioS", "bioS_simple")),
    "pool_sizes": ("tuples",),
    "name_space": ("tuples",),
}


@dataclass(frozen=True, kw_only=True)
class FrequencyConfig:
    """Frequency of each person in training; the mean over people stays `exposures`."""

    zipf: float | None = None
    """Exponent s of a Zipf law: a person's frequency is proportional to rank^-s."""
    column: str | None = None
    """tuples: column of the file that holds the frequency of each person, in any unit."""
    bands: int = 4
    """Bands of equally many people, by frequency, that results are reported for."""

    def __post_init__(self) -> None:
        check(
            (self.zipf is None) != (self.column is None),
            "data.frequency: write either zipf, for instance zipf: 1.0, or column",
        )
        check(self.zipf is None or self.zipf >= 0, f"zipf: got {self.zipf}; at least 0")
        check(self.bands >= 1, f"bands: got {self.bands}; at least 1 is needed")


@dataclass(frozen=True, kw_only=True)
class KnowledgeConfig:
    """One table of facts, and how it is rendered (arXiv 2404.05405, section 2)."""

    kind: DataKind = "bioS"
    """Kind of knowledge."""
    n_people: int
    """People in the table of facts (N in bioS(N)); of a file, its first ones."""
    pools: str = "full"
    """Pools that names and values are drawn from: `full`, `mini` or a directory of text files."""
    seed: int = 0
    """Seed of the table of people (and of the diversity sets of bioD)."""
    K: int | None = None
    """bioD: attributes per person."""
    C: int | None = None
    """bioD: chunks per value."""
    D: int | None = None
    """bioD: distinct chunks in the diversity set of an attribute."""
    L: int | None = None
    """bioD: symbols per chunk; random: tokens of a string."""
    T: int | None = None
    """bioD, random: symbols in the alphabet; each is one GPT-2 token."""
    style: Style = "sentence"
    """bioD: `sentence` writes the paper's sentences, `compact` the bare names, keys and values."""
    file: str | None = None
    """bioR: Parquet of rewritten biographies (`kcap rewrite`); tuples: Parquet, CSV or JSONL of
    (name, attribute, value).
    """
    templates: str | None = None
    """tuples: YAML file, attribute: list of sentences with {name} and {value}; bioS, bioS_simple:
    directory with birth_date.txt, birth_city.txt, university.txt, major.txt, employer.txt and
    work_city.txt, one sentence per line; None: sentences of our own.
    """
    pool_sizes: str | None = None
    """tuples: YAML file, attribute: number of values it could have; without it the number of
    different values found stands in as an estimate.
    """
    attributes: str | None = None
    """bioS, bioS_simple: sentences of a biography, for instance `birth_date, major`; None: all six.
    """
    max_names: int | None = None
    """bioS, bioS_simple: names kept of each pool of names, the first ones; None: all."""
    max_values: int | None = None
    """bioS, bioS_simple: values kept of each pool of values, the first ones; None: all."""
    name_space: int | None = None
    """tuples: number of possible names (N0); without it names count nothing."""
    frequency: FrequencyConfig | None = None
    """Frequency of each person; None: all equal."""
    contents: str | None = None
    """SHA-256 of what its files hold, as `config/contents.py` finds it; None where it has none, or
    they have not been read. No key of a sweep file.
    """

    def __post_init__(self) -> None:
        check_choice("data.kind", self.kind, DataKind)
        check_choice("data.style", self.style, Style)
        check(self.n_people >= 1, f"data.n_people: got {self.n_people}; at least 1 is needed")
        foreign = [key for key in self._given() if self.kind not in _KINDS_OF[key]]
        if foreign:
            kinds = " and ".join(_KINDS_OF[foreign[0]])
            named = ", ".join(f"data.{key}" for key in foreign)
            raise UserError(f"{named}: only for data.kind: {kinds}, not {self.kind}")
        if self.kind == "bioD":
            self._check_numbers("KCDLT")
        if self.kind == "random":
            self._check_numbers("LT")
        sentences_of(self.attributes)
        for key in ("max_names", "max_values"):
            value = getattr(self, key)
            check(value is None or value >= 1, f"data.{key}: got {value}; at least 1 is needed")
        if self.kind in _KINDS_OF["file"]:
            check(self.file is not None, f"{self.kind} needs data.file, a file of what is known")
        has_column = self.frequency is not None and self.frequency.column is not None
        check(
            not has_column or self.kind == "tuples",
            f"data.frequency.column: only for data.kind: tuples, not {self.kind}; write zipf",
        )

    def with_paths(self, change: Callable[[str, str], str]) -> Self:
        """The same with every path replaced by `change(field, path)`."""
        paths = {
            name: getattr(self, name)
            for name in PATHS
            if getattr(self, name) not in (None, *BUILT_IN_POOLS)
        }
        return replace(self, **{name: change(name, path) for name, path in paths.items()})

    def _given(self) -> list[str]:
        """Fields of some kinds only that have a value of their own."""
        plain = {"style": "sentence"}
        return [key for key in _KINDS_OF if getattr(self, key) != plain.get(key)]

    def _check_numbers(self, keys: str) -> None:
        missing = [key for key in keys if getattr(self, key) is None]
        check(not missing, f"{self.kind} needs data.{', data.'.join(missing)}; for instance K: 6")
        for key in keys:
            value = getattr(self, key)
            check(value >= 1, f"data.{key}: got {value}; at least 1 is needed")

    @property
    def sentences(self) -> tuple[str, ...]:
        """bioS: sentences of a biography."""
        return sentences_of(self.attributes)

    @property
    def table_label(self) -> str:
        """Readable name of the table without the number of people, for instance `bioS-mini`."""
        pools = "" if self.pools == "full" else "-" + self.pools.strip("/").split("/")[-1]
        label = self.kind + pools
        if self.templates is not None and self.kind != "tuples":
            label += "-" + self.templates.strip("/").split("/")[-1]
        if self.attributes is not None:
            label += "-" + "+".join(self.sentences)
        for letter, value in (("names", self.max_names), ("values", self.max_values)):
            label += "" if value is None else f"-{value}{letter}"
        if self.kind == "bioD":
            label = f"bioD-K{self.K}-C{self.C}-D{self.D}-L{self.L}-T{self.T}{pools}"
        if self.kind == "random":
            label = f"random-L{self.L}-T{self.T}"
        if self.kind == "tuples" and self.file is not None:
            label = "tuples-" + self.file.split("/")[-1].split(".")[0]
        if self.frequency is not None:
            zipf, column = self.frequency.zipf, self.frequency.column
            label += f"-by_{column}" if zipf is None else f"-zipf{zipf:g}"
        return label


@dataclass(frozen=True, kw_only=True)
class MixturePart(KnowledgeConfig):
    """Another table that is taught, and measured, together with that of `data`."""

    weight: float
    """Tokens of this part for each token of the table of `data`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.weight > 0, f"data.parts: got weight {self.weight}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class JunkConfig:
    """People of the same kind as those of `data` who appear in training but are not measured (arXiv
    2404.05405, section 10 and appendix E).
    """

    n_people: int
    """Junk people (N'); they are drawn with replacement."""
    ratio: float = 7.0
    """Tokens of junk for each token of the table of `data`."""
    token: bool = False
    """Whether a token of its own stands in front of every useful biography."""
    behind: Behind = "useful"
    """Whose biography stands in front of a useful one when knowledge is measured: another `useful`
    person's, which tells a model that the text is useful, or a `junk` person's, which does not.
    """

    def __post_init__(self) -> None:
        check(self.n_people >= 1, f"data.junk.n_people: got {self.n_people}; at least 1")
        check_choice("data.junk.behind", self.behind, Behind)
        check(self.ratio > 0, f"data.junk.ratio: got {self.ratio}; it must be positive")

    @property
    def label(self) -> str:
        """For instance `junk7x100M`, with `-token` where useful biographies have one."""
        n = self.n_people
        scales = ((10**6, "M"), (10**3, "K"))
        n_text = next((f"{n // s}{letter}" for s, letter in scales if n % s == 0), str(n))
        return f"junk{self.ratio:g}x{n_text}" + (
            ("-token" if self.token else "") + ("-behind" if self.behind == "junk" else "")
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig(KnowledgeConfig):
    """All data of training: the table of facts, and what is mixed with it."""

    vocab: Vocab = "compact"
    """`compact`: only the GPT-2 tokens that the data can produce, renumbered; `full`: all 50,257.
    """
    parts: tuple[MixturePart, ...] = ()
    """Other tables taught together with this one."""
    junk: JunkConfig | None = None
    """People who appear in training but are not measured; None: no such people."""
    mixing: Mixing = "windows"
    """`windows`: each window is cut from one table, or from junk, alone; `biographies`: biographies
    of all follow one another in random order.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.vocab", self.vocab, Vocab)
        check_choice("data.mixing", self.mixing, Mixing)
        check(
            self.junk is None or self.kind not in _KINDS_OF["file"],
            f"data.junk: not for data.kind: {self.kind}, whose people come from a file; "
            "write the junk as one of data.parts",
        )

    def with_paths(self, change: Callable[[str, str], str]) -> Self:
        """The same with every path replaced by `change(field, path)`, those of parts too."""
        changed = super().with_paths(change)
        parts = tuple(part.with_paths(change) for part in self.parts)
        return replace(changed, parts=parts)

    @property
    def label(self) -> str:
        """Short readable name of the data without the number of people, for instance
        `bioS-mini-junk7x1K`; the column `dataset` of the results.
        """
        junk = "" if self.junk is None else f"-{self.junk.label}"
        parts = [f"+{part.weight:g}x{part.table_label}:{part.n_people}" for part in self.parts]
        mixed = "-mixed" if self.mixing == "biographies" and (junk or parts) else ""
        return self.table_label + junk + "".join(parts) + mixed
