import subprocess
import sys

import pytest

TAKES_AND_FREES = """
import resource, sys
import torch
from kcap_ray.training.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()

def step():
    [torch.ones(2**24) for _ in range(2)]

for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does with freed memory")
def test_memory_freed_in_one_step_is_there_for_the_next() -> None:
    """Two tensors of 64 MiB, taken and freed five times after some practice: at most twice are
    their 32,768 pages cleared by the system again. Without, they are every time.
    """
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", TAKES_AND_FREES, how]))
        for how in ("keep", "give back")
    }
    assert faults["keep"] <= 2 * 32_768
    assert faults["give back"] >= 5 * 32_768
