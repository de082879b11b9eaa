"""Pages of the documentation site that are made from other files of the repository.

A hook of mkdocs (see mkdocs.yml): the front page is README.md; CONTRIBUTING, CHANGELOG and SECURITY
are those of the root; the API reference has one page per folder of each package, with all of its
modules.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = ("kcap_ray", "analysis")
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(([^)#:\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not files of docs/."""
    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for name, modules in _folders().items():
        blocks = "".join(f"\n::: {module}\n" for module in modules)
        files.append(File.generated(config, f"api/{name}.md", content=f"# {name}\n{blocks}"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to files of the repository that are no pages become the name of the file alone."""
    folder = posixpath.dirname(page.file.src_uri)

    def replace(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        from_root = posixpath.normpath(posixpath.join("docs", path))
        anchor = anchor or ""
        if from_root in ROOT_PAGES:
            return f"[{text}]({posixpath.relpath(ROOT_PAGES[from_root], folder or '.')}{anchor})"
        if path in ROOT_PAGES:
            return f"[{text}]({ROOT_PAGES[path]}{anchor})"
        is_page = files.get_file_from_path(path) is not None
        exists = (ROOT / from_root).exists() or (ROOT / path).exists()
        return text if exists and not is_page else match.group()

    return LINK.sub(replace, markdown)


def _folders() -> dict[str, list[str]]:
    """Modules by the dotted name of their folder, both sorted; empty `__init__` files left out."""
    folders: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "__init__.py" and not path.read_text(encoding="utf-8").strip():
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            folders.setdefault(".".join(parts[:-1]), []).append(
                ".".join(part for part in parts if part != "__init__")
            )
    return dict(sorted(folders.items()))
