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

KEEPS_AND_GIVES_BACK = """
import os
import torch
from kcap_ray.training.freed_memory import give_back_freed_memory, keep_freed_memory
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
keep_freed_memory()
[torch.ones(2**24) for _ in range(2)]
before = resident()
give_back_freed_memory()
print(before, resident())
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what glibc does with freed memory")
def test_memory_that_was_kept_can_be_given_back() -> None:
    """Of 128 MiB that were freed and kept, at least half are the system's again."""
    resident = subprocess.check_output([sys.executable, "-c", KEEPS_AND_GIVES_BACK]).split()
    assert int(resident[0]) - int(resident[1]) > 64 * 2**20
