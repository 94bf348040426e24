/* A fork in the middle, a vfork with an exec, and a parent that goes on. What the child of the
 * fork allocates and frees is its own affair: not a byte of it belongs to the parent. */
#include "truth.h"
#include <sys/wait.h>

enum { BEFORE = 20000, IN_CHILD = 30000, AFTER = 20000, FORKS = 3 };

static struct site before = {.function = "hold_before_fork"};
static struct site in_child = {.function = "hold_in_child"};
static struct site after = {.function = "hold_after_fork"};
static void *kept_before[BEFORE];

NOINLINE static void *hold_before_fork(size_t bytes) {
    void *block = malloc(bytes);
    return born(&before, block, bytes);
}

NOINLINE static void *hold_in_child(size_t bytes) {
    void *block = malloc(bytes);
    sink = block;
    return block;
}

NOINLINE static void *hold_after_fork(size_t bytes) {
    void *block = malloc(bytes);
    return born(&after, block, bytes);
}

static void wait_for_child(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) _exit(71);
}

NOINLINE static void work(void) {
    for (size_t i = 0; i < BEFORE; i++) kept_before[i] = hold_before_fork(48);
    for (int round = 0; round < FORKS; round++) {
        pid_t child = fork();
        if (child == 0) {
            /* The child frees its copies of the parent's blocks, and makes blocks of its own. */
            for (size_t i = 0; i < BEFORE; i++) free(kept_before[i]);
            for (size_t i = 0; i < IN_CHILD; i++) hold_in_child(96);
            _exit(0);
        }
        wait_for_child(child);
        child = vfork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(72);
        }
        wait_for_child(child);
        for (size_t i = 0; i < AFTER; i++) hold_after_fork(112);
    }
    for (size_t i = 0; i < BEFORE / 2; i++) {
        free(kept_before[i]);
        died(&before, 48);
    }
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&before, &in_child, &after};
    if (!wait_for_line()) return 1;
    work();
    print_truth("fork", sites, 3);
    wait_for_line();
    return 0;
}
