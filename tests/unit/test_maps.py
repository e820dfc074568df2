"""/proc/PID/maps, taken apart."""

import os

from mapfs.sources.maps import Mapping, mappings, named, range_of

TEXT = b"""\
00400000-00452000 r-xp 00000000 fe:01 173521                             /usr/bin/a program, twice
00651000-00652000 rw-p 00051000 fe:01 173521                             /usr/bin/a program, twice
00700000-00701000 rw-p 00000000 00:00 0 
01000000-01021000 rw-p 00000000 00:00 0                                  [heap]
7f0000000000-7f0000001000 ---p 00000000 00:2f 7                          /mnt/x/line\\012break (deleted)
7f0000002000-7f0000003000 rw-s 00000000 00:01 9                          /memfd:a/b (deleted)
7f0000004000-7f0000005000 rw-p 00000000 00:00 0                          [anon:one/two]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""  # noqa: W291 -- as the kernel writes the line of a mapping without a name


def test_each_line_is_a_mapping() -> None:
    found = list(mappings(TEXT))
    assert len(found) == len(TEXT.splitlines())
    assert found[0] == Mapping(0x400000, 0x452000, b"r-xp", os.makedev(0xFE, 1), 173521, b"/usr/bin/a program, twice")
    assert found[2].name == b""
    assert (found[4].device, found[4].inode) == (os.makedev(0, 0x2F), 7)


def test_those_that_hold_an_address_of_a_range() -> None:
    def starts(start: int, end: int) -> list[int]:
        return [one.start for one in mappings(TEXT, start, end)]

    assert starts(0, 0x400000) == []
    assert starts(0, 0x400001) == [0x400000]
    assert starts(0x451FFF, 0x651000) == [0x400000]
    assert starts(0x452000, 0x651000) == []
    assert starts(0x452000, 0x1000001) == [0x651000, 0x700000, 0x1000000]
    assert starts(0xFFFFFFFFFF600FFF, 1 << 64) == [0xFFFFFFFFFF600000]


def test_file_names_are_unique_and_have_no_slash() -> None:
    names = [one.file_name for one in mappings(TEXT)]
    assert names == [
        b"000000400000-000000452000.r-xp.a program, twice",
        b"000000651000-000000652000.rw-p.a program, twice",
        b"000000700000-000000701000.rw-p.anon",
        b"000001000000-000001021000.rw-p.[heap]",
        b"7f0000000000-7f0000001000.---p.line\\012break.deleted",
        b"7f0000002000-7f0000003000.rw-s.b.deleted",
        b"7f0000004000-7f0000005000.rw-p.[anon:one_two]",
        b"ffffffffff600000-ffffffffff601000.--xp.[vsyscall]",
    ]
    assert names == sorted(names)
    for one in mappings(TEXT):
        assert named(TEXT, one.file_name) == one


def test_a_file_name_fits_into_a_directory() -> None:
    line = b"00400000-00452000 r-xp 00000000 fe:01 1 /" + b"n" * 255 + b" (deleted)\n"
    (one,) = mappings(line)
    assert len(one.file_name) == 255 and one.file_name.endswith(b"nn.deleted")
    assert named(line, one.file_name) == one


def test_what_is_no_file_name() -> None:
    for name in (b"", b"maps", b"400000-452000.r-xp.x", b"000000400000-000000452000.r-xp.other",
                 b"000000400000-000000453000.r-xp.a program, twice", b"000000452000-000000453000.r-xp.x"):  # fmt: skip
        assert named(TEXT, name) is None


def test_a_range_by_its_name() -> None:
    assert range_of(TEXT, b"/usr/bin/a program, twice") == (0x400000, 0x652000)
    assert range_of(TEXT, b"[heap]") == (0x1000000, 0x1021000)
    assert range_of(TEXT, b"/memfd:a/b") == range_of(TEXT, b"/memfd:a/b (deleted)") == (0x7F0000002000, 0x7F0000003000)
    assert range_of(TEXT, b"/usr/bin") is None
    assert range_of(TEXT, b"") == (0x700000, 0x701000)
