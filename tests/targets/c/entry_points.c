/* Every way to get memory from libc, once or a few times each, failures included. */
#define _GNU_SOURCE
#include "truth.h"
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <sys/mman.h>

enum { TIMES = 10, PAGE = 4096 };

/* A site per function: the frame's name is the function's. */
#define HOLDS(name, call, bytes)                      \
    static struct site name##_site = {.function = #name}; \
    NOINLINE static void *name(size_t n) {            \
        void *block = (call);                         \
        return born(&name##_site, block, (bytes));    \
    }

HOLDS(by_malloc, malloc(n), n)
HOLDS(by_calloc, calloc(7, n), 7 * n)
HOLDS(by_realloc, realloc(NULL, n), n)
HOLDS(by_reallocarray, reallocarray(NULL, 5, n), 5 * n)
HOLDS(by_aligned_alloc, aligned_alloc(64, n), n)
HOLDS(by_memalign, memalign(256, n), n)
HOLDS(by_valloc, valloc(n), n)
HOLDS(by_pvalloc, pvalloc(n), n)
HOLDS(by_mmap, mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), n)

static struct site posix_site = {.function = "by_posix_memalign"};
NOINLINE static void *by_posix_memalign(size_t n) {
    void *block = NULL;
    if (posix_memalign(&block, 128, n) != 0) _exit(71);
    return born(&posix_site, block, n);
}

/* malloc is called by strdup, in libc. Which name the leaf has depends on how deep one sees. */
static struct site strdup_site = {.function = "strdup", .alias = "__strdup"};
NOINLINE static void *by_strdup(const char *text) {
    void *block = strdup(text);
    return born(&strdup_site, block, strlen(text) + 1);
}

static struct site remap_site = {.function = "by_mremap"};
NOINLINE static void *by_mremap(void *old, size_t old_bytes, size_t bytes) {
    void *block = mremap(old, old_bytes, bytes, MREMAP_MAYMOVE);
    if (block == MAP_FAILED) _exit(71);
    died(&by_mmap_site, old_bytes);
    return born(&remap_site, block, bytes);
}

/* A mapping out of whose middle a page is taken. */
static struct site hole_site = {.function = "by_mmap_with_hole", .blocks_are_undefined = 1};
NOINLINE static void *by_mmap_with_hole(size_t n) {
    char *block = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    born(&hole_site, block, n);
    if (munmap(block + PAGE, PAGE) != 0) _exit(71);
    died(&hole_site, PAGE);
    return block;
}

static struct site sbrk_site = {.function = "by_sbrk", .alias = "sbrk"};
NOINLINE static void *by_sbrk(size_t n) {
    void *block = sbrk((intptr_t)n);
    return born(&sbrk_site, block, n);
}

/* Each asks for what cannot be had. */
NOINLINE static void fail_on_purpose(void) {
    volatile size_t huge = (size_t)PTRDIFF_MAX - PAGE, overflow = SIZE_MAX / 2;
    void *volatile block = NULL;
    int failed = 0;
    block = malloc(huge), failed += block == NULL;
    block = calloc(1, huge), failed += block == NULL;
    block = calloc(overflow, 4), failed += block == NULL;
    block = realloc(NULL, huge), failed += block == NULL;
    block = reallocarray(NULL, overflow, 4), failed += block == NULL;
    block = aligned_alloc(64, huge), failed += block == NULL;
    void *out = (void *)1;
    failed += posix_memalign(&out, 64, huge) == ENOMEM;
    if (failed != 7) _exit(72);
    atomic_fetch_add(&failed_allocations, failed);
    /* A bad alignment fails without an allocation. */
    if (posix_memalign(&out, 3, 64) != EINVAL) _exit(72);
    BARRIER();
}

NOINLINE static void free_by(void (*release)(void *), struct site *site, void *block, size_t n) {
    release(block);
    died(site, n);
}

NOINLINE static void work(void) {
    /* cfree left glibc in 2.26; where it is still there, it is tried. */
    void (*cfree_found)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    for (size_t i = 1; i <= TIMES; i++) {
        size_t n = 64 * i; /* a multiple of every alignment that demands it */
        by_malloc(n);
        free_by(free, &by_malloc_site, by_malloc(n), n);
        free_by(cfree_found ? cfree_found : free, &by_malloc_site, by_malloc(n), n);
        by_calloc(n);
        free_by(free, &by_calloc_site, by_calloc(n), 7 * n);
        by_realloc(n);
        by_reallocarray(n);
        by_aligned_alloc(n);
        free_by(free, &by_aligned_alloc_site, by_aligned_alloc(n), n);
        by_memalign(n);
        by_valloc(n);
        by_pvalloc(n);
        by_posix_memalign(n);
        free_by(free, &posix_site, by_posix_memalign(n), n);
        by_strdup("a text that strdup copies");
        by_mmap(i * PAGE);
        void *unmapped = by_mmap(i * PAGE);
        if (munmap(unmapped, i * PAGE) != 0) _exit(71);
        died(&by_mmap_site, i * PAGE);
        by_mremap(by_mmap(i * PAGE), i * PAGE, 8 * i * PAGE);
        by_mmap_with_hole((i + 2) * PAGE);
        free(NULL);
    }
    by_sbrk(3 * PAGE);
    fail_on_purpose();
    BARRIER();
}

int main(void) {
    struct site *sites[] = {
        &by_malloc_site, &by_calloc_site, &by_realloc_site, &by_reallocarray_site,
        &by_aligned_alloc_site, &by_memalign_site, &by_valloc_site, &by_pvalloc_site,
        &by_mmap_site, &posix_site, &strdup_site, &remap_site, &hole_site, &sbrk_site,
    };
    if (!wait_for_line()) return 1;
    work();
    print_truth("entry_points", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
