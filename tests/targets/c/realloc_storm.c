/* realloc in all its forms: grows, shrinks, moves, from NULL, to zero, and refused. */
#include "truth.h"

enum { SLOTS = 2000, ROUNDS = 1200000 };

struct slot {
    void *block;
    size_t bytes;
    struct site *owner;
};

static struct site first = {.function = "first_block"};
static struct site resized = {.function = "resize"};
static struct site from_null = {.function = "realloc_from_null"};
static struct slot slots[SLOTS];

NOINLINE static void first_block(struct slot *slot, size_t bytes) {
    slot->block = malloc(bytes);
    slot->bytes = bytes;
    slot->owner = &first;
    born(&first, slot->block, bytes);
}

NOINLINE static void resize(struct slot *slot, size_t bytes) {
    void *block = realloc(slot->block, bytes);
    died(slot->owner, slot->bytes);
    slot->block = born(&resized, block, bytes);
    slot->bytes = bytes;
    slot->owner = &resized;
}

NOINLINE static void realloc_from_null(struct slot *slot, size_t bytes) {
    slot->block = realloc(NULL, bytes);
    slot->bytes = bytes;
    slot->owner = &from_null;
    born(&from_null, slot->block, bytes);
}

NOINLINE static void realloc_to_zero(struct slot *slot) {
    sink = realloc(slot->block, 0); /* glibc frees, and answers NULL */
    died(slot->owner, slot->bytes);
    slot->block = NULL;
}

/* The old block stays what and where it was. */
NOINLINE static void realloc_refused(struct slot *slot) {
    volatile size_t huge = (size_t)PTRDIFF_MAX - 4096;
    void *block = realloc(slot->block, huge);
    if (block != NULL) _exit(71);
    sink = block;
    atomic_fetch_add(&failed_allocations, 1);
}

NOINLINE static void work(void) {
    uint32_t seed = 88172645u;
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t dice = next_random(&seed);
        struct slot *slot = &slots[dice % SLOTS];
        size_t bytes = 1 + next_random(&seed) % 3000;
        if (bytes % 500 == 0) bytes *= 100; /* mapped by malloc: realloc then uses mremap */
        if (slot->block == NULL) {
            if (dice & 0x10000) first_block(slot, bytes);
            else realloc_from_null(slot, bytes);
            continue;
        }
        switch ((dice >> 20) % 16) {
        case 0: realloc_to_zero(slot); break;
        case 1: realloc_refused(slot); break;
        default: resize(slot, bytes);
        }
    }
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&first, &resized, &from_null};
    if (!wait_for_line()) return 1;
    work();
    print_truth("realloc_storm", sites, 3);
    wait_for_line();
    return 0;
}
