"""`kcap submit`: what is refused before anything is sent (tests/engine/test_submit.py sends)."""

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.main import app


@pytest.mark.parametrize("out", [[], ["--out", "runs/here"]])
def test_place_that_ends_with_the_job_is_refused(out):
    """A job has a working directory of its own, which is removed behind it."""
    done = CliRunner().invoke(app, ["submit", "quickstart", *out])
    assert done.exit_code == 2
    assert "s3://my-bucket/quickstart" in done.stderr
