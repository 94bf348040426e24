/* hold COUNT BYTES: takes so many blocks of that size and frees none. */
#include "truth.h"

static struct site held = {.function = "hold_block"};

NOINLINE static void *hold_block(size_t bytes) {
    void *block = malloc(bytes);
    return born(&held, block, bytes);
}

int main(int argc, char **argv) {
    struct site *sites[] = {&held};
    long count = argc > 1 ? atol(argv[1]) : 100000;
    size_t bytes = argc > 2 ? (size_t)atol(argv[2]) : 64;
    if (!wait_for_line()) return 1;
    for (long i = 0; i < count; i++) hold_block(bytes);
    print_truth("hold", sites, 1);
    wait_for_line();
    return 0;
}
