/* More threads than the thread table has entries, a few at a time: each allocates, frees and ends. */
#include "truth.h"
#include <pthread.h>

enum { ROUNDS = 2500, AT_ONCE = 4 };

static struct site held = {.function = "hold_in_thread"};
static struct site freed = {.function = "free_in_thread"};

NOINLINE static void *hold_in_thread(size_t bytes) {
    void *block = malloc(bytes);
    return born(&held, block, bytes);
}

NOINLINE static void free_in_thread(size_t bytes) {
    void *block = malloc(bytes);
    born(&freed, block, bytes);
    free(block);
    died(&freed, bytes);
}

static void *run(void *unused) {
    hold_in_thread(64);
    free_in_thread(80);
    return unused;
}

int main(void) {
    struct site *sites[] = {&held, &freed};
    if (!wait_for_line()) return 1;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++)
            if (pthread_create(&threads[i], NULL, run, NULL) != 0) return 71;
        for (int i = 0; i < AT_ONCE; i++) pthread_join(threads[i], NULL);
    }
    print_truth("short_threads", sites, 2);
    wait_for_line();
    return 0;
}
