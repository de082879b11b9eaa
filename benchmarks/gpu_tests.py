"""The project's own tests that are marked `gpu`, on a machine with a GPU and with pytest.

python benchmarks/gpu_tests.py
python benchmarks/gpu_tests.py --dry-run            # only finds them
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import torch
from record import arguments, write

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run them, keep the end of what they print; their exit status."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    chosen = parser.parse_args()
    if not chosen.dry_run and not torch.cuda.is_available():
        print("no GPU here, so nothing is tested; --dry-run finds the tests", flush=True)
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    # Where it is installed, this plugin warns under xdist, and a warning is an error.
    command += ["-p", "no:benchmark"]
    if importlib.util.find_spec("xdist") is not None:
        command += ["-n", "6"]
    if importlib.util.find_spec("ray") is None:
        command += ["--ignore", "tests/engine"]
    if chosen.dry_run:
        command += ["--collect-only", "tests/training"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()[-60:]
    found = {"check": "tests marked gpu", "exit_status": done.returncode, "said": said}
    on_gpu = not chosen.dry_run
    write(__file__, [found], chosen.json, on_gpu=on_gpu, is_dry_run=chosen.dry_run)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
