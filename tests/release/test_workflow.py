"""The workflow that publishes a release needs no secret, and no more rights than its jobs use."""

import re
import subprocess
from pathlib import Path

import pytest

from backhaul import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text()
JOBS = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", TEXT[TEXT.index("\njobs:") :], re.MULTILINE))


@pytest.mark.parametrize("action", re.findall(r"uses: (.+)", TEXT))
def test_actions_are_pinned_to_a_commit_whose_version_is_named(action: str) -> None:
    """A tag can be moved, and these actions get the rights to publish."""
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_it_has_no_secret_and_names_no_host() -> None:
    assert "secrets." not in TEXT
    assert "password" not in TEXT
    assert "://" not in TEXT


def test_only_the_job_that_publishes_gets_the_identity_of_the_index() -> None:
    assert "permissions: {}\n" in TEXT
    rights = {name: set(re.findall(r"^      ([\w-]+: write)", job, re.MULTILINE)) for name, job in JOBS.items()}
    assert rights == {
        "build": set(),
        "publish": {"id-token: write"},
        "attach": {"attestations: write", "contents: write", "id-token: write"},
    }
    assert [name for name, job in JOBS.items() if "environment: release" in job] == ["publish"]


@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), ("v999", 1)])
def test_a_tag_that_differs_from_the_version_is_refused(tag: str, code: int) -> None:
    (line,) = re.findall(r"run: (test .+)", TEXT)
    run = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag}, check=False
    )
    assert run.returncode == code
