"""Weights & Biases: one run per cell, grouped by sweep.

`WANDB_MODE`, `WANDB_PROJECT`, `WANDB_ENTITY` and the login are wandb's own; offline runs lie in
`RUN/wandb` until `wandb sync` sends them.
"""

import hashlib
import os
from pathlib import Path

import wandb

from kcap_ray.config.errors import UserError
from kcap_ray.tracking.tracker import CellLog, curve_scalars

PROJECT = "kcap"
"""Where runs go if `WANDB_PROJECT` does not say."""


class WandbTracker:
    """Logs cells to Weights & Biases."""

    def __init__(self, directory: Path, sweep: str) -> None:
        self._directory, self._sweep = directory.resolve(), sweep
        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        if is_online and not wandb.login(prompt=False):
            raise UserError(
                "--log wandb: nobody is logged in; run `wandb login`, or set WANDB_MODE=offline "
                "and send the runs later with `wandb sync`"
            )

    def log(self, log: CellLog) -> str:
        """See `Tracker`. The curves of trial k are `trialK/loss`, ..., against `step`."""
        name = log.row.cell_id
        where = f"{self._directory}\n{name}".encode()
        with wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=self._sweep,
            name=name,
            # The same cell of the same directory is the same run, whoever logs it again.
            id=hashlib.sha256(where).hexdigest()[:16],
            resume="allow",
            dir=self._directory,
            config=log.settings,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        ) as run:
            run.define_metric("step")
            run.define_metric("trial*", step_metric="step")
            for trial, curve in log.curves.items():
                for point in curve:
                    scalars = curve_scalars(point)
                    own = {f"trial{trial}/{tag}": value for tag, value in scalars.items()}
                    run.log({"step": point.step, **own})
            run.summary.update(log.summary)
            return run.url or str(Path(run.dir).parent)
