/* Starts programs in every way that there is, and goes on allocating: posix_spawn and vfork share
 * this memory until the program begins, system and fork do not. Nothing that they do is this
 * process's own, and nothing of this process's is lost. */
#include "truth.h"
#include <spawn.h>
#include <sys/wait.h>

enum { ROUNDS = 12, BLOCKS = 500 };

extern char **environ;
static struct site between = {.function = "hold_between"};

NOINLINE static void *hold_between(size_t bytes) {
    void *block = malloc(bytes);
    return born(&between, block, bytes);
}

static void wait_for_child(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) _exit(71);
}

NOINLINE static void work(void) {
    char *arguments[] = {"true", NULL};
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child;
        if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) != 0) _exit(72);
        for (int i = 0; i < BLOCKS; i++) hold_between(40);
        wait_for_child(child);
        if (system("true") != 0) _exit(73);
        for (int i = 0; i < BLOCKS; i++) hold_between(56);
        child = vfork();
        if (child == 0) {
            /* In the parent's memory, hence the parent's block. */
            hold_between(72);
            execl("/bin/true", "true", (char *)NULL);
            _exit(74);
        }
        wait_for_child(child);
        child = vfork();
        if (child == 0) _exit(0);
        wait_for_child(child);
        child = fork();
        if (child == 0) _exit(0);
        wait_for_child(child);
    }
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&between};
    if (!wait_for_line()) return 1;
    work();
    print_truth("starters", sites, 1);
    wait_for_line();
    return 0;
}
