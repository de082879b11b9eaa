"""Several hosts on this machine, made of namespaces: each has a network address, processes, a host
name, a home, temporary files and an sshd of its own; they share one folder, as by NFS.

`ray stop` ends every Ray process that it sees, whoever's it is: so a host that sees the processes
of this machine is refused, and everything that might call it runs inside of a host.

All of it is in network namespaces whose names begin with `kcap-`, the switch between them too: the
machine's own network is left alone. What an earlier run left is cleared at the start, by those
names.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kcap_ray.runs.files import locked
from tests.cluster.namespaces import PREFIX, NotAllowedError, clear, ip, tool_path, why_not

ROOT = Path(__file__).parents[2]
SWITCH = f"{PREFIX}switch"
SUBNET = "10.77.0"
MOST_PROCESSES = 10
"""That a host may see before anything was started in it: its sshd, and what asks."""

_LOCK = Path("/run/kcap-hosts.lock")
_PLACE, _FOLDER = Path("/var/tmp"), "kcap-hosts-"
"""Not below /tmp, which each host has for itself."""

_START_S = 20.0
_TURN_S = 600.0
"""Time that another run's hosts are waited for: there is one such network at a time."""

_INIT = """
set -e
mount --make-rprivate /
hostname {name}
mount --bind {base}/hosts /etc/hosts
mount --bind {base}/{name}/passwd /etc/passwd
mount --bind {base}/shadow /etc/shadow
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
aside={base}/{name}/kept
for kept in {keep}; do mkdir -p $aside$kept && mount --bind $kept $aside$kept; done
mount -t tmpfs tmpfs /tmp
for kept in {keep}; do mkdir -p $kept && mount --bind $aside$kept $kept; done
{sshd} -D -e -f /dev/null -p 22 -h {base}/host_key -o PidFile=none -o UsePAM=no \\
  -o StrictModes=no -o PermitRootLogin=yes -o PasswordAuthentication=no \\
  -o AuthorizedKeysFile={base}/key.pub &
# The shell is the first process, which takes in those whose parents have ended.
wait $!
"""

_BASHRC = """
export PATH={bin}:$PATH PYTHONPATH={root} OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
export RAY_USAGE_STATS_ENABLED=0 {more}
"""


@dataclass
class Host:
    """A host that is up."""

    name: str
    address: str
    init: subprocess.Popen[bytes] = field(repr=False)
    """Outside of the host: it ends with it, and the host with it."""
    base: Path = field(repr=False)

    @property
    def is_up(self) -> bool:
        """Whether it has power."""
        return self.init.poll() is None

    @property
    def home(self) -> Path:
        """The home of the host's user."""
        return self.base / self.name / "home"

    def command(self, command: str) -> list[str]:
        """What runs a shell command in the host."""
        shell = f"cd {self.home}; . {self.home}/.bashrc; {command}"
        inside = ["env", f"HOME={self.home}", "bash", "-c", shell]
        return ["nsenter", f"--target={self._first()}", "--all", "--", *inside]

    def run(self, command: str, *, timeout_s: float = 60.0) -> str:
        """The standard output of a shell command in the host; raises `CalledProcessError`."""
        done = subprocess.run(
            self.command(command), capture_output=True, text=True, timeout=timeout_s
        )
        if done.returncode:
            said = f"{self.name}: {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise RuntimeError(f"exit status {done.returncode} of {said}")
        return done.stdout

    def processes(self) -> list[str]:
        """Command lines of the processes that the host sees, without what asks."""
        # Some end while it looks.
        read = "{ tr '\\0' ' ' < $d/cmdline && echo; } 2> /dev/null"
        code = f"for d in /proc/[0-9]*; do {read}; done; true"
        lines = [line.strip() for line in self.run(code).splitlines() if line.strip()]
        return [line for line in lines if code[:20] not in line and not line.startswith("tr ")]

    def refuse_if_it_sees_much(self) -> None:
        """Raise `NotAllowedError` if this host sees processes of the machine: whoever says `ray
        stop` in it would end every Ray of the machine.
        """
        seen = self.processes()
        own = os.readlink("/proc/self/ns/pid")
        if len(seen) > MOST_PROCESSES or own == self.run("readlink /proc/self/ns/pid").strip():
            raise NotAllowedError(f"{self.name} sees processes of the machine: {seen[:20]}")

    def end(self) -> None:
        """Take the host's power away."""
        # The first process of a namespace takes all the others with it.
        with contextlib.suppress(ProcessLookupError, NotAllowedError):
            os.kill(self._first(), signal.SIGKILL)
        self.init.wait(30)

    def _first(self) -> int:
        """Process id, as the machine sees it, of the host's first process."""
        children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children")
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError):
            raise NotAllowedError(f"{self.name} is not up") from None


