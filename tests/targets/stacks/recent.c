/*
 * Stacks that differ in one word far down, at one stack pointer.
 *
 * `outer` calls `descend` from one of SITES places; from there on all stacks are alike, down to the
 * allocator's caller and its stack pointer. Each line on stdin makes ROUNDS allocations from places
 * in turns: one after the other, two in turn, and at random. Each is freed by and by.
 *
 * Prints "{}" when it is ready, and for each line {"one_stack_pointer":true,"sites":[{"return",
 * "blocks","bytes"}]}: the return address in `outer`, and what was allocated under it so far.
 * Nothing here allocates but what is counted.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lines.h"

/* More than a thread remembers. */
enum { SITES = 24, DEPTH = 12, ROUNDS = 30000, HELD = 512, TEXT_BYTES = 1 << 14 };

#define NOINLINE __attribute__((noinline, noipa))
#define STAY() __asm__ volatile("" ::: "memory")

struct site {
    uintptr_t returns_to;
    unsigned long blocks, bytes;
};

static struct site sites[SITES];
static void *held[HELD];
static unsigned long made;
static uintptr_t stack_pointer;
static int one_stack_pointer = 1;

static NOINLINE void leaf(int site)
{
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    size_t bytes = 24 + (size_t)made % 64;
    void **place = &held[made++ % HELD];

    one_stack_pointer &= stack_pointer == 0 || stack_pointer == sp;
    stack_pointer = sp;
    free(*place);
    *place = malloc(bytes);
    sites[site].blocks++;
    sites[site].bytes += bytes;
    STAY();
}

static NOINLINE void descend(int levels, int site)
{
    if (levels == DEPTH)
        sites[site].returns_to = (uintptr_t)__builtin_return_address(0);
    if (levels > 1)
        descend(levels - 1, site);
    else
        leaf(site);
    STAY();
}

/* Each case is a call of its own: the constant keeps the compiler from folding them into one. */
#define CASE(n)                                \
    case n:                                    \
        descend(DEPTH, site);                  \
        __asm__ volatile("" : : "i"(n) : "memory"); \
        __asm__ volatile(".nops 1+" #n);           \
        break;

static NOINLINE void outer(int site)
{
    switch (site) {
        CASE(0) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
        CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15)
        CASE(16) CASE(17) CASE(18) CASE(19) CASE(20) CASE(21) CASE(22) CASE(23)
    }
    STAY();
}

static void work(void)
{
    uint64_t random = 0x9e3779b97f4a7c15;

    for (int i = 0; i < ROUNDS; i++)
        outer(i % SITES);
    for (int i = 0; i < ROUNDS; i++)
        outer(i % 2);
    for (int i = 0; i < ROUNDS; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        outer((int)(random % SITES));
    }
}

int main(void)
{
    static char text[TEXT_BYTES];

    say("{}\n", 3);
    while (wait_for_line()) {
        size_t used;

        work();
        used = (size_t)snprintf(text, TEXT_BYTES, "{\"one_stack_pointer\":%s,\"sites\":[",
            one_stack_pointer ? "true" : "false");
        for (int i = 0; i < SITES; i++)
            used += (size_t)snprintf(text + used, TEXT_BYTES - used,
                "%s{\"return\":%lu,\"blocks\":%lu,\"bytes\":%lu}", i ? "," : "",
                (unsigned long)sites[i].returns_to, sites[i].blocks, sites[i].bytes);
        used += (size_t)snprintf(text + used, TEXT_BYTES - used, "]}\n");
        say(text, used);
    }
    return 0;
}
