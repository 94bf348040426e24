/* One thread, a million allocations and more, of which each function keeps a known share. */
#include "truth.h"

enum { ROUNDS = 350000, KEPT_MAX = 40000 };

static struct site small = {.function = "leak_small"};
static struct site medium = {.function = "leak_medium"};
static struct site large = {.function = "leak_large"};
static struct site transient = {.function = "use_and_free"};
static void *kept[KEPT_MAX];
static size_t kept_count;

NOINLINE static void *leak_small(size_t bytes) {
    void *block = malloc(bytes);
    return born(&small, block, bytes);
}

NOINLINE static void *leak_medium(size_t bytes) {
    void *block = calloc(3, bytes);
    return born(&medium, block, 3 * bytes);
}

NOINLINE static void *leak_large(size_t bytes) {
    void *block = malloc(bytes);
    return born(&large, block, bytes);
}

NOINLINE static void use_and_free(size_t bytes) {
    void *block = malloc(bytes);
    born(&transient, block, bytes);
    free(block);
    died(&transient, bytes);
}

/* Keeps one block in `out_of`, frees the others. */
static void keep_or_free(struct site *site, void *block, size_t bytes, int round, int out_of) {
    if (round % out_of == 0 && kept_count < KEPT_MAX) {
        kept[kept_count++] = block;
    } else {
        free(block);
        died(site, bytes);
    }
}

NOINLINE static void work(void) {
    uint32_t seed = 2463534242u;
    for (int i = 0; i < ROUNDS; i++) {
        size_t bytes = next_random(&seed) % 256; /* zero among them */
        keep_or_free(&small, leak_small(bytes), bytes, i, 20);
        bytes = 256 + next_random(&seed) % 1024;
        keep_or_free(&medium, leak_medium(bytes), 3 * bytes, i, 100);
        use_and_free(1 + next_random(&seed) % 4096);
        if (i % 1000 == 0) {
            /* Above the threshold from which malloc itself maps memory. */
            bytes = 100000 + next_random(&seed) % 400000;
            keep_or_free(&large, leak_large(bytes), bytes, i, 10000);
        }
    }
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&small, &medium, &large, &transient};
    if (!wait_for_line()) return 1;
    work();
    print_truth("single", sites, 4);
    wait_for_line();
    return 0;
}
