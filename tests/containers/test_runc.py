"""Inside a container with /dev/fuse and CAP_SYS_ADMIN only: the same exact pages.

A real OCI container by runc, whose root file system is this machine's own directories, read-only; so no image
and no registry is needed. Namespaces, cgroup, capabilities and devices are those that docker gives.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mount.test_places import SCRIPT, exact
from tests.support import ROOT, WITHIN

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="starts a container, which only root can"),
    pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc: apt-get install runc"),
]
_CAPABILITIES = ["CAP_SYS_ADMIN"]


def config(bundle: Path) -> dict[str, Any]:
    """An OCI runtime configuration (opencontainers/runtime-spec, config.md)."""
    shown = {path for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc") if os.path.exists(path)}
    shown |= {str(ROOT), sys.prefix, sys.base_prefix}
    binds = [
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]} for path in sorted(shown)
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["bash", "-c", SCRIPT],
            "env": [
                "PATH=/usr/bin:/bin",
                f"PYTHON={sys.executable}",
                "MNT=/work-here/mnt",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
            "cwd": str(ROOT),
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "noNewPrivileges": True,
        },
        "root": {"path": str(bundle / "root"), "readonly": False},
        "hostname": "mapfs-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "nodev", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/work-here", "type": "tmpfs", "source": "tmpfs"},
            *binds,
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}],
            "resources": {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}]},
        },
    }


def test_in_a_container_the_same_exact_pages(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config(tmp_path)))
    name = f"mapfs-test-{os.getpid()}"
    command = ["runc", "--root", str(tmp_path / "state")]
    try:
        done = subprocess.run(
            [*command, "run", "--bundle", str(tmp_path), name],
            capture_output=True, text=True, timeout=WITHIN * 2, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        stats, _ = exact(done)
        daemon = stats["daemon"]
        assert isinstance(daemon, dict)
        assert daemon["pid"] < 100  # a process id of the container's own
    finally:
        subprocess.run([*command, "delete", "--force", name], capture_output=True, timeout=WITHIN, check=False)
