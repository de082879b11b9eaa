"""Statistics of generated biographies (bioS, full pools) beside those published or measured for the
paper's own generator.

    python benchmarks/generator_statistics.py
"""

import numpy as np
from record import arguments, claim, write

from kcap_ray.config.data import DataConfig
from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.text.stream.corpus import build_corpus, facts_of

N_PEOPLE = 200_000
DATA = DataConfig(n_people=N_PEOPLE)
# arXiv 2404.05405 (version 1): footnotes 9 and 12, appendix A; lengths were measured over the
# authors' published field files and templates with GPT-2's BPE.
PAPER = {
    "mean length without end of text": (72.9, "tokens"),
    "shortest biography": (50, "tokens"),
    "longest biography": (103, "tokens"),
    "vocabulary with end of text": (3275, "tokens"),
    "log2 of the name space": (27.253, "bits"),
    "entropy of the values of a person": (47.592, "bits"),
    "demand of 200,000 people": (11.45, "Mbit"),
}


def measured() -> tuple[float, ...]:
    """The same quantities of this generator: lengths over one exposure of 200,000 people."""
    corpus, facts = build_corpus(DATA), facts_of(DATA)
    source = corpus.main
    assert isinstance(source.entropy, Entropy)
    assert source.entropy.log2_name_space is not None
    people_P = np.arange(N_PEOPLE)
    samples = source.once_each(people_P, 0, seed=0)
    lengths_P = source.lengths(samples) - 1
    n_used = len(np.unique(source.tokens(samples)))
    assert n_used == corpus.vocab.size == facts.vocab_size, "every token of the vocabulary is used"
    return (
        float(lengths_P.mean()),
        float(lengths_P.min()),
        float(lengths_P.max()),
        float(n_used),
        source.entropy.log2_name_space,
        source.entropy.value_bits,
        corpus.demand_bits / 1e6,
    )


def main() -> None:
    """Compare, print, write."""
    chosen = arguments(__file__, __doc__).parse_args()
    claims = [
        claim(f"statistics: {name}", ours=ours, peer=peer, unit=unit)
        for (name, (peer, unit)), ours in zip(PAPER.items(), measured(), strict=True)
    ]
    write(__file__, claims, chosen.json)


if __name__ == "__main__":
    main()
