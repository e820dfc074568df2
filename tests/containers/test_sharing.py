"""A mount that a daemon in one container shares with clients in others, and that is looked at from outside."""

import json
from pathlib import Path
from typing import Any

import pytest

from mapfs.fuse.device import mounted_at
from mapfs.trace.reader import has_ended, open_trace, trace_events
from tests.containers.docker import SHARED, USER, Docker
from tests.support import mapfs, wait_until

pytestmark = pytest.mark.timeout(1200)  # the first test of all pays for the image
PAGES = (0, 40, 80)  # so far apart that a fault on one maps none of the others
OFTEN = ("--health-interval", "500ms", "--health-retries", "1", "--health-start-period", "0s")
KILLED, SIGBUS = 128 + 9, 128 + 7  # as docker has it


def recorded(trace: Path, op: str) -> list[dict[str, Any]]:
    """What a trace has, from outside: `read` requests, or the `fault`s on pages that were there. What the machine
    reclaims by itself costs a request again, which is left out.
    """
    reading = open_trace(str(trace)).connection
    events = [event for event in trace_events(reading) if event["op"] == op and event["class"] != "REFAULT"]
    reading.close()
    return events


def wait_recorded(trace: Path, op: str, count: int) -> list[dict[str, Any]]:
    """The same, once there are so many."""
    wait_until(lambda: len(recorded(trace, op)) >= count, f"{count} times {op} in the trace")
    return recorded(trace, op)


def said(events: list[dict[str, Any]], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(event[key] for key in keys) for event in events]


def test_the_second_client_costs_no_request_and_each_is_named(docker: Docker, shared: Path) -> None:
    daemon = docker.mount(shared, "--trace", f"{SHARED}/t.db", "data=pages:100p")
    trace = shared / "t.db"
    with docker.client(shared, "data") as first, docker.client(shared, "data") as second:
        one, other = first.pid, second.pid
        assert first.touch(*PAGES) == list(PAGES)
        cold = wait_recorded(trace, "read", 3)
        assert second.touch(*PAGES) == list(PAGES)
        assert said(cold, "class", "page", "pages", "pid", "command", "container") == [
            ("COLD", page, 1, one, "python3", first.id) for page in PAGES
        ]
        tier = mapfs_json("summary", str(trace))["evidence"]
        if tier == "faults":  # the kernel lets a plain user see the faults of its own processes
            shares = wait_recorded(trace, "fault", 3)
            assert said(shares, "class", "page", "pid", "container") == [
                ("SHARED", page, other, second.id) for page in PAGES
            ]
            assert [event["by"] for event in shares] == [{"tid": one, "pid": one, "command": "python3"} for _ in PAGES]
        else:
            assert tier == "requests"
        # from outside: by the trace, by the mount itself, and by looking at who maps it
        total = mapfs_json("summary", str(trace))
        assert (total["total"]["demands"], total["total"]["pages"]) == (3, 3)
        lines = mapfs("log", str(trace)).stdout
        assert lines.count("COLD") == lines.count(f"python3/{one}  ") == 3
        live = [json.loads(line) for line in mapfs("log", "--json", str(shared / "mnt")).stdout.splitlines()]
        same = ("time_ns", "class", "page", "pid", "container")
        assert said([event for event in live if event["class"] == "COLD"], *same) == said(cold, *same)
        who = {user["pid"]: user["container"] for user in mapfs_json("who", str(shared / "mnt" / "data"))["users"]}
        assert who == {one: first.id, other: second.id}
        seen = daemon.mapfs("log", f"{SHARED}/mnt").stdout  # and from within
        assert seen.count("COLD") == 3
    assert len([line for line in daemon.log if "COLD" in line and f"python3/{one}" in line]) == 3


def mapfs_json(*args: str) -> Any:
    return json.loads(mapfs(*args, "--json").stdout)


def test_who_is_in_a_pid_namespace_of_its_own_is_not_guessed_at(docker: Docker, shared: Path) -> None:
    docker.mount(shared, "--trace", f"{SHARED}/t.db", "data=pages:100p", options=())
    with docker.client(shared, "data") as first, docker.client(shared, "data") as second:
        assert first.touch(*PAGES) == second.touch(*PAGES) == list(PAGES)
        events = wait_recorded(shared / "t.db", "read", 3)
    assert said(events, "class", "page", "pid", "tid", "command", "container") == [
        ("COLD", page, None, None, None, None) for page in PAGES
    ]


