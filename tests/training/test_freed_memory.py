import subprocess
import sys

import pytest

TAKES_AND_FREES = """
import resource, sys
import torch
from kcap_ray.training.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
torch.ones(2**22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does with freed memory")
def test_memory_freed_in_one_step_is_there_for_the_next() -> None:
    """Of taking and freeing 16 MiB twenty times, at most one has its 4,096 pages cleared by the
    system; without, all have.
    """
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", TAKES_AND_FREES, how]))
        for how in ("keep", "give back")
    }
    assert faults["keep"] < 2 * 4_096
    assert faults["give back"] > 15 * 4_096
