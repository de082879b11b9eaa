"""`ray up`, a sweep, a host that is cut off, one that joins, and `ray down`."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory
from tests.cluster import hosts
from tests.cluster.hosts import Host, NotAllowedError, left, network
from tests.cluster.on_hosts import ENVIRONMENT, EXPOSURES, NAMES, SWEEP, Record, rows, run
from tests.engine.test_data_parallel import assert_same_but_for_rounding


@pytest.mark.slow
@pytest.mark.hosts
@pytest.mark.timeout(900)
def test_a_cluster_that_loses_a_host_and_gets_another_gives_the_table_of_one(
    tmp_path: Path, kcap: Any
) -> None:
    """And `ray down` leaves nothing on the hosts, nor their end on this machine."""
    file, out, record = tmp_path / "hosts.yaml", tmp_path / "run", Record()
    file.write_text(SWEEP.replace("EXPOSURES", str(EXPOSURES)))
    with network(NAMES, ENVIRONMENT) as net:
        of_hosts, said = run(net, record)
        alone = kcap("run-cell", file, "--out", out)
        assert alone.finish() == 0, alone.stderr
        one = RunDirectory(out)
        narrow, wide = load_sweep(file).cells
        ours, theirs = rows(of_hosts), rows(one)
        assert [row["cell_id"] for row in ours] == [narrow.cell_id, wide.cell_id]
        assert ours[0] == theirs[0]
        assert {row["status"] for row in ours} == {"ok"}
        assert_same_but_for_rounding(wide, *(found.cell(wide.cell_id) for found in (one, of_hosts)))
    assert left() == []
    assert "failure" not in said and "raylet" not in said and "state-dump" not in said


def test_a_host_that_sees_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray stop` in it would end every Ray of the machine."""

    def command(_: Host, shell: str) -> list[str]:
        return ["bash", "-c", shell]

    monkeypatch.setattr(Host, "command", command)
    process = subprocess.Popen(["true"])
    process.wait()
    host = Host("here", "10.77.0.1", process, Path("/nowhere"))
    with pytest.raises(NotAllowedError, match="sees processes of the machine"):
        host.refuse_if_it_sees_much()


def test_why_there_can_be_no_hosts_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install, where it is for want of that."""
    monkeypatch.setattr(hosts, "_tool", lambda name: None if name == "sshd" else f"/bin/{name}")
    monkeypatch.setattr("sys.platform", "linux")
    assert hosts.why_not() == "needs openssh-server: apt-get install -y openssh-server"
    with pytest.raises(NotAllowedError, match="apt-get install"), network(["head"]):
        pass
