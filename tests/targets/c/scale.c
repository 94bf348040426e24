/* scale STACKS THREADS MAPPINGS RATE: as many threads, each of which keeps one block for each of its
 * share of as many distinct stacks, while so many mappings more are there. A stack is a number,
 * written by which of two functions calls at each of 20 levels. All threads together reach about
 * RATE new stacks a second. */
#include "truth.h"
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

enum { LEVELS = 20, BLOCK_BYTES = 48, MAX_THREADS = 256, PAGE = 4096 };

static struct site kept = {.function = "keep"};
static long stacks, threads, rate;

static void descend(unsigned long number, int level);

NOINLINE static void keep(void) {
    void *block = malloc(BLOCK_BYTES);
    born(&kept, block, BLOCK_BYTES);
    BARRIER();
}

NOINLINE static void zero(unsigned long number, int level) {
    descend(number, level);
    BARRIER();
}

NOINLINE static void one(unsigned long number, int level) {
    descend(number, level);
    BARRIER();
}

NOINLINE static void descend(unsigned long number, int level) {
    if (level == 0) keep();
    else if (number >> (level - 1) & 1) one(number, level - 1);
    else zero(number, level - 1);
    BARRIER();
}

NOINLINE static void *run(void *argument) {
    struct timespec rest = {.tv_nsec = 1000000000L / rate * threads % 1000000000L,
                            .tv_sec = threads / rate};
    for (long number = (long)argument; number < stacks; number += threads) {
        descend((unsigned long)number, LEVELS);
        nanosleep(&rest, NULL);
    }
    return NULL;
}

int main(int argc, char **argv) {
    struct site *sites[] = {&kept};
    pthread_t running[MAX_THREADS];
    stacks = argc > 1 ? atol(argv[1]) : 1000;
    threads = argc > 2 ? atol(argv[2]) : 64;
    long mappings = argc > 3 ? atol(argv[3]) : 2000;
    rate = argc > 4 ? atol(argv[4]) : 10000;
    if (rate < 1 || stacks < 1 || stacks > 1L << LEVELS || threads < 1 || threads > MAX_THREADS) return 64;
    /* Neighbours with unlike permissions are not merged. */
    for (long i = 0; i < mappings; i++)
        if (mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
            return 71;
    if (!wait_for_line()) return 1;
    for (long i = 0; i < threads; i++)
        if (pthread_create(&running[i], NULL, run, (void *)i) != 0) return 71;
    for (long i = 0; i < threads; i++) pthread_join(running[i], NULL);
    print_truth("scale", sites, 1);
    wait_for_line();
    return 0;
}
