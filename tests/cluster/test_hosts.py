"""`ray up`, a sweep, a host that is cut off, one that joins, and `ray down`."""

import subprocess
from pathlib import Path

import pytest

from kcap_ray.runs.results import RunDirectory
from tests.cluster import namespaces
from tests.cluster.hosts import Host, network
from tests.cluster.namespaces import NotAllowedError, left
from tests.cluster.on_hosts import ENVIRONMENT, NAMES, Record, check, run, sweep_text
from tests.engine.conftest import Command


@pytest.mark.slow
@pytest.mark.hosts
def test_a_cluster_that_loses_a_host_and_gets_another_gives_the_table_of_one(
    tmp_path: Path,
) -> None:
    """And `ray down` leaves nothing on the hosts, nor their end on this machine."""
    file, out = tmp_path / "hosts.yaml", tmp_path / "run"
    file.write_text(sweep_text())
    with network(NAMES, ENVIRONMENT) as net:
        of_hosts, said = run(net, Record())
        alone = Command("run-cell", file, "--out", out)
        assert alone.finish() == 0, alone.stderr
        check(file, of_hosts, RunDirectory(out))
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
    monkeypatch.setattr(
        namespaces, "tool_path", lambda name: None if name == "sshd" else f"/bin/{name}"
    )
    monkeypatch.setattr("sys.platform", "linux")
    assert namespaces.why_not() == "needs openssh-server: apt-get install -y openssh-server"
    with pytest.raises(NotAllowedError, match="apt-get install"), network(["head"]):
        pass
