/* Allocations at the ends of stacks that are hard to unwind, with libgcc's word on each. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#ifdef PLUGIN
#include <dlfcn.h>
#endif

#include "stack_truth.h"

/* A chain of plain calls. */
NOINLINE static void plain_inner(void) { ALLOCATE("plain", 0, malloc(1000)); STAY(); }
NOINLINE void plain_middle(void) { plain_inner(); STAY(); }
NOINLINE void plain_outer(void) { plain_middle(); STAY(); }

/* As deep as outlive looks, nearly. */
NOINLINE void descend(int levels)
{
    if (levels == 0)
        ALLOCATE("deep", 0, malloc(1001));
    else
        descend(levels - 1);
    STAY();
}

/* A frame whose size is known at run time only. */
NOINLINE static void with_alloca(size_t bytes)
{
    char *scratch = (char *)alloca(bytes);

    memset(scratch, 1, bytes);
    KEEP(scratch);
    ALLOCATE("alloca", 0, malloc(1002));
    KEEP(scratch);
}

/* Realigned frames, one of them of a function with arguments on the stack. */
NOINLINE static void realigned(void)
{
    char buffer[128] __attribute__((aligned(64)));

    KEEP(buffer);
    ALLOCATE("realigned", 0, malloc(1003));
    KEEP(buffer);
}

NOINLINE static long realigned_arguments(long a, long b, long c, long d, long e, long f, long g,
                                         size_t bytes)
{
    char buffer[256] __attribute__((aligned(128)));
    char *scratch = (char *)alloca(bytes);

    KEEP(buffer);
    KEEP(scratch);
    realigned();
    KEEP(buffer);
    KEEP(scratch);
    return a + b + c + d + e + f + g;
}

/* A frame larger than 16 bits can say. */
NOINLINE static void large_frame(void)
{
    char buffer[300000];

    buffer[0] = 1;
    KEEP(buffer);
    ALLOCATE("large", 0, malloc(1004));
    KEEP(buffer);
}

/* Through libc's own frames. */
NOINLINE static int compare(const void *a, const void *b)
{
    static int calls;

    if (calls++ % 3 == 0)
        ALLOCATE("callback", 0, malloc(1005));
    return *(const int *)a - *(const int *)b;
}

NOINLINE static void through_libc(void)
{
    int values[3] = { 3, 1, 2 };

    qsort(values, 3, sizeof *values, compare);
    KEEP(values);
}

/* A handler on a stack of its own, which interrupts the first instruction of a function: the
 * byte before it belongs to another one. */
void trap(void);
__asm__(".text\n"
        ".globl trap\n"
        ".type trap, @function\n"
        "trap:\n"
        "    .cfi_startproc\n"
        "    ud2\n"
        "    push %rbp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset %rbp, 0\n"
        "    mov $12345, %ebp\n"
        "    ud2\n"
        "    pop %rbp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore %rbp\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size trap, .-trap\n");

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    ALLOCATE("signal", 1, malloc(1006));
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void on_raise(int number)
{
    (void)number;
    ALLOCATE("raised", 1, malloc(1007));
}

NOINLINE void interrupted(void)
{
    trap();
    STAY();
    raise(SIGUSR1);
    STAY();
}

/* From the start of a thread. */
NOINLINE static void *thread(void *argument)
{
    plain_outer();
    STAY();
    return argument;
}

NOINLINE static void threads(void)
{
    pthread_t id;

    if (pthread_create(&id, NULL, thread, NULL) != 0)
        _exit(71);
    pthread_join(id, NULL);
}

/* A child that borrows our memory. */
NOINLINE static void in_child(void) { ALLOCATE("vfork", 0, malloc(1008)); STAY(); }

NOINLINE static void child(void)
{
    int status;
    pid_t pid = vfork();

    if (pid == 0) {
        in_child();
        _exit(0);
    }
    waitpid(pid, &status, 0);
}

#ifdef PLUGIN
static void (*plugin_call)(void (*)(void));
NOINLINE static void from_plugin(void) { ALLOCATE("plugin", 0, malloc(1009)); STAY(); }
#endif

NOINLINE static void work(void)
{
    plain_outer();
    descend(115);
    with_alloca(5000 + (size_t)depth);
    realigned_arguments(1, 2, 3, 4, 5, 6, 7, 100 + (size_t)depth);
    large_frame();
    through_libc();
    interrupted();
    threads();
    child();
#ifdef PLUGIN
    plugin_call(from_plugin);
#endif
    STAY();
}

int main(int count, char **arguments)
{
    static char stack[1 << 16];
    stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction on_ill = { .sa_sigaction = on_trap, .sa_flags = SA_ONSTACK | SA_SIGINFO };
    struct sigaction on_usr = { .sa_handler = on_raise, .sa_flags = SA_ONSTACK };

    sigaltstack(&other, NULL);
    sigaction(SIGILL, &on_ill, NULL);
    sigaction(SIGUSR1, &on_usr, NULL);
#ifdef PLUGIN
    void *plugin = count > 1 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!plugin)
        return 72;
    *(void **)&plugin_call = dlsym(plugin, "plugin_call");
#else
    (void)count;
    (void)arguments;
#endif
    serve(work);
    return 0;
}
