/* Allocates before main: seen only by a tracer that was there before the first instruction. */
#include "truth.h"

enum { BEFORE_MAIN = 1000, IN_MAIN = 2000 };

static struct site early = {.function = "allocate_before_main"};
static struct site late = {.function = "allocate_in_main"};

NOINLINE static void *allocate_before_main(size_t bytes) {
    void *block = malloc(bytes);
    return born(&early, block, bytes);
}

NOINLINE static void *allocate_in_main(size_t bytes) {
    void *block = malloc(bytes);
    return born(&late, block, bytes);
}

__attribute__((constructor)) static void before_main(void) {
    for (size_t i = 0; i < BEFORE_MAIN; i++) allocate_before_main(40);
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&early, &late};
    for (size_t i = 0; i < IN_MAIN; i++) allocate_in_main(72);
    print_truth("constructor", sites, 2);
    wait_for_line();
    return 0;
}
