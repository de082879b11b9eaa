"""Makes the simulations in docs/simulated again, which the documents quote:

python -m tests.planning.simulated
"""

from pathlib import Path

from typer.testing import CliRunner

from kcap_ray.cli.main import app

FOLDER = Path(__file__).parents[2] / "docs" / "simulated"

ALL_SIZES = (8, 16, 32, 64, 128, 256, 512)

COMMANDS = {
    "exposure100_calm": (["exposure100"], ALL_SIZES),
    "exposure100_spot": (["exposure100", "--spot-loss-per-hour", "0.05"], ALL_SIZES),
    "exposure100_six": (["exposure100", "--set", "tune.costly_flops=null"], ALL_SIZES),
    "exposure100_costly1": (["exposure100", "--set", "tune.costly_trials=1"], (8, 64, 512)),
    "exposure1000": (["exposure1000"], (64,)),
    "exposure1000_three": (["exposure1000", "--set", "tune.costly_flops=null"], (64,)),
}
"""Arguments of `kcap simulate`, and of its --devices, by the name of the file."""


def output(name: str) -> str:
    """What the command of the file of this name prints today."""
    arguments, sizes = COMMANDS[name]
    devices = [part for size in sizes for part in ("--devices", str(size))]
    done = CliRunner().invoke(app, ["simulate", *arguments, *devices, "--json"])
    assert done.exit_code == 0, done.output
    return done.stdout


if __name__ == "__main__":
    for one in COMMANDS:
        (FOLDER / f"{one}.json").write_text(output(one))