class Network:
    """Hosts and the switch between them."""

    def __init__(self, base: Path, names: Sequence[str], environment: str = "") -> None:
        """`names`: of all the hosts that there will be, in the order of their addresses."""
        self.base, self.names = base, list(names)
        self.hosts: dict[str, Host] = {}
        self.shared = base / "shared"
        self.shared.mkdir()
        self.key = base / "key"
        for key in (self.key, base / "host_key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(make, check=True)
        (base / "shadow").write_text("root:*:20000:0:99999:7:::\nsshd:!:20000::::::\n")
        lines = [f"{self.address(name)} {name}" for name in names]
        (base / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        self._environment = environment
        ip("netns", "add", SWITCH)
        ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        ip("-n", SWITCH, "link", "set", "bridge", "up")

    def address(self, name: str) -> str:
        """Address that the host has, or will have."""
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def start(self, name: str) -> Host:
        """Start a host and wait until its sshd answers."""
        space, port, address = f"{PREFIX}{name}", f"p-{name}", self.address(name)
        ip("netns", "add", space)
        ip("-n", SWITCH, "link", "add", port, "type", "veth", "peer", "eth0", "netns", space)
        ip("-n", SWITCH, "link", "set", port, "master", "bridge", "up")
        ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", space, "link", "set", device, "up")
        # Ray finds its own address by the way to the outside; there is none.
        ip("-n", space, "route", "add", "default", "via", f"{SUBNET}.254")
        home = self.base / name / "home"
        home.mkdir(parents=True)
        (self.base / name / "passwd").write_text(
            f"root:x:0:0:root:{home}:/bin/bash\nsshd:x:106:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        more = self._environment
        shell = _BASHRC.format(bin=Path(sys.prefix) / "bin", root=ROOT, more=more)
        for file in (".bashrc", ".profile"):
            (home / file).write_text(shell)
        kept = [place for place in (ROOT, Path(sys.prefix)) if place.is_relative_to("/tmp")]
        script = _INIT.format(
            name=name, base=self.base, sshd=tool_path("sshd"), keep=" ".join(map(str, kept))
        )
        init_file = self.base / name / "init.sh"
        init_file.write_text(script)
        isolated = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc"]
        # The host ends with this process, however that ends.
        tied = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", space]
        with (self.base / name / "sshd.log").open("wb") as log:
            init = subprocess.Popen(
                [*tied, *isolated, "--kill-child", "bash", str(init_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        host = self.hosts[name] = Host(name, address, init, self.base)
        self._wait_for(host)
        host.refuse_if_it_sees_much()
        return host

    def cut(self, name: str) -> None:
        """Take the host's network away, and with it the shared folder."""
        ip("-n", SWITCH, "link", "set", f"p-{name}", "down")
        self.hosts[name].run(f"mount -t tmpfs tmpfs {self.shared}")

    def _wait_for(self, host: Host) -> None:
        end = time.monotonic() + _START_S
        log = self.base / host.name / "sshd.log"
        while "Server listening" not in log.read_text(errors="replace"):
            if host.init.poll() is not None or time.monotonic() > end:
                raise NotAllowedError(f"{host.name} does not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def end(self) -> None:
        """End all hosts, and take the network down."""
        for host in self.hosts.values():
            host.end()
        clear()


@contextlib.contextmanager
def network(names: Sequence[str], environment: str = "") -> Iterator[Network]:
    """A network that these hosts can be started in; nothing of it is left afterwards."""
    if reason := why_not():
        raise NotAllowedError(reason)
    with locked(_LOCK, wait_s=_TURN_S):
        clear()
        for stale in _PLACE.glob(f"{_FOLDER}*"):
            shutil.rmtree(stale, ignore_errors=True)
        base = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=_PLACE))
        found = None
        try:
            found = Network(base, names, environment)
            yield found
        finally:
            if found is not None:
                found.end()
            shutil.rmtree(base, ignore_errors=True)
