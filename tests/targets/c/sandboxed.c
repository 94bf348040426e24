/* Allocates under a seccomp filter that kills at every system call but the few it needs. */
#include "truth.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { BLOCKS = 2000, BYTES = 700 };

static struct site held = {.function = "hold_in_sandbox"};
static struct site passing = {.function = "use_and_free"};

NOINLINE static void *hold_in_sandbox(size_t bytes) {
    void *block = malloc(bytes);
    return born(&held, block, bytes);
}

NOINLINE static void use_and_free(size_t bytes) {
    void *block = malloc(bytes);
    born(&passing, block, bytes);
    free(block);
    died(&passing, bytes);
}

#define ALLOW(call) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int enter_sandbox(void) {
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read), ALLOW(write), ALLOW(brk), ALLOW(mmap), ALLOW(munmap), ALLOW(getpid),
        ALLOW(exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int main(void) {
    struct site *sites[] = {&held, &passing};
    /* What malloc does once is done outside. */
    sink = malloc(1);
    free(sink);
    if (!enter_sandbox()) return 3;
    write_all("{\"ready\":true}\n", 15);
    if (!wait_for_line()) return 1;
    for (int i = 0; i < BLOCKS; i++) {
        hold_in_sandbox(BYTES);
        use_and_free(BYTES / 2);
    }
    print_truth("sandboxed", sites, 2);
    wait_for_line();
    return 0;
}
