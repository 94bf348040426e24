/* mimalloc's own interface: heaps, aligned and zeroed variants, and what else has a name. */
#include "truth.h"
#include <mimalloc.h>

enum { ROUNDS = 3000 };

static mi_heap_t *heap;

#define HOLDS(name, call, bytes)                          \
    static struct site name##_site = {.function = #name}; \
    NOINLINE static void *name(size_t n) {                \
        void *block = (call);                             \
        if (!block) _exit(71);                            \
        return born(&name##_site, block, (bytes));        \
    }

HOLDS(by_mi_malloc, mi_malloc(n), n)
HOLDS(by_mi_small, mi_malloc_small(1 + n % 1000), 1 + n % 1000)
HOLDS(by_mi_zalloc, mi_zalloc(n), n)
HOLDS(by_mi_mallocn, mi_mallocn(5, n), 5 * n)
HOLDS(by_mi_malloc_aligned, mi_malloc_aligned(n, 512), n)
HOLDS(by_mi_zalloc_aligned, mi_zalloc_aligned(n, 64), n)
HOLDS(by_mi_heap_malloc, mi_heap_malloc(heap, n), n)
HOLDS(by_mi_heap_calloc, mi_heap_calloc(heap, 2, n), 2 * n)
HOLDS(by_mi_new, mi_new(n), n)
HOLDS(by_mi_new_n, mi_new_n(3, n), 3 * n)
HOLDS(by_mi_new_nothrow, mi_new_nothrow(n), n)
HOLDS(by_plain_malloc, malloc(n), n)

/* It calls mi_malloc_aligned, and so is the leaf itself. */
static struct site by_mi_new_aligned_site =
    {.function = "by_mi_new_aligned", .alias = "mi_new_aligned"};
NOINLINE static void *by_mi_new_aligned(size_t n) {
    return born(&by_mi_new_aligned_site, mi_new_aligned(n, 128), n);
}

static struct site realloc_site = {.function = "by_mi_realloc_aligned"};
NOINLINE static void *by_mi_realloc_aligned(struct site *old_site, void *old, size_t bytes, size_t n) {
    void *block = mi_realloc_aligned(old, n, 32);
    if (!block) _exit(71);
    died(old_site, bytes);
    return born(&realloc_site, block, n);
}

static struct site heap_realloc_site = {.function = "by_mi_heap_realloc"};
NOINLINE static void *by_mi_heap_realloc(struct site *old_site, void *old, size_t bytes, size_t n) {
    void *block = mi_heap_realloc(heap, old, n);
    if (!block) _exit(71);
    died(old_site, bytes);
    return born(&heap_realloc_site, block, n);
}

static struct site reallocf_site = {.function = "by_mi_reallocf"};
NOINLINE static void by_mi_reallocf(struct site *old_site, void *old, size_t bytes, size_t n) {
    void *block = mi_reallocf(old, n);
    died(old_site, bytes);
    if (block) born(&reallocf_site, block, n);
    else atomic_fetch_add(&failed_allocations, 1);
}

static void keep_or_free(struct site *site, void *block, size_t bytes, unsigned round) {
    if (round % 8 == 0) return;
    if (round % 2) mi_free(block);
    else mi_free_size(block, bytes);
    died(site, bytes);
}

NOINLINE static void work(void) {
    uint32_t seed = 2463534242u;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t n = 1 + next_random(&seed) % 6000;
        keep_or_free(&by_mi_malloc_site, by_mi_malloc(n), n, i);
        keep_or_free(&by_mi_small_site, by_mi_small(n), 1 + n % 1000, i);
        keep_or_free(&by_mi_zalloc_site, by_mi_zalloc(n), n, i);
        keep_or_free(&by_mi_mallocn_site, by_mi_mallocn(n), 5 * n, i);
        keep_or_free(&by_mi_malloc_aligned_site, by_mi_malloc_aligned(n), n, i);
        keep_or_free(&by_mi_zalloc_aligned_site, by_mi_zalloc_aligned(n), n, i);
        keep_or_free(&by_mi_heap_malloc_site, by_mi_heap_malloc(n), n, i);
        keep_or_free(&by_mi_heap_calloc_site, by_mi_heap_calloc(n), 2 * n, i);
        keep_or_free(&by_mi_new_site, by_mi_new(n), n, i);
        keep_or_free(&by_mi_new_n_site, by_mi_new_n(n), 3 * n, i);
        keep_or_free(&by_mi_new_aligned_site, by_mi_new_aligned(n), n, i);
        keep_or_free(&by_mi_new_nothrow_site, by_mi_new_nothrow(n), n, i);
        keep_or_free(&by_plain_malloc_site, by_plain_malloc(n), n, i);
        size_t grown = 1 + next_random(&seed) % 50000;
        void *block = by_mi_realloc_aligned(&by_mi_malloc_site, by_mi_malloc(n), n, grown);
        keep_or_free(&realloc_site, block, grown, i);
        block = by_mi_heap_realloc(&by_mi_heap_malloc_site, by_mi_heap_malloc(n), n, grown);
        keep_or_free(&heap_realloc_site, block, grown, i);
        by_mi_reallocf(&by_mi_zalloc_site, by_mi_zalloc(n), n, i % 5 ? grown : (size_t)PTRDIFF_MAX);
    }
    BARRIER();
}

int main(void) {
    struct site *sites[] = {
        &by_mi_malloc_site, &by_mi_small_site, &by_mi_zalloc_site, &by_mi_mallocn_site,
        &by_mi_malloc_aligned_site, &by_mi_zalloc_aligned_site, &by_mi_heap_malloc_site,
        &by_mi_heap_calloc_site, &by_mi_new_site, &by_mi_new_n_site, &by_mi_new_aligned_site,
        &by_mi_new_nothrow_site, &by_plain_malloc_site, &realloc_site, &heap_realloc_site,
        &reallocf_site,
    };
    heap = mi_heap_new();
    if (!wait_for_line()) return 1;
    work();
    print_truth("mimalloc", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
