/* Holds blocks, then replaces itself by itself, from its first thread or from another one while
 * others run. What was held before is gone with the old image; the new one holds blocks anew. */
#include "truth.h"
#include <pthread.h>

enum { BEFORE = 5000, AFTER = 3000 };

static struct site before = {.function = "hold_before"};
static struct site after = {.function = "hold_after"};

NOINLINE static void *hold_before(size_t bytes) {
    void *block = malloc(bytes);
    return born(&before, block, bytes);
}

NOINLINE static void *hold_after(size_t bytes) {
    void *block = malloc(bytes);
    return born(&after, block, bytes);
}

static void replace(void) {
    execl("/proc/self/exe", "reexec", "again", (char *)NULL);
    _exit(72);
}

static void *replace_in_thread(void *unused) {
    replace();
    return unused;
}

/* Is in the allocator at almost any moment, the moment of the exec included. */
static void *churn(void *unused) {
    for (;;) {
        sink = malloc(24);
        free(sink);
    }
    return unused;
}

int main(int count, char **arguments) {
    struct site *sites[] = {&before, &after};
    const char *mode = count > 1 ? arguments[1] : "";
    if (!wait_for_line()) return 1;
    if (strcmp(mode, "again") != 0) {
        for (int i = 0; i < BEFORE; i++) hold_before(96);
        pthread_t other;
        if (strcmp(mode, "by_thread") == 0) {
            if (pthread_create(&other, NULL, churn, NULL) != 0) return 73;
            if (pthread_create(&other, NULL, replace_in_thread, NULL) != 0) return 73;
            for (;;) pause();
        }
        replace();
    }
    for (int i = 0; i < AFTER; i++) hold_after(48);
    print_truth("reexec", sites, 2);
    wait_for_line();
    return 0;
}
