/* The client of the benchmark: maps a file, touches pages, prints what it took as one JSON object.
 *
 *   touch CPU random FILE PAGES SEED    each of PAGES pages once, in a random order, each touch timed; then all
 *                                       of them again and again, resident now
 *   touch CPU sequential FILE PAGES     the first PAGES pages in order
 *   touch CPU spread FILE PAGES SEED COUNT    COUNT of the first PAGES pages, evenly spread, in a random order
 *   touch CPU repeat FILE PAGES COUNT   the first PAGES pages in order, dropped from the page cache after each pass,
 *                                       until COUNT touches were made
 *   touch CPU hold FILE PAGES           all of the first PAGES pages at once, by a thread each; at most 1000
 *
 * It runs on CPU alone; -1: on any. MADV_RANDOM (not when sequential) keeps the kernel from reading ahead, so that a touch asks for
 * one page whoever serves it. `sum` adds up the number that each page begins with: the caller knows it.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MOST_THREADS 1000
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

static void demands(const char *memory, const uint64_t *order, size_t pages)
{
    uint64_t *waits = numbers(pages), sum = 0;
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
    printf("{\"elapsed_ns\": %llu, \"p50_ns\": %llu, \"p99_ns\": %llu, \"major_faults\": %ld, \"sum\": %llu",
           (unsigned long long)elapsed, (unsigned long long)waits[pages / 2],
           (unsigned long long)waits[pages * 99 / 100], faults, (unsigned long long)sum);
}

static void random_demands(const char *memory, size_t pages, uint64_t seed)
{
    uint64_t *order = shuffled(pages, seed);
    demands(memory, order, pages);
    printf(", \"resident_ns\": %.4f}\n", resident_ns(memory, order, pages));
}

static void spread(const char *memory, size_t pages, uint64_t seed, size_t count)
{
    uint64_t *order = shuffled(count, seed);
    for (size_t i = 0; i < count; i++)
        order[i] = order[i] * (pages / count) + next_random(&seed) % (pages / count);
    demands(memory, order, count);
    printf("}\n");
}

static void repeat(int fd, char *memory, size_t pages, size_t count)
{
    uint64_t start = now(), sum = 0;
    for (size_t done = 0; done < count;) {
        for (size_t i = 0; i < pages && done < count; i++, done++)
            sum += touch(memory, i);
        if (madvise(memory, pages * page_size, MADV_DONTNEED) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
            fail("drop");
    }
    printf("{\"elapsed_ns\": %llu, \"sum\": %llu}\n", (unsigned long long)(now() - start), (unsigned long long)sum);
}

static void *touch_one(void *page)
{
    return (void *)(uintptr_t)touch(page, 0);
}

static void hold(char *memory, size_t pages)
{
    pthread_t threads[MOST_THREADS];
    uint64_t start = now(), sum = 0;
    for (size_t i = 0; i < pages; i++)
        if (pthread_create(&threads[i], NULL, touch_one, memory + i * page_size))
            fail("pthread_create");
    for (size_t i = 0; i < pages; i++) {
        void *number;
        pthread_join(threads[i], &number);
        sum += (uintptr_t)number;
    }
    printf("{\"elapsed_ns\": %llu, \"sum\": %llu}\n", (unsigned long long)(now() - start), (unsigned long long)sum);
}

static void run_on(int cpu)
{
    cpu_set_t *set = CPU_ALLOC(cpu + 1);
    CPU_ZERO_S(CPU_ALLOC_SIZE(cpu + 1), set);
    CPU_SET_S(cpu, CPU_ALLOC_SIZE(cpu + 1), set);
    if (sched_setaffinity(0, CPU_ALLOC_SIZE(cpu + 1), set))
        fail("sched_setaffinity");
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

static int known(int argc, const char *how)
{
    static const struct { const char *how; int argc; } all[] = {
        {"random", 6}, {"sequential", 5}, {"spread", 7}, {"repeat", 6}, {"hold", 5}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(how, all[i].how))
            return argc == all[i].argc;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5 || !known(argc, argv[2])) {
        fprintf(stderr, "usage: touch CPU random|sequential|spread|repeat|hold FILE PAGES ...\n");
        return 2;
    }
    const char *how = argv[2];
    if (atoi(argv[1]) >= 0)
        run_on(atoi(argv[1]));
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = strtoull(argv[4], NULL, 10);
    uint64_t number = argc > 5 ? strtoull(argv[5], NULL, 10) : 0, count = argc > 6 ? strtoull(argv[6], NULL, 10) : 0;
    int fd = open(argv[3], O_RDONLY);
    if (fd < 0)
        fail("open");
    char *memory = mmap(NULL, pages * page_size, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    if (strcmp(how, "sequential") && madvise(memory, pages * page_size, MADV_RANDOM))
        fail("madvise");
    if (!strcmp(how, "random"))
        random_demands(memory, pages, number);
    else if (!strcmp(how, "sequential"))
        in_order(memory, pages);
    else if (!strcmp(how, "spread") && count && count <= pages)
        spread(memory, pages, number, count);
    else if (!strcmp(how, "repeat") && pages)
        repeat(fd, memory, pages, number);
    else if (!strcmp(how, "hold") && pages <= MOST_THREADS)
        hold(memory, pages);
    else
        return 2;
    return 0;
}
