"""Random strings as tokens: the symbols one after another, and the end of text.

Shape letters: P strings, L tokens of all strings together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.text.kinds.renderer import NAME_CODE, BiographyText, Rendered, Samples, Span
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary, alphabet


@dataclass(frozen=True, kw_only=True, eq=False)
class StringRenderer:
    """A `Renderer` whose people are strings: all of each is its name."""

    id_T: NDArray[np.int64]
    """Token of each symbol: GPT-2's id, or that of `vocab`."""
    eos: int
    n_tokens: int
    """Tokens of a string."""
    vocab: CompactVocabulary | None = None
    attributes: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def used_ids(self) -> NDArray[np.integer]:
        """All symbols of the alphabet, used or not: which are used is nothing to be known."""
        return np.append(self.id_T, self.eos)

    @property
    def mean_tokens(self) -> float:
        """Tokens of every string, with the end of text."""
        return self.n_tokens + 1

    def in_vocabulary(self, vocab: CompactVocabulary) -> "StringRenderer":
        """The same renderer for the tokens of `vocab`."""
        assert self.vocab is None, "a renderer is renumbered once"
        ids = vocab.token_of_gpt2_id.astype(np.int64)[self.id_T]
        return replace(self, vocab=vocab, id_T=ids, eos=vocab.eos)

    def fixed_tokens(self, values_PC: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The whole length."""
        return np.full(len(values_PC), self.n_tokens + 1, np.int64)

    def chosen_tokens(self, samples: Samples) -> int:
        """Nothing: there is no choice."""
        return 0

    def tokens(self, samples: Samples) -> NDArray[np.uint16]:
        """The strings one after another, each with the end of text behind it [L]."""
        own_PL = self.id_T[samples.values_PC]
        ends_P1 = np.full((len(own_PL), 1), self.eos)
        return np.concatenate([own_PL, ends_P1], axis=1).ravel().astype(np.uint16)

    def rendered(self, samples: Samples) -> Rendered:
        """The same with what each token holds: all but the end of text is the string."""
        n_strings = len(samples.people_P)
        code_PL = np.zeros((n_strings, self.n_tokens + 1), np.int8)
        code_PL[:, :-1] = NAME_CODE
        return Rendered(
            length_P=np.full(n_strings, self.n_tokens + 1, np.int64),
            tokens_L=self.tokens(samples),
            code_L=code_PL.ravel(),
            first_chunk_L=np.zeros(code_PL.size, np.bool_),
        )

    def as_text(self, samples: Samples) -> Iterator[BiographyText]:
        """The same as text, one by one."""
        for row_L in self.id_T[samples.values_PC]:
            ids = (row_L if self.vocab is None else self.vocab.gpt2_ids[row_L]).tolist()
            text = bpe.decode(ids)
            yield BiographyText(text, ids, [Span("name", 1, len(text))])


def strings_renderer(data: KnowledgeConfig) -> StringRenderer:
    """Random strings in GPT-2's tokens; `UserError` where there are not symbols enough."""
    assert data.L and data.T
    if len(alphabet()) < data.T:
        raise UserError(
            f"data.T: {data.T} symbols, but GPT-2 has {len(alphabet())} tokens of a space and a "
            f"word; write at most {len(alphabet())}"
        )
    return StringRenderer(id_T=alphabet()[: data.T], eos=bpe.EOS, n_tokens=data.L)
