/* gaps THREADS SPINNERS [fifo]: threads that allocate and record the longest time that a step of
 * theirs took. SPINNERS of them never rest; the others do a burst of work every few milliseconds,
 * so that few want to run at a time. With "fifo" those are scheduled before all ordinary threads
 * of the machine (SCHED_FIFO), where that is permitted: what is left are the waits that others
 * force upon them, not the neighbours' load.
 * For each line on stdin it prints {"bursting_ns": N, "spinning_ns": N, "steps": N, "fifo": 0|1}:
 * the longest step of either kind since the line before. */
#define _GNU_SOURCE
#include "truth.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

enum { MAX_THREADS = 256, STEPS_OF_A_BURST = 8, REST_NS = 4000000, PAGE = 4096, PAGES = 16 };

static _Atomic int stop, is_fifo;
static long spinners;
static struct {
    _Atomic long longest_ns, steps;
    char apart[112]; /* one cache line each */
} gaps[MAX_THREADS];

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* An allocation, a free, and a page fault now and then: what a probe may make wait. */
NOINLINE static void step(char *pages, long number) {
    void *block = malloc(64 + (size_t)number % 512);
    *(volatile char *)block = 1;
    free(block);
    long page = number % PAGES;
    if (page == 0) madvise(pages, PAGES * PAGE, MADV_DONTNEED);
    pages[page * PAGE] = 1;
    BARRIER();
}

static void *run(void *argument) {
    long self = (long)argument;
    int spins = self < spinners;
    char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) _exit(71);
    struct sched_param first = {.sched_priority = 1};
    if (!spins && is_fifo && pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) != 0)
        is_fifo = 0;
    struct timespec rest = {.tv_nsec = REST_NS + self * 10000};
    for (long number = 0; !stop;) {
        for (int i = 0; i < STEPS_OF_A_BURST; i++, number++) {
            long began = now_ns();
            step(pages, number);
            long took = now_ns() - began;
            if (took > gaps[self].longest_ns) gaps[self].longest_ns = took;
            gaps[self].steps++;
        }
        if (!spins) nanosleep(&rest, NULL);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[MAX_THREADS];
    long count = argc > 1 ? atol(argv[1]) : 64;
    spinners = argc > 2 ? atol(argv[2]) : 0;
    is_fifo = argc > 3 && strcmp(argv[3], "fifo") == 0;
    if (count < 1 || count > MAX_THREADS || spinners > count) return 64;
    for (long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0) return 71;
    while (wait_for_line()) {
        long longest[2] = {0, 0}, steps = 0;
        for (long i = 0; i < count; i++) {
            long took = atomic_exchange(&gaps[i].longest_ns, 0);
            steps += atomic_exchange(&gaps[i].steps, 0);
            if (took > longest[i < spinners]) longest[i < spinners] = took;
        }
        char line[160];
        int length = snprintf(line, sizeof line,
            "{\"bursting_ns\":%ld,\"spinning_ns\":%ld,\"steps\":%ld,\"fifo\":%d}\n", longest[0],
            longest[1], steps, is_fifo);
        write_all(line, (size_t)length);
    }
    stop = 1;
    for (long i = 0; i < count; i++) pthread_join(threads[i], NULL);
    return 0;
}
