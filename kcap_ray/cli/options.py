"""Arguments and options that several verbs of `kcap` share."""

import glob
import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from kcap_ray.config.errors import UserError


def complete_sweep(incomplete: str) -> list[str]:
    """Sweeps whose names begin so, files and folders too; for the completion of shells."""
    from kcap_ray.planning.shipped import shipped_sweeps

    near = sorted(Path().glob(f"{glob.escape(incomplete)}*"))
    files = [str(path) for path in near if path.suffix in (".yaml", ".yml")]
    folders = [f"{path}/" for path in near if path.is_dir()]
    return [name for name in shipped_sweeps() if name.startswith(incomplete)] + files + folders


def finite(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """The value of an option; UserError for infinity and for what is no number."""
    if value is not None and not math.isfinite(value):
        raise UserError(f"{parameter.opts[0]} {value}: write a finite number")
    return value


SWEEP_HELP = "Sweep file (YAML), or the name of a sweep that comes with kcap, such as quickstart."
SweepFile = Annotated[
    Path,
    typer.Argument(metavar="SWEEP", help=SWEEP_HELP, autocompletion=complete_sweep),
]
Directories = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Run directories, one or several.")
]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON list of objects, and nothing else.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Run directory; runs/<name> if not given."),
]
Device = Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="What trains a cell.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces a key of the sweep file."),
]
CellGlob = Annotated[
    str | None, typer.Option("--cell", metavar="ID", help="Only cells whose id matches (globs).")
]
PlanDevice = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME|F",
        help="Device that hours are predicted for: a100, h100, h200, cpu (hours of a core), or a "
        "file that `kcap bench throughput` made.",
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="F", help="YAML file: dollars per hour by device."),
]
PriceKind = Annotated[
    Literal["block", "on_demand", "spot"],
    typer.Option(help="Which of the prices that come with kcap."),
]
Order = Annotated[
    Literal["longest", "cheapest", "column"],
    typer.Option(
        help="Which cells come first: of the longest chain, the cheapest, or column by column of "
        "the first axis. It changes no result."
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option(metavar="H", min=0, callback=finite, help="Stop after so many hours."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(metavar="$", min=0, callback=finite, help="Stop when so many dollars are spent."),
]
RetryFailed = Annotated[
    bool,
    typer.Option(help="Run cells again that a mistake made fail; others are in any case."),
]
SaveEvery = Annotated[
    float,
    typer.Option(
        "--save-every", metavar="S", min=0, callback=finite, help="Seconds between checkpoints."
    ),
]

Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Log every finished cell there too: wandb, mlflow. TensorBoard's event files are "
        "always in DIR/cells/*/tensorboard.",
    ),
]


def overrides(settings: list[str] | None) -> dict[str, str]:
    """Keys and values of `--set`; UserError for one that is no pair."""
    pairs = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UserError(f"--set {setting}: write key=value, for instance data.n_people=1000")
        pairs[key.strip()] = value.strip()
    return pairs
