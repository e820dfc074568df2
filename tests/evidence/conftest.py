"""What the tests of evidence share."""

import subprocess

import pytest

from tests.support import WITHIN

FAST = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
/* touches every 16th of N pages, RATE a second; prints how long it took in ms */
int main(int count, char **given) {
    long pages = atol(given[2]), rate = atol(given[3]), page = sysconf(_SC_PAGESIZE), touched = 0;
    volatile char *at = mmap(0, pages * page, PROT_READ, MAP_SHARED, open(given[1], O_RDONLY), 0);
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long number = 0; number < pages; number += 16, touched++) {
        (void)at[number * page];
        for (;;) {
            clock_gettime(CLOCK_MONOTONIC, &now);
            long gone = (now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec;
            if (!rate || gone * rate >= touched * 1000000000L) break;
        }
    }
    printf("%ld\n", (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000);
    return 0;
}
"""


@pytest.fixture(scope="session")
def fast(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("fast")
    (place / "fast.c").write_text(FAST)
    subprocess.run(["cc", "-O2", "-o", place / "fast", place / "fast.c"], check=True, timeout=WITHIN)
    return str(place / "fast")
