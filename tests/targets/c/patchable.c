/* patchable: a program with an allocator of its own, whose malloc and free begin with a no-op of
 * five bytes, as gcc -pg -mfentry -mnop-mcount and tools that patch running code leave it. It
 * makes and frees blocks, and forks children that do the same and end as they should. */
#include "truth.h"
#include <sys/wait.h>

enum { BLOCKS = 2000, CHILDREN = 3, ARENA_BYTES = 1 << 22, BLOCK_BYTES = 64 };

static struct site kept = {.function = "keep"};
static struct site dropped = {.function = "drop"};
static char arena[ARENA_BYTES] __attribute__((aligned(16)));
static _Atomic size_t used;

/* The allocator proper: it never gives an address twice, which is enough here. */
__attribute__((used)) void *take_bytes(size_t bytes) {
    size_t rounded = (bytes + 15) & ~(size_t)15, at = atomic_fetch_add(&used, rounded);
    return at + rounded <= ARENA_BYTES ? arena + at : NULL;
}

__attribute__((used)) void give_back(void *block) { sink = block; }

#define ENTRY(name, body)                                                                          \
    __asm__(".text\n.globl " name "\n.type " name ",@function\n" name ":\n.cfi_startproc\n"        \
            ".byte 0x0f,0x1f,0x44,0x00,0x00\n"                                                     \
            "push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset %rbp,-16\n"                            \
            "mov %rsp,%rbp\n.cfi_def_cfa_register %rbp\n"                                          \
            "call " body "\n"                                                                      \
            "pop %rbp\n.cfi_def_cfa %rsp,8\nret\n.cfi_endproc\n.size " name ",.-" name "\n")
ENTRY("malloc", "take_bytes");
ENTRY("free", "give_back");

NOINLINE static void *keep(void) {
    void *block = malloc(BLOCK_BYTES);
    return born(&kept, block, BLOCK_BYTES);
}

NOINLINE static void drop(void) {
    void *block = born(&dropped, malloc(BLOCK_BYTES), BLOCK_BYTES);
    died(&dropped, BLOCK_BYTES);
    free(block);
    BARRIER();
}

NOINLINE static void work(void) {
    for (int i = 0; i < BLOCKS; i++) keep(), drop();
    BARRIER();
}

int main(void) {
    struct site *sites[] = {&kept, &dropped};
    if (!wait_for_line()) return 1;
    work();
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            work();
            _exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child) return 71;
        if (status != 0) {
            char text[80];
            int length = snprintf(text, sizeof text, "{\"child_status\":%d}\n", status);
            write_all(text, (size_t)length);
            return 72;
        }
    }
    print_truth("patchable", sites, 2);
    wait_for_line();
    return 0;
}
