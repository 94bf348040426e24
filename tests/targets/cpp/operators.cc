// operator new and delete in all their forms, under an allocator that brings its own. With
// `throw` as argument it also asks for what cannot be had, catches std::bad_alloc, and goes on
// allocating further down its stack than where that was thrown.
#include "../c/truth.h"
#include <new>

enum { ROUNDS = 4000, THROWS = 25 };

#define HOLDS(name, other, call)                                          \
    static struct site name##_site = {.function = #name, .alias = other}; \
    NOINLINE static void *name(size_t n) {                                \
        void *block = (call);                                             \
        if (!block) _exit(71);                                            \
        born(&name##_site, block, n);                                     \
        return block;                                                     \
    }

HOLDS(by_new, nullptr, ::operator new(n))
HOLDS(by_new_array, nullptr, ::operator new[](n))
HOLDS(by_nothrow, nullptr, ::operator new(n, std::nothrow))
HOLDS(by_nothrow_array, nullptr, ::operator new[](n, std::nothrow))
// Where the aligned form calls another function of the allocator's, it is the leaf.
HOLDS(by_aligned_new, "operator new(unsigned long, std::align_val_t)|mi_new_aligned",
      ::operator new(n, std::align_val_t(64)))
HOLDS(by_deep_new, nullptr, ::operator new(n))
HOLDS(by_deep_malloc, nullptr, malloc(n))

NOINLINE static void deeper(int depth, size_t n) {
    volatile char frame[200];
    frame[0] = (char)depth;
    if (depth > 0) {
        deeper(depth - 1, n);
        frame[1] = frame[0];
        return;
    }
    by_deep_new(n);
    free(by_deep_malloc(n));
    died(&by_deep_malloc_site, n);
    BARRIER();
}

NOINLINE static void throw_and_catch(bool aligned) {
    volatile size_t huge = (size_t)1 << 62;
    try {
        sink = aligned ? ::operator new(huge, std::align_val_t(64)) : ::operator new[](huge);
        _exit(72);
    } catch (const std::bad_alloc &) {
        atomic_fetch_add(&failed_allocations, 1L);
    }
}

NOINLINE static void work(bool throws) {
    uint32_t seed = 2463534242u;
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t n = 1 + next_random(&seed) % (i % 50 ? 3000 : 300000);
        void *block = by_new(n);
        if (i % 7) ::operator delete(block), died(&by_new_site, n);
        block = by_new_array(n);
        if (i % 6) ::operator delete[](block, n), died(&by_new_array_site, n);
        block = by_nothrow(n);
        if (i % 5) ::operator delete(block, std::nothrow), died(&by_nothrow_site, n);
        block = by_nothrow_array(n);
        if (i % 4) ::operator delete[](block), died(&by_nothrow_array_site, n);
        block = by_aligned_new(n);
        if (i % 3) ::operator delete(block, n, std::align_val_t(64)), died(&by_aligned_new_site, n);
        if (throws && i % (ROUNDS / THROWS) == 0) {
            throw_and_catch(i % 2);
            deeper(20, n);
        }
    }
    BARRIER();
}

int main(int count, char **) {
    struct site *sites[] = {
        &by_new_site, &by_new_array_site, &by_nothrow_site, &by_nothrow_array_site,
        &by_aligned_new_site, &by_deep_new_site, &by_deep_malloc_site,
    };
    if (!wait_for_line()) return 1;
    work(count > 1);
    print_truth("operators", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
