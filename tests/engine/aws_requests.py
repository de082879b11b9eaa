"""The list of what `ray up`, and then the head, ask of a simulated AWS, which docs/cluster.md rests
on.

    python -m tests.engine.aws_requests > docs/simulated/aws_requests.json
"""

import contextlib
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.aws_account import ROOT, simulated_account

COMMITTED = ROOT / "docs" / "simulated" / "aws_requests.json"


def shown(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests with names in place of the ids that differ from run to run, and runs of reading
    ones as one entry.
    """
    text = json.dumps(requests)
    for kind in ("vpc", "subnet", "sg", "i"):
        ids = dict.fromkeys(re.findall(rf"\b{kind}-[0-9a-f]{{17}}\b", text))
        for number, one in enumerate(ids, 1):
            text = text.replace(one, f"{kind}-{number}")
    found: list[dict[str, Any]] = []
    for request in json.loads(text):
        request["arguments"].pop("ClientToken", None)
        for specification in request["arguments"].get("TagSpecifications", []):
            tags = specification["Tags"]
            # A hash over paths of this machine.
            specification["Tags"] = [tag for tag in tags if tag["Key"] != "ray-launch-config"]
        if request["arguments"]:
            found.append(request)
        elif found and found[-1]["who"] == request["who"] and "reads" in found[-1]:
            found[-1]["reads"] = sorted({*found[-1]["reads"], request["call"]})
        else:
            found.append({"who": request["who"], "reads": [request["call"]]})
    return found


def all_requests(home: Path) -> list[dict[str, Any]]:
    """What `ray up` asks for, and then the head, which starts two spot nodes and one on demand."""
    with simulated_account(home) as account:
        account.ray_up()
        with account.as_head(home / "head"):
            errors = account.launch({"a100_spot": 2, "a100_ondemand": 1})
            assert not errors, errors
        return shown(account.requests)


if __name__ == "__main__":
    importlib.import_module("tests.conftest")
    with tempfile.TemporaryDirectory() as directory:
        with contextlib.redirect_stdout(sys.stderr):
            made = all_requests(Path(directory))
        print(json.dumps(made, indent=1))
