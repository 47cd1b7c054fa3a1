"""axe-core, the checker of WCAG's rules: from npm, once, into the cache folder.

Run it by hand after a new VERSION: `python tests/browser/axe.py` prints the digest to put here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

#: WCAG 2.2 up to AA, and what axe calls best practice.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


class Unavailable(Exception):
    """axe-core can't be had here: no npm, or no registry that answers."""


def source(cache: Path) -> str:
    """The script that defines `axe` in a page. Raises Unavailable."""
    folder = cache / f"axe-core-{VERSION}"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        _install(folder)
    text = script.read_bytes()
    if (digest := hashlib.sha256(text).hexdigest()) != SHA256:
        raise ValueError(f"{script} has the digest {digest}, expected {SHA256}: remove {folder}")
    return text.decode()


def run() -> str:
    """The script that gives what axe finds wrong in the page, a line for each element."""
    rules = json.dumps({"type": "tag", "values": list(RULES)})
    return (
        f"axe.run(document, {{runOnly: {rules}, resultTypes: ['violations']}}).then(found =>"
        " found.violations.flatMap(one => one.nodes.map(node =>"
        " `${one.id}: ${node.target} ${node.html.slice(0, 200)} ${node.failureSummary}`)))"
    )


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit"]
    command += ["--no-fund", "--no-save", f"axe-core@{VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable("npm did not answer within 180 s") from error
    if done.returncode:
        raise Unavailable(f"npm install failed: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    from harness import places

    print(hashlib.sha256(source(places.cache()).encode()).hexdigest())
