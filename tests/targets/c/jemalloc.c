/* jemalloc's own interface. Built twice: against the library as it is, and with every public name
 * behind `je_` beside libc's malloc (PREFIXED), which then is a second allocator in one process. */
#include "truth.h"
#ifdef PREFIXED
#define JE(name) je_##name
void *je_malloc(size_t), *je_calloc(size_t, size_t), *je_realloc(void *, size_t);
void je_free(void *);
void *je_mallocx(size_t, int), *je_rallocx(void *, size_t, int);
size_t je_xallocx(void *, size_t, size_t, int);
void je_dallocx(void *, int), je_sdallocx(void *, size_t, int);
#define MALLOCX_ALIGN(a) (__builtin_ctzl(a))
#define MALLOCX_ZERO 0x40
#else
#include <jemalloc/jemalloc.h>
#define JE(name) name
#endif

enum { ROUNDS = 3000 };

#define HOLDS(name, call)                                 \
    static struct site name##_site = {.function = #name}; \
    NOINLINE static void *name(size_t n) {                \
        void *block = (call);                             \
        if (!block) _exit(71);                            \
        return born(&name##_site, block, n);              \
    }

HOLDS(by_mallocx, JE(mallocx)(n, 0))
HOLDS(by_aligned_mallocx, JE(mallocx)(n, MALLOCX_ALIGN(4096)))
HOLDS(by_zeroed_mallocx, JE(mallocx)(n, MALLOCX_ZERO))
HOLDS(by_je_malloc, JE(malloc)(n))
HOLDS(by_je_calloc, JE(calloc)(1, n))
HOLDS(by_libc_or_je_malloc, malloc(n))

static struct site rallocx_site = {.function = "by_rallocx"};
NOINLINE static void *by_rallocx(struct site *old_site, void *old, size_t old_bytes, size_t n) {
    void *block = JE(rallocx)(old, n, 0);
    if (!block) _exit(71);
    died(old_site, old_bytes);
    return born(&rallocx_site, block, n);
}

static int resized, refused;
static struct site xallocx_site = {.function = "by_xallocx"};
/* Resizes in place where that works; returns the bytes that the block then has. */
NOINLINE static size_t by_xallocx(struct site **site, void *block, size_t bytes, size_t n, size_t extra) {
    size_t real = JE(xallocx)(block, n, extra, 0);
    if (real < n) {
        refused++;
        return bytes;
    }
    resized++;
    size_t got = real < n + extra ? real : n + extra;
    died(*site, bytes);
    *site = &xallocx_site;
    born(&xallocx_site, block, got);
    return got;
}

NOINLINE static void work(void) {
    uint32_t seed = 2463534242u;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t n = 1 + next_random(&seed) % 5000;
        void *block = by_mallocx(n);
        if (i % 7) JE(dallocx)(block, 0), died(&by_mallocx_site, n);
        block = by_aligned_mallocx(n);
        if (i % 5) JE(sdallocx)(block, n, MALLOCX_ALIGN(4096)), died(&by_aligned_mallocx_site, n);
        by_zeroed_mallocx(1 + n % 64);
        block = by_je_malloc(n);
        size_t grown = 1 + next_random(&seed) % 100000;
        block = by_rallocx(&by_je_malloc_site, block, n, grown);
        if (i % 3) JE(free)(block), died(&rallocx_site, grown);
        /* The same pointer type, another allocator: freed by its own function. */
        block = by_libc_or_je_malloc(n);
        if (i % 9) free(block), died(&by_libc_or_je_malloc_site, n);
        /* Small blocks cannot move up a size class in place; large ones sometimes can. */
        size_t bytes = i % 2 ? n : 100000 + 4096 * (n % 200);
        struct site *site = &by_je_calloc_site;
        block = by_je_calloc(bytes);
        bytes = by_xallocx(&site, block, bytes, bytes + bytes / 2, i % 4 ? 0 : bytes);
        bytes = by_xallocx(&site, block, bytes, 1 + bytes / 3, 0);
        if (i % 11) JE(free)(block), died(site, bytes);
    }
    if (!resized || !refused) _exit(72);
    BARRIER();
}

int main(void) {
    struct site *sites[] = {
        &by_mallocx_site, &by_aligned_mallocx_site, &by_zeroed_mallocx_site, &by_je_malloc_site,
        &by_je_calloc_site, &by_libc_or_je_malloc_site, &rallocx_site, &xallocx_site,
    };
    if (!wait_for_line()) return 1;
    work();
    print_truth("jemalloc", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
