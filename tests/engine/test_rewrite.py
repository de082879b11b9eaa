"""Biographies through Ray Data: parts, resuming, and a language model of Hugging Face."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.engine.rewrite import pool_size, write_parts
from kcap_ray.rewriting.job import RewriteJob, Writer
from kcap_ray.rewriting.output import RewriteOutput
from tests.grammar_writer import GrammarWriter, write_file
from tests.tiny_writer import save_tiny_model

PEOPLE = KnowledgeConfig(n_people=10, pools="mini")

SWEEP = """\
# Question: what is written?
name: rewritten
base:
  data: {kind: bioR, pools: mini, file: bior.parquet}
  model: gpt2-1-1
  train: {exposures: 10, lr: 1.0e-3, weight_decay: 0.1, batch_windows: 2, precision: fp32}
grid:
  data.n_people: [2, 3]
"""


def _grammar(people: KnowledgeConfig, n_gpus: float) -> Writer:
    assert n_gpus == 0
    return GrammarWriter(people)


def _broken(n_gpus: float) -> Writer:
    raise UserError("--model x: cannot be loaded")


class _PowerCutError(Exception):
    pass


def _power_cut(start: int, stop: int) -> None:
    raise _PowerCutError


@pytest.mark.slow
def test_actors_write_what_one_process_writes_and_go_on_after_a_stop(
    tmp_path: Path, session: str
) -> None:
    """Parts that were written stay; the rest comes with the next run, equal to an undisturbed one.

    An actor's mistake of the user's comes out as it was.
    """
    write_file(PEOPLE, tmp_path / "alone", per_person=2)
    output = RewriteOutput(tmp_path / "ray")
    job = RewriteJob(
        people=PEOPLE, model="grammar", model_digest="", per_person=2, for_evaluation=1, retries=20
    )
    output.begin(job)
    write = partial(
        write_parts, job, output, partial(_grammar, PEOPLE), people_per_part=3, actors=(2, None)
    )
    with pytest.raises(_PowerCutError):
        write(on_part=_power_cut)
    done = output.parts()
    assert len(done) == 1
    seen: list[tuple[int, int]] = []
    write(on_part=lambda start, stop: seen.append((start, stop)))
    assert sorted(seen + done) == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert pq.read_table(output.path).to_pylist() == pq.read_table(tmp_path / "alone").to_pylist()
    write(on_part=_power_cut)  # nothing is left to write
    another = RewriteOutput(tmp_path / "another")
    with pytest.raises(UserError, match=r"^--model x: cannot be loaded$"):
        write_parts(job, another, _broken, people_per_part=3)


@pytest.mark.slow
def test_a_hugging_face_model_is_asked_by_the_command(tmp_path: Path, kcap) -> None:
    """Of a model with random weights every text is rejected, which is said and is no crash."""
    model, sweep = tmp_path / "model", tmp_path / "sweep.yaml"
    model.mkdir()
    save_tiny_model(model)
    sweep.write_text(SWEEP)
    out = tmp_path / "bior.parquet"
    command = kcap("rewrite", sweep, "--model", model, "--out", out, "--per-person", 2,
                   "--retries", 1, "--max-new-tokens", 5)  # fmt: skip
    assert command.finish() == 1, command.stderr
    assert "Traceback" not in command.stderr
    assert "100.0% were rejected" in command.stdout
    assert "3 people have no biography for training" in command.stdout
    (part,) = out.glob("*.parquet")
    tally = json.loads(pq.read_schema(part).metadata[b"kcap.rewrite"])
    assert (tally["n_wanted"], tally["n_written"], tally["n_given_up"]) == (9, 18, 9)
    assert tally["rejected"]
    assert pq.read_table(part).num_rows == 0


@pytest.mark.parametrize(
    ("resources", "settings", "expected"),
    [
        ({"CPU": 16, "GPU": 8}, (None, None), (8, 1.0, 1)),
        ({"CPU": 16, "GPU": 8}, (None, 0.5), (16, 0.5, 1)),
        ({"CPU": 16, "GPU": 8}, (None, 4.0), (2, 4.0, 1)),
        ({"CPU": 16, "GPU": 8}, (3, None), (3, 1.0, 1)),
        ({"CPU": 16}, (None, None), (1, 0.0, 15)),
        ({"CPU": 16, "GPU": 8}, (5, 0.0), (5, 0.0, 3)),
        ({"CPU": 1}, (None, None), (1, 0.0, 1)),
    ],
)
def test_there_is_one_actor_for_each_gpu(resources, settings, expected) -> None:
    """Or for each share of one; without GPUs a single one with the CPUs."""
    assert pool_size(resources, *settings) == expected


def test_more_gpus_than_there_are_is_refused() -> None:
    """Before anything waits for them."""
    with pytest.raises(UserError, match="--gpus-per-actor 2: the cluster has 1 GPUs"):
        pool_size({"CPU": 4, "GPU": 1}, None, 2.0)
