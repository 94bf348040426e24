/*
 * What every C target shares: the protocol with its test, and the books it keeps about itself.
 * Nothing here allocates: no stdio, only read(2), write(2) and snprintf into static buffers.
 *
 * Protocol: the target waits for a line on stdin, works, prints its truth as one JSON line on
 * stdout, and waits for another line or the end of stdin before it exits.
 *
 * A site is the function that calls the allocator. A realloc that succeeds frees the old block
 * where that was born, and gives birth to a new one of the new size at realloc's caller, moved
 * or not. Sizes are those that were asked for.
 */
#ifndef OUTLIVE_TRUTH_H
#define OUTLIVE_TRUTH_H

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<long> counter_t;
#else
#include <stdatomic.h>
typedef _Atomic long counter_t;
#endif
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
/* Keeps a call from becoming a jump, and the caller's frame on the stack until it returns. */
#define BARRIER() __asm__ volatile("" ::: "memory")

struct site {
    const char *function;
    const char *alias; /* other names that the leaf frame may bear, with | between, or NULL */
    int blocks_are_undefined; /* a mapping with a hole: how many blocks is that? */
    counter_t allocated_bytes, allocated_blocks, freed_bytes, freed_blocks;
};

/* Pointers go through here, so that no compiler can prove an allocation useless. */
static void *volatile sink;
static counter_t freed_unknown_blocks;
static counter_t freed_unknown_bytes; /* as malloc_usable_size has it */
static counter_t failed_allocations;

static inline void *born(struct site *site, void *block, size_t bytes) {
    sink = block;
    atomic_fetch_add(&site->allocated_bytes, (long)bytes);
    atomic_fetch_add(&site->allocated_blocks, 1);
    return block;
}

static inline void died(struct site *site, size_t bytes) {
    atomic_fetch_add(&site->freed_bytes, (long)bytes);
    atomic_fetch_add(&site->freed_blocks, 1);
}

/* Returns 0 at the end of stdin. */
static inline int wait_for_line(void) {
    char c;
    ssize_t got;
    while ((got = read(0, &c, 1)) == 1)
        if (c == '\n') return 1;
    return 0;
}

static inline void write_all(const char *text, size_t length) {
    while (length > 0) {
        ssize_t wrote = write(1, text, length);
        if (wrote <= 0) _exit(70);
        text += wrote;
        length -= (size_t)wrote;
    }
}

/* A small generator of our own: random(3) is fine too, but this one is the same everywhere. */
static inline uint32_t next_random(uint32_t *state) {
    uint32_t x = *state;
    x ^= x << 13, x ^= x >> 17, x ^= x << 5;
    return *state = x;
}

static inline void print_truth(const char *program, struct site *const *sites, size_t count) {
    static char text[16384];
    size_t used = (size_t)snprintf(text, sizeof text,
        "{\"program\":\"%s\",\"pid\":%d,\"freed_unknown_blocks\":%ld,"
        "\"freed_unknown_bytes\":%ld,\"failed_allocations\":%ld,"
        "\"sites\":[", program, (int)getpid(), (long)freed_unknown_blocks,
        (long)freed_unknown_bytes,
        (long)failed_allocations);
    for (size_t i = 0; i < count; i++) {
        const struct site *s = sites[i];
        char blocks[24] = "null";
        if (!s->blocks_are_undefined)
            snprintf(blocks, sizeof blocks, "%ld",
                (long)s->allocated_blocks - (long)s->freed_blocks);
        used += (size_t)snprintf(text + used, sizeof text - used,
            "%s{\"function\":\"%s\",\"alias\":\"%s\",\"live_bytes\":%ld,\"live_blocks\":%s,"
            "\"allocated_bytes\":%ld,\"allocated_blocks\":%ld,\"freed_bytes\":%ld,"
            "\"freed_blocks\":%ld}",
            i ? "," : "", s->function, s->alias ? s->alias : s->function,
            (long)s->allocated_bytes - (long)s->freed_bytes, blocks, (long)s->allocated_bytes,
            (long)s->allocated_blocks, (long)s->freed_bytes, (long)s->freed_blocks);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "]}\n");
    write_all(text, used);
}

#endif
