/*
 * Works in units of one malloc, one free and some work of its own, at a rate by time, and notes what
 * its units cost it: from the CPU time that a unit took before outlive came, and that of its
 * intervals, whoever watches can tell what was taken from it.
 *
 * governed MODE SECONDS. The first line measures units, the second begins the work. A unit of the
 * mode `deep` has long stacks, a large block and much work, one of `ring` frees the block of an
 * earlier unit instead of its own, and one of `mapping` maps memory instead.
 */
#include "truth.h"
#include <sys/mman.h>
#include <time.h>

enum { INTERVALS_MAX = 2000, WORK = 600, DEEP_WORK = 130000, DEPTH = 30, DEEP_STACKS = 1024,
       RING = 1 << 20 };
static const long INTERVAL_NS = 100000000;

static struct { long at_ns, units, cpu_ns; } intervals[INTERVALS_MAX];
static volatile unsigned work_done;

static long clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static size_t block_bytes = 100;

NOINLINE static void *a_block(void) {
    void *block = malloc(block_bytes);
    sink = block;
    BARRIER();
    return block;
}

static void work(int rounds) {
    unsigned x = 1;
    for (int i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u;
    work_done = x;
}

NOINLINE static void shallow_unit(void) {
    void *block = a_block();
    work(WORK);
    free(block);
}

/* One of DEEP_STACKS stacks: each level is one of two calls. */
NOINLINE static void *deep(int levels, unsigned path) {
    void *block;
    if (!levels) block = a_block();
    else if (path & 1) block = deep(levels - 1, path >> 1);
    else block = deep(levels - 1, path >> 1);
    BARRIER();
    return block;
}

NOINLINE static void deep_unit(void) {
    static unsigned path;
    void *block = deep(DEPTH, path++ % DEEP_STACKS);
    work(DEEP_WORK);
    free(block);
}

/* Its block lives until RING more have been made. */
NOINLINE static void ring_unit(void) {
    static void *ring[RING];
    static unsigned next;
    free(ring[next]);
    ring[next] = a_block();
    next = (next + 1) % RING;
    work(WORK);
}

/* Nothing of the allocator: a mapping of its own. */
NOINLINE static void mapping_unit(void) {
    void *mapping = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    work(WORK);
    munmap(mapping, 4096);
}

static void (*unit)(void) = shallow_unit;

/* Units a second that are wanted at a moment; 0 for as many as there can be. */
static long wanted(const char *mode, long second) {
    if (!strcmp(mode, "hot") || unit != shallow_unit) return 0;
    if (!strcmp(mode, "cool")) return 300;
    if (!strcmp(mode, "warm")) return 30000;
    if (!strcmp(mode, "calming")) return second < 6 ? 0 : 300;
    /* jumping: by a thousand. */
    return second / 5 % 2 ? 0 : 1000;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long seconds = atol(argv[2]), count = 0, round_units = 40000;
    if (!strcmp(argv[1], "deep")) {
        unit = deep_unit, round_units = 1000, block_bytes = 1000;
    } else if (!strcmp(argv[1], "ring")) {
        unit = ring_unit;
    } else if (!strcmp(argv[1], "mapping")) {
        unit = mapping_unit;
    }
    if (!wait_for_line()) return 1;
    /* The quickest of some rounds is the least disturbed; the median is what is usual. */
    long rounds[40];
    for (int round = 0; round < 40; round++) {
        long before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        for (long i = 0; i < round_units; i++) unit();
        long took = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before, place = round;
        while (place > 0 && rounds[place - 1] > took) rounds[place] = rounds[place - 1], place--;
        rounds[place] = took;
    }
    static char text[160 * 1024];
    int length = snprintf(text, sizeof text, "{\"unit_ns\":%.2f,\"quickest_unit_ns\":%.2f}\n",
                          (double)rounds[20] / (double)round_units,
                          (double)rounds[0] / (double)round_units);
    write_all(text, (size_t)length);
    if (!wait_for_line()) return 1;
    long begin = clock_ns(CLOCK_MONOTONIC), at = begin, cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (at - begin < seconds * 1000000000L && count < INTERVALS_MAX) {
        long until = at + INTERVAL_NS, units = 0;
        long rate = wanted(argv[1], (at - begin) / 1000000000L);
        for (long now = at; now < until; now = clock_ns(CLOCK_MONOTONIC)) {
            long due = rate ? rate * (now - at) / 1000000000L + 1 : units + 20;
            while (units < due) unit(), units++;
            if (rate) nanosleep(&(struct timespec){0, rate > 10000 ? 200000 : 1000000}, NULL);
        }
        at = clock_ns(CLOCK_MONOTONIC);
        long used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        intervals[count].at_ns = at - begin, intervals[count].units = units;
        intervals[count++].cpu_ns = used - cpu;
        cpu = used;
    }
    length = snprintf(text, sizeof text, "{\"intervals\":[");
    for (long i = 0; i < count; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s[%ld,%ld,%ld]",
                           i ? "," : "", intervals[i].at_ns, intervals[i].units,
                           intervals[i].cpu_ns);
    length += snprintf(text + length, sizeof text - (size_t)length, "]}\n");
    write_all(text, (size_t)length);
    wait_for_line();
    return 0;
}
