/* Holds blocks from before the attach, then frees or resizes them: known to nobody, and no
 * error. Announces itself with a line once those blocks are there. */
#include "truth.h"
#include <malloc.h>

enum { OLD = 5000, RESIZED = 1000, NEW = 3000 };

static struct site fresh = {.function = "hold_after_attach"};
static struct site resized = {.function = "resize_old_block"};
static void *old[OLD];

NOINLINE static void *hold_after_attach(size_t bytes) {
    void *block = malloc(bytes);
    return born(&fresh, block, bytes);
}

NOINLINE static void *resize_old_block(void *block, size_t bytes) {
    void *moved = realloc(block, bytes);
    return born(&resized, moved, bytes);
}

int main(void) {
    struct site *sites[] = {&fresh, &resized};
    long usable = 0;
    for (size_t i = 0; i < OLD; i++) {
        sink = old[i] = malloc(i % 2 ? 80 : 200000);
        usable += (long)malloc_usable_size(old[i]);
    }
    if (!wait_for_line()) return 1;
    for (size_t i = 0; i < RESIZED; i++) resize_old_block(old[i], 200);
    for (size_t i = RESIZED; i < OLD; i++) free(old[i]);
    freed_unknown_bytes = usable;
    freed_unknown_blocks = OLD; /* a resized block is freed where it was born, too */
    for (size_t i = 0; i < NEW; i++) hold_after_attach(64);
    print_truth("before_attach", sites, 2);
    wait_for_line();
    return 0;
}
