import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.main import app
from tests.tiny_writer import save_tiny_model

BASE = "base: {data.pools: mini, model: gpt2-1-1, train: {lr: 1.0e-3, weight_decay: 0.1, " + (
    "batch_windows: 2, precision: fp32, exposures: 1}, "
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is never loaded."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (BASE + "data.n_people: 2, data.kind: bioS}", "data.kind: bioS"),
        (
            BASE + "data.n_people: 2, data.kind: bioR, data.file: x}\ngrid: {data.seed: [0, 1]}",
            "cells differ in them; choose some with --cell",
        ),
    ],
)
def test_a_sweep_of_other_people_is_refused(sweep, message, tmp_path, model):
    """One table of people is written of; a line says what is wrong."""
    file = tmp_path / "s.yaml"
    file.write_text("# Question: q?\n" + sweep)
    result = CliRunner().invoke(app, ["rewrite", str(file), "--model", str(model)])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "x").exists()


def test_a_finished_output_is_only_summed_up(tmp_path, model):
    """Without Ray and without the model, even for fewer people."""
    from kcap_ray.config.data import KnowledgeConfig
    from kcap_ray.rewriting.job import RewriteJob
    from kcap_ray.rewriting.output import RewriteOutput
    from kcap_ray.rewriting.writers import model_digest
    from tests.grammar_writer import fill

    file = tmp_path / "s.yaml"
    file.write_text(
        "# Question: q?\n" + BASE + "data.n_people: 4, data.kind: bioR, data.file: out}"
    )
    people = KnowledgeConfig(n_people=4, pools="mini")
    digest = model_digest(model)
    job = RewriteJob(people=people, model=model.name, model_digest=digest, per_person=2)
    out = tmp_path / "out"
    fill(RewriteOutput(out), job)
    arguments = ["rewrite", str(file), "--model", str(model), "--per-person", "2"]
    arguments += ["--out", str(out)]
    for extra in ([], ["--set", "data.n_people=3"]):
        result = CliRunner().invoke(app, [*arguments, *extra])
        assert result.exit_code == 0, result.output
        assert "of 4 people" in result.output
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert [(one["file"], one["n_people"], one["n_people_without"]) for one in told] == [
        (str(out), 4, 0)
    ]
    refused = CliRunner().invoke(app, [*arguments, "--seed", "1"])
    assert refused.exit_code == 2
    assert "was written with seed 0, not 1" in refused.output
