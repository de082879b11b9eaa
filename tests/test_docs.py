"""The documentation site: built without a warning, and shown without a network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_site_is_built_strictly_and_has_every_module(tmp_path: Path) -> None:
    """A broken link, an unknown reference or a module that cannot be read is an error; no page
    loads a script, a style or a font from elsewhere.
    """
    pytest.importorskip("mkdocs", reason="a development tool: pip install -e '.[dev]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    api = "".join(text for path, text in pages.items() if "api" in path.parts)
    for package in ("kcap_ray", "analysis"):
        for module in (ROOT / package).rglob("*.py"):
            if module.stem not in ("__init__", "__main__"):
                name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
                assert f'id="{name}"' in api, name
    tags = re.compile(r"<(?:script|img|iframe|link)\b[^>]*>")
    loads = [tag for text in pages.values() for tag in tags.findall(text)]
    assert len(loads) > len(pages)
    assert [tag for tag in loads if re.search(r"(?:src|href)=\"?https?:", tag)] == []
