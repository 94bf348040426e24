/* What every allocator has, in one program for all of them: glibc, musl, and whatever is preloaded
 * or linked. Blocks are kept, freed, grown and shrunk by known amounts. */
#define _GNU_SOURCE
#include "truth.h"
#include <malloc.h>

enum { ROUNDS = 6000 };

#define HOLDS(name, call, bytes)                      \
    static struct site name##_site = {.function = #name}; \
    NOINLINE static void *name(size_t n) {            \
        void *block = (call);                         \
        if (!block) _exit(71);                        \
        return born(&name##_site, block, (bytes));    \
    }

HOLDS(by_malloc, malloc(n), n)
HOLDS(by_calloc, calloc(3, n), 3 * n)
HOLDS(by_realloc, realloc(NULL, n), n)
HOLDS(by_aligned_alloc, aligned_alloc(64, n), n)
HOLDS(by_memalign, memalign(256, n), n)

static struct site posix_site = {.function = "by_posix_memalign"};
NOINLINE static void *by_posix_memalign(size_t n) {
    void *block = NULL;
    if (posix_memalign(&block, 128, n) != 0) _exit(71);
    return born(&posix_site, block, n);
}

static struct site resized_site = {.function = "by_resizing"};
NOINLINE static void *by_resizing(struct site *old_site, void *old, size_t old_bytes, size_t n) {
    void *block = realloc(old, n);
    if (!block) _exit(71);
    died(old_site, old_bytes);
    return born(&resized_site, block, n);
}

/* Frees, or keeps one in `out_of`. */
static void keep_or_free(
    struct site *site, void *block, size_t bytes, unsigned round, unsigned out_of) {
    if (round % out_of == 0) {
        sink = block;
        return;
    }
    free(block);
    died(site, bytes);
}

NOINLINE static void fail_on_purpose(void) {
    volatile size_t huge = (size_t)PTRDIFF_MAX - 4096, overflow = SIZE_MAX / 2;
    void *volatile block = NULL;
    int failed = 0;
    block = malloc(huge), failed += block == NULL;
    block = calloc(overflow, 4), failed += block == NULL;
    block = realloc(NULL, huge), failed += block == NULL;
    void *out = NULL;
    failed += posix_memalign(&out, 64, huge) != 0;
    if (failed != 4) _exit(72);
    atomic_fetch_add(&failed_allocations, failed);
}

NOINLINE static void work(void) {
    uint32_t seed = 88172645u;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t n = 1 + next_random(&seed) % 3000;
        size_t aligned = 64 * (1 + n / 64);
        keep_or_free(&by_malloc_site, by_malloc(n), n, i, 10);
        keep_or_free(&by_calloc_site, by_calloc(n), 3 * n, i, 20);
        keep_or_free(&by_realloc_site, by_realloc(n), n, i, 30);
        keep_or_free(&by_aligned_alloc_site, by_aligned_alloc(aligned), aligned, i, 40);
        keep_or_free(&by_memalign_site, by_memalign(n), n, i, 50);
        keep_or_free(&posix_site, by_posix_memalign(n), n, i, 60);
        size_t grown = 1 + next_random(&seed) % 200000;
        void *block = by_resizing(&by_malloc_site, by_malloc(n), n, grown);
        keep_or_free(&resized_site, block, grown, i, 200);
        free(NULL);
    }
    fail_on_purpose();
    BARRIER();
}

int main(void) {
    struct site *sites[] = {
        &by_malloc_site, &by_calloc_site, &by_realloc_site, &by_aligned_alloc_site,
        &by_memalign_site, &posix_site, &resized_site,
    };
    if (!wait_for_line()) return 1;
    work();
    print_truth("allocator", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