def test_an_orderly_end_leaves_a_whole_trace_and_no_mount(docker: Docker, shared: Path) -> None:
    daemon = docker.mount(shared, "--trace", f"{SHARED}/t.db", "data=pages:100p", options=OFTEN)
    with docker.client(shared, "data", *OFTEN) as client:
        assert client.touch(7) == [7]
        daemon.wait_health("healthy")
        client.wait_health("healthy")
        assert client.end() == 0
    daemon.signal("TERM")
    assert daemon.wait_end() == 0
    assert mounted_at(str(shared / "mnt")) is None
    assert [path.name for path in shared.iterdir()] == ["t.db"], "the mount point that it made is gone too"
    reading = open_trace(str(shared / "t.db")).connection
    assert has_ended(reading)
    assert said(list(trace_events(reading)), "class", "page") == [("COLD", 7)]
    reading.close()


def test_a_client_that_dies_in_a_demand_harms_nobody(docker: Docker, shared: Path) -> None:
    docker.mount(shared, "--trace", f"{SHARED}/t.db", "data=pages:100p,delay=10m@5")
    trace = shared / "t.db"
    with docker.client(shared, "data") as first, docker.client(shared, "data") as second:
        assert first.touch(3) == [3]
        first.tell(5)
        stats = shared / "mnt" / ".mapfs" / "stats"
        wait_until(lambda: json.loads(stats.read_bytes())["daemon"]["waiting_demands"] == 1, "the demand of page 5")
        dead = first.pid
        first.signal("KILL")
        assert first.wait_end() == KILLED
        wait_until(lambda: json.loads(stats.read_bytes())["daemon"]["waiting_demands"] == 0, "nobody waits any more")
        assert second.touch(3, 6) == [3, 6]
        events = wait_recorded(trace, "read", 3)
        assert said(events, "page", "class", "error", "pid") == [
            (3, "COLD", None, dead),
            (5, "ERROR", "EINTR", dead),
            (6, "COLD", None, second.pid),
        ]


def test_a_daemon_that_is_killed_is_started_again_on_the_same_mount_point(docker: Docker, shared: Path) -> None:
    arguments = ("--trace", f"{SHARED}/t.db", "--force", "data=pages:100p")
    daemon = docker.mount(shared, *arguments, options=("--pid", "host", *OFTEN))
    trace = shared / "t.db"
    with docker.client(shared, "data") as waits, docker.client(shared, "data", *OFTEN) as stays:
        assert waits.touch(1, 2) == [1, 2]
        assert stays.touch(2) == [2]
        events = wait_recorded(trace, "read", 2)
        dead = waits.pid
        stays.wait_health("healthy")
        daemon.signal("KILL")
        assert daemon.wait_end() == KILLED
        # those who mapped it: what is resident stays, what is not is SIGBUS; nobody hangs
        assert waits.touch(1) == [1]
        waits.tell(9)
        assert waits.wait_end() == SIGBUS
        stays.wait_health("unhealthy")
        with pytest.raises(OSError, match="not connected"):
            (shared / "mnt" / "data").read_bytes()
        # the trace of the killed one, whose recorder died with it, is read from outside
        reading = open_trace(str(trace)).connection
        assert reading.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        reading.close()
        assert said(events, "class", "page", "pid") == [("COLD", 1, dead), ("COLD", 2, dead)]
        # the very same container again
        docker("start", daemon.id)
        daemon.wait_answering(shared / "mnt")
        assert any("was left by a daemon that was killed; it is detached" in line for line in daemon.log)
        stays.wait_health("healthy")
        with docker.client(shared, "data") as after:
            assert after.touch(1, 9) == [1, 9]
            assert said(wait_recorded(trace, "read", 2), "class", "page", "container") == [
                ("COLD", 1, after.id),
                ("COLD", 9, after.id),
            ]
        daemon.wait_health("healthy")


def test_only_the_user_of_the_daemon_commands_it_from_another_container(docker: Docker, shared: Path) -> None:
    docker.mount(shared, "data=pages:100p")
    seen = ("--mount", f"type=bind,source={shared},target={SHARED},bind-propagation=rslave")
    order = ("drop", f"{SHARED}/mnt/data")
    refused = docker.run(*order, options=(*seen, "--user", "2000"), check=False)
    assert refused.returncode == 1
    assert refused.stderr == f"mapfs: {SHARED}/mnt takes orders only from the user who made it, and from root\n"
    assert docker.run(*order, options=(*seen, "--user", str(USER))).returncode == 0


def test_the_health_check_tells_a_daemon_that_hangs(docker: Docker, shared: Path) -> None:
    daemon = docker.mount(shared, "data=pages:100p", options=OFTEN)
    daemon.wait_health("healthy")
    daemon.signal("STOP")
    daemon.wait_health("unhealthy")
    daemon.signal("CONT")
    daemon.wait_health("healthy")
    assert "COLD" not in "".join(daemon.log), "it is no demand"
