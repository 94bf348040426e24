/*
 * sides KEPT CACHED: with each line on stdin a round, in which one function keeps KEPT blocks of
 * 1000 bytes, another one CACHED blocks of 500 bytes, and an inlined one frees its own. Prints its
 * truth after each. Built with -DEXTRA it has lines before them all, and one place more: the next
 * version of the same program.
 */
#include "truth.h"
#ifdef EXTRA
/*
 * Lines
 * that
 * shift
 * the
 * rest.
 */
static struct site later = {.function = "later_block"};

NOINLINE static void *later_block(void) {
    void *block = malloc(3000);
    return born(&later, block, 3000);
}
#endif

static struct site kept = {.function = "kept_block"};
static struct site cached = {.function = "cached_block"};
static struct site passing = {.function = "passing_block"};

NOINLINE static void *kept_block(void) {
    void *block = malloc(1000);
    return born(&kept, block, 1000);
}

NOINLINE static void *cached_block(void) {
    void *block = malloc(500);
    return born(&cached, block, 500);
}

/* In the caller, whatever the optimisation. */
__attribute__((always_inline)) static inline void *passing_block(void) {
    void *block = malloc(700);
    return born(&passing, block, 700);
}

NOINLINE static void keep(long count) {
    for (long i = 0; i < count; i++) kept_block();
    BARRIER();
}

NOINLINE static void fill(long count) {
    for (long i = 0; i < count; i++) cached_block();
    BARRIER();
}

NOINLINE static void pass(long count) {
    for (long i = 0; i < count; i++) {
        free(passing_block());
        died(&passing, 700);
    }
    BARRIER();
}

int main(int argc, char **argv) {
    struct site *sites[] = {
        &kept,
        &cached,
        &passing,
#ifdef EXTRA
        &later,
#endif
    };
    long to_keep = argc > 1 ? atol(argv[1]) : 100;
    long to_cache = argc > 2 ? atol(argv[2]) : 100;
    while (wait_for_line()) {
        keep(to_keep);
        fill(to_cache);
        pass(50);
#ifdef EXTRA
        for (int i = 0; i < 7; i++) later_block();
#endif
        print_truth("sides", sites, sizeof sites / sizeof *sites);
    }
    return 0;
}
