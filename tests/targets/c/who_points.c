/*
 * who_points: blocks of which it is known what points to them, COUNT (10,000) of each kind (a
 * hundred by a stack, one by a register). What is lost comes twice, from two threads with an arena
 * each. Prints how many blocks and bytes of each site live, and waits.
 *
 * Nobody else may hold a pointer: what works with them runs in frames that are gone by then, and
 * the stack below is wiped.
 */
#define _GNU_SOURCE
#include "truth.h"
#include <pthread.h>
#include <sys/mman.h>

enum { COUNT = 10000 };

#define SITE(name) static struct site name##_site = {.function = #name}; \
    NOINLINE static void *name(size_t bytes) { \
        void *block = calloc(1, bytes); \
        BARRIER(); \
        born(&name##_site, block, bytes); \
        sink = NULL; \
        return block; \
    }

SITE(by_static)
SITE(by_interior)
SITE(by_list)
SITE(by_block)
SITE(by_mapping)
SITE(by_stack)
SITE(by_register)
SITE(lost)
SITE(lost_odd)
SITE(lost_by_freed)
SITE(lost_by_lost)
SITE(lost_ring)
SITE(lost_on_ring)
SITE(holder)
SITE(lost_holder)
SITE(freed_holder)
SITE(same_content)

struct node { struct node *next; char rest[40]; };

static void *volatile held_by_static[COUNT];
static char *volatile held_inside[COUNT];
static struct node *volatile list;
static void **volatile table;
static void **volatile mapping;
static void *volatile copies[COUNT];
static atomic_int is_quiet;

static void *aside[COUNT];

/* So much of the stack is wiped that nothing is left of the frames that worked. */
NOINLINE static void wipe_stack(void) {
    volatile char space[128 << 10];
    for (size_t i = 0; i < sizeof space; i++) space[i] = 0;
}

NOINLINE static void make_reachable(void) {
    for (int i = 0; i < COUNT; i++) held_by_static[i] = by_static(40);
    for (int i = 0; i < COUNT; i++) held_inside[i] = (char *)by_interior(200) + 1 + i % 199;
    for (int i = 0; i < COUNT; i++) {
        struct node *node = by_list(sizeof *node);
        node->next = list;
        list = node;
    }
    table = holder(COUNT * sizeof *table);
    for (int i = 0; i < COUNT; i++) table[i] = by_block(24);
    mapping = mmap(NULL, COUNT * sizeof *mapping, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < COUNT; i++) mapping[i] = by_mapping(56);
    for (int i = 0; i < COUNT; i++) {
        copies[i] = same_content(1000);
        /* A tenth of them are like no other. */
        memset(copies[i], 'c', 1000);
        if (i % 10 == 0) memcpy(copies[i], &i, sizeof i);
        else *(int *)copies[i] = -1 - i % 10;
    }
}

NOINLINE static void make_lost(void) {
    /* Blocks of 24 bytes reach into the header of the next chunk, which the allocator's own lists
     * may point to. */
    for (int i = 0; i < COUNT; i++) lost(i % 2 ? 24 : 104);
    for (int i = 0; i < COUNT; i++) {
        /* At an address that no aligned word has. */
        char *block = lost_odd(32);
        memcpy(block + 3, &block, sizeof block);
    }
    /* Half of them are small and wait in lists of their own, half do not. */
    for (int i = 0; i < COUNT; i++) {
        void **freed = freed_holder(i % 2 ? 64 : 2000);
        freed[4] = lost_by_freed(72);
        aside[i] = freed;
    }
    for (int i = 0; i < COUNT; i++) {
        died(&freed_holder_site, i % 2 ? 64 : 2000);
        free(aside[i]);
        aside[i] = NULL;
    }
    for (int i = 0; i < COUNT; i++) {
        struct node *above = lost_holder(sizeof *above);
        above->next = lost_by_lost(48);
    }
    for (int ring = 0; ring < COUNT / 4; ring++) {
        struct node *nodes[4];
        for (int i = 0; i < 4; i++) nodes[i] = lost_ring(sizeof *nodes[i]);
        for (int i = 0; i < 4; i++) nodes[i]->next = nodes[(i + 1) % 4];
        for (int i = 0; i < 4; i++) {
            void *hanging = lost_on_ring(32);
            memcpy(nodes[i]->rest + 8, &hanging, sizeof hanging);
        }
    }
}

/* A thread with an arena, a stack and registers of its own. */
NOINLINE static void work_in_thread(void **held) {
    make_lost();
    for (int i = 0; i < 100; i++) held[i] = by_stack(40);
}

static void *thread(void *unused) {
    void *volatile held[100];
    work_in_thread((void **)held);
    wipe_stack();
    /* One is held by a register that functions keep. */
    register void *in_register __asm__("r12") = by_register(40);
    wipe_stack();
    __asm__ volatile("" : "+r"(in_register));
    is_quiet = 1;
    /* The system call itself, since libc's pause may put the register aside. */
    for (;;) {
        long result = 34;
        __asm__ volatile("syscall" : "+a"(result), "+r"(in_register) : : "rcx", "r11", "memory");
        if (held[0] == in_register) break;
    }
    return unused;
}

NOINLINE static void work(void) {
    make_reachable();
    make_lost();
}

int main(void) {
    struct site *sites[] = {
        &by_static_site, &by_interior_site, &by_list_site, &by_block_site, &by_mapping_site,
        &by_stack_site, &by_register_site, &lost_site, &lost_odd_site, &lost_by_freed_site,
        &lost_by_lost_site, &lost_ring_site, &lost_on_ring_site, &holder_site,
        &lost_holder_site, &freed_holder_site, &same_content_site,
    };
    pthread_t other;
    if (!wait_for_line()) return 1;
    work();
    wipe_stack();
    pthread_create(&other, NULL, thread, NULL);
    while (!is_quiet) usleep(1000);
    wipe_stack();
    print_truth("who_points", sites, sizeof sites / sizeof *sites);
    wait_for_line();
    return 0;
}
