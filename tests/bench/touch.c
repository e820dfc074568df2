/* The client of the benchmark: maps a file, touches pages, prints what it took as one JSON object.
 *
 *   touch CPU random FILE PAGES SEED    each of PAGES pages once, in a random order, each touch timed; then all
 *                                       of them again and again, resident now
 *   touch CPU sequential FILE PAGES     the first PAGES pages in order
 *
 * It runs on CPU alone. MADV_RANDOM (random only) keeps the kernel from reading ahead, so that a touch asks for
 * one page whoever serves it. `sum` adds up the number that each page begins with: the caller knows it.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define RESIDENT_TOUCHES 2000000 /* in all, at least ten passes */

static size_t page_size;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t touch(const char *memory, size_t page)
{
    return le64toh(*(const volatile uint64_t *)(memory + page * page_size));
}

/* Not always the first line of a page: those would all compete for the same few sets of the CPU's caches. */
static void touch_again(const char *memory, size_t page)
{
    (void)*(const volatile uint64_t *)(memory + page * page_size + page * 64 % page_size);
}

static long major_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_majflt;
}

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t *numbers(size_t count)
{
    uint64_t *memory = malloc(count * sizeof *memory);
    if (!memory)
        fail("malloc");
    memset(memory, 1, count * sizeof *memory); /* no page fault of its own later */
    return memory;
}

static uint64_t *shuffled(size_t pages, uint64_t seed)
{
    uint64_t *order = numbers(pages);
    for (size_t i = 0; i < pages; i++)
        order[i] = i;
    for (size_t i = pages - 1; i > 0; i--) {
        size_t j = next_random(&seed) % (i + 1);
        uint64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    return order;
}

static double resident_ns(const char *memory, const uint64_t *order, size_t pages)
{
    size_t passes = RESIDENT_TOUCHES / pages < 10 ? 10 : RESIDENT_TOUCHES / pages;
    uint64_t *took = numbers(passes);
    for (size_t pass = 0; pass < passes; pass++) {
        uint64_t start = now();
        for (size_t i = 0; i < pages; i++)
            touch_again(memory, order[i]);
        took[pass] = now() - start;
    }
    qsort(took, passes, sizeof *took, ascending);
    return (double)took[passes / 2] / (double)pages;
}

static void random_demands(const char *memory, size_t pages, uint64_t seed)
{
    uint64_t *order = shuffled(pages, seed), *waits = numbers(pages), sum = 0;
    long faults = major_faults();
    uint64_t start = now();
    for (size_t i = 0; i < pages; i++) {
        uint64_t before = now();
        sum += touch(memory, order[i]);
        waits[i] = now() - before;
    }
    uint64_t elapsed = now() - start;
    faults = major_faults() - faults;
    qsort(waits, pages, sizeof *waits, ascending);
    printf("{\"elapsed_ns\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu, \"major_faults\": %ld, \"sum\": %llu, ",
           (unsigned long long)elapsed, (unsigned long long)waits[pages / 2],
           (unsigned long long)waits[pages * 99 / 100], faults, (unsigned long long)sum);
    printf("\"resident_ns\": %.4f}\n", resident_ns(memory, order, pages));
}

static void in_order(const char *memory, size_t pages)
{
    uint64_t sum = 0;
    long faults = major_faults();
    uint64_t start = now();
    for (size_t i = 0; i < pages; i++)
        sum += touch(memory, i);
    uint64_t elapsed = now() - start;
    printf("{\"elapsed_ns\": %llu, \"major_faults\": %ld, \"sum\": %llu}\n", (unsigned long long)elapsed,
           major_faults() - faults, (unsigned long long)sum);
}

int main(int argc, char **argv)
{
    int random = argc == 6 && !strcmp(argv[2], "random");
    if (!random && !(argc == 5 && !strcmp(argv[2], "sequential"))) {
        fprintf(stderr, "usage: touch CPU random FILE PAGES SEED | touch CPU sequential FILE PAGES\n");
        return 2;
    }
    int cpu = atoi(argv[1]);
    cpu_set_t *set = CPU_ALLOC(cpu + 1);
    CPU_ZERO_S(CPU_ALLOC_SIZE(cpu + 1), set);
    CPU_SET_S(cpu, CPU_ALLOC_SIZE(cpu + 1), set);
    if (sched_setaffinity(0, CPU_ALLOC_SIZE(cpu + 1), set))
        fail("sched_setaffinity");
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = strtoull(argv[4], NULL, 10);
    int fd = open(argv[3], O_RDONLY);
    if (fd < 0)
        fail("open");
    char *memory = mmap(NULL, pages * page_size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    if (random && madvise(memory, pages * page_size, MADV_RANDOM))
        fail("madvise");
    if (random)
        random_demands(memory, pages, strtoull(argv[5], NULL, 10));
    else
        in_order(memory, pages);
    return 0;
}
