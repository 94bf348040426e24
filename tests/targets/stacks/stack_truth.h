/*
 * What the stack targets share: libgcc's unwinder, asked at the very place that allocates.
 *
 * Protocol: prints "{}" when it is ready. For each line on stdin it works and prints one JSON line
 * {"sites":[{"name","signal","frames":[...]}]}; ends when stdin does. Frames are return addresses,
 * the allocating function first; its own is that of the call of backtrace(), so only the function
 * is right there. With "signal" one of them is the address of an interrupted instruction.
 * Nothing here allocates.
 */
#ifndef OUTLIVE_STACK_TRUTH_H
#define OUTLIVE_STACK_TRUTH_H

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lines.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NOINLINE __attribute__((noinline, noipa))
/* Work after a call, so that the call is none in tail position. */
#define STAY() __asm__ volatile("" ::: "memory")
#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

enum { MAX_FRAMES = 160, TEXT_BYTES = 1 << 17 };

static void *trace[MAX_FRAMES];
static int depth;
static char text[TEXT_BYTES];
static size_t used;

/* Takes the stack down; expanded in the function that allocates. */
#define ALLOCATE(name, signal, block)                     \
    do {                                                  \
        depth = backtrace(trace, MAX_FRAMES);             \
        void *kept = (block);                             \
        KEEP(kept);                                       \
        note((name), (signal));                           \
    } while (0)

static void note(const char *name, int signal)
{
    used += (size_t)snprintf(text + used, TEXT_BYTES - used, "%s{\"name\":\"%s\",\"signal\":%s,"
        "\"frames\":[", used > 10 ? "," : "", name, signal ? "true" : "false");
    for (int i = 0; i < depth; i++)
        used += (size_t)snprintf(text + used, TEXT_BYTES - used, "%s%lu", i ? "," : "",
            (unsigned long)trace[i]);
    used += (size_t)snprintf(text + used, TEXT_BYTES - used, "]}");
}

/* The loop of the protocol around `work`. Inlined: it adds no frame. */
static inline __attribute__((always_inline)) void serve(void (*work)(void))
{
    /* libgcc's unwinder is loaded at first use, which allocates. */
    depth = backtrace(trace, MAX_FRAMES);
    say("{}\n", 3);
    while (wait_for_line()) {
        used = (size_t)snprintf(text, TEXT_BYTES, "{\"sites\":[");
        work();
        used += (size_t)snprintf(text + used, TEXT_BYTES - used, "]}\n");
        say(text, used);
    }
}

#ifdef __cplusplus
}
#endif

#endif
