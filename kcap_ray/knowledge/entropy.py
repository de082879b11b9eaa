"""Entropy of a data set, in bits, from the sizes of its pools and nothing else."""

from dataclasses import dataclass
from math import log2, prod

from kcap_ray.config.bios import SENTENCES, attributes_of
from kcap_ray.config.data import KnowledgeConfig, Vocab
from kcap_ray.knowledge.diversity import check_diversity, n_symbols_drawn
from kcap_ray.knowledge.people import check_name_space, column_sizes
from kcap_ray.knowledge.strings import string_bits
from kcap_ray.knowledge.tuples import fact_bits


@dataclass(frozen=True, kw_only=True)
class Entropy:
    """How many bits there are to know (arXiv 2404.05405, definitions 4.1 and 4.3)."""

    n_people: int
    """People in the table (N)."""
    log2_name_space: float | None
    """Bits: log2 of the number of possible names (N0); None where names count nothing."""
    value_bits: float
    """Bits per person: log2(S0) for bioS, K * C * log2(D) for bioD."""
    n_attributes: float
    """Counted attributes of a person: K for bioD, 6 for bioS; of a file, the mean over people."""
    n_diversity: int
    """Strings in all diversity sets: K * D for bioD, otherwise 0."""
    diversity_bits_each: float
    """Bits per string of a diversity set: log2(U^L / D) for bioD, otherwise 0. U is the number of
    symbols that the model chooses from; see `entropy_of`.
    """
    attribute_bits: tuple[float, ...] | None = None
    """Bits of each attribute of a person, in the order of the counted attributes; None where people
    differ in it.
    """
    is_estimate: bool = False
    """Whether sizes of pools were estimated from the values found, rather than known."""

    @property
    def demand_bits(self) -> float:
        """Bits a model must store to know everything.

        N log2(N0 / N) + N * value_bits + n_diversity * diversity_bits_each: the numerator of R_max
        in arXiv 2404.05405, definitions 4.1 and 4.3.
        """
        log2_names = log2(self.n_people) if self.log2_name_space is None else self.log2_name_space
        name_bits = self.n_people * (log2_names - log2(self.n_people))
        value_bits = self.n_people * self.value_bits
        return name_bits + value_bits + self.n_diversity * self.diversity_bits_each


def entropy_of(data: KnowledgeConfig, vocab: Vocab = "compact") -> Entropy:
    """Entropy of the data set; draws no people. UserError where the pools are too small for it.

    `vocab`: the vocabulary that the model has. A compact one holds of the T symbols of bioD's
    alphabet only the U that its diversity sets use. So which these are is given with the model (its
    embedding has rows for no others) and takes no knowledge: a string is one of U^L. With the full
    vocabulary it is one of T^L, as in arXiv 2404.05405, definition 4.1.
    """
    if data.kind == "tuples":
        return _tuples_entropy(data)
    if data.kind == "random":
        return _strings_entropy(data)
    sizes = column_sizes(data)
    n_names = prod(sizes[:3])
    check_name_space(data.n_people, n_names)
    is_biod = data.kind == "bioD"
    n_diversity, diversity_bits_each = 0, 0.0
    if is_biod:
        check_diversity(data)
        assert data.K and data.D and data.L and data.T
        n_diversity = data.K * data.D
        n_symbols = n_symbols_drawn(data) if vocab == "compact" else data.T
        diversity_bits_each = data.L * log2(n_symbols) - log2(data.D)
    return Entropy(
        n_people=data.n_people,
        log2_name_space=log2(n_names),
        value_bits=sum(map(log2, sizes[3:])),
        n_attributes=data.K if is_biod and data.K else len(attributes_of(data.sentences)),
        n_diversity=n_diversity,
        diversity_bits_each=diversity_bits_each,
        attribute_bits=_attribute_bits(data, sizes[3:]),
    )


def _attribute_bits(data: KnowledgeConfig, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """Of bioD K times C log2(D); of bioS month, day and year are one attribute."""
    if data.kind == "bioD":
        assert data.C and data.K
        return (sum(map(log2, sizes[: data.C])),) * data.K
    bits = (sum(map(log2, sizes[:3])), *map(log2, sizes[3:]))
    counted, everything = attributes_of(data.sentences), attributes_of(SENTENCES)
    return tuple(own for name, own in zip(everything, bits, strict=True) if name in counted)


def _strings_entropy(data: KnowledgeConfig) -> Entropy:
    """Of random strings, which are names and nothing else: N log2(T^L / N), since a table has no
    order. arXiv 2505.24832 counts N L log2(T), log2(N) a string more.
    """
    return Entropy(
        n_people=data.n_people,
        log2_name_space=string_bits(data),
        value_bits=0.0,
        n_attributes=0,
        n_diversity=0,
        diversity_bits_each=0.0,
        attribute_bits=(),
    )


def _tuples_entropy(data: KnowledgeConfig) -> Entropy:
    """Of a file of facts, which may know less of some people than of others."""
    bits = fact_bits(data)
    return Entropy(
        n_people=data.n_people,
        log2_name_space=bits.log2_name_space,
        value_bits=float(bits.bits_P.mean()),
        n_attributes=float(bits.n_attributes_P.mean()),
        n_diversity=0,
        diversity_bits_each=0.0,
        is_estimate=bits.is_estimate,
    )
