/* sampled hold: forty functions that allocate blocks of a size each, about a mebibyte each time a
 * line comes; every fourth block is resized, every eighth freed. The truth is printed each time.
 * sampled free: the same, and at the second line all blocks are freed.
 * sampled leak: from the first line on, one function keeps blocks at a steady pace beside another
 * whose blocks live shortly; at the next line both stop, and the truth has the seconds. */
#include "truth.h"
#include <poll.h>
#include <time.h>

enum { SITES = 40, BYTES = 1 << 20, LEAST = 16, MOST_BLOCKS = 1 << 20 };

struct kept {
    void *block;
    size_t bytes;
    int site;
};
static struct site sites[SITES];
static struct kept kept[MOST_BLOCKS];
static size_t kept_count;
static char names[SITES][16];

typedef void *allocate_t(size_t bytes);
#define SITE(n) \
    NOINLINE static void *site_##n(size_t bytes) { \
        void *block = malloc(bytes); \
        BARRIER(); \
        return block; \
    }
#define TEN(t) SITE(t##0) SITE(t##1) SITE(t##2) SITE(t##3) SITE(t##4) \
    SITE(t##5) SITE(t##6) SITE(t##7) SITE(t##8) SITE(t##9)
#define NAMES(t) site_##t##0, site_##t##1, site_##t##2, site_##t##3, site_##t##4, \
    site_##t##5, site_##t##6, site_##t##7, site_##t##8, site_##t##9
TEN(1) TEN(2) TEN(3) TEN(4)
static allocate_t *const allocate[SITES] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4)};

static struct site moved = {.function = "resize_block"};

/* The old block died where it was born, and the new one is of this function. */
NOINLINE static void *resize_block(void *old, size_t bytes) {
    void *block = realloc(old, bytes);
    BARRIER();
    return block;
}

/* 24 bytes to 150 KB. */
static size_t size_of(int number) {
    double size = 24;
    for (int i = 0; i < number; i++) size *= 1.251;
    return (size_t)size;
}

static void keep(void *block, size_t bytes, int site) {
    if (kept_count == MOST_BLOCKS) _exit(71);
    kept[kept_count++] = (struct kept){block, bytes, site};
}

static void hold(void) {
    for (int site = 0; site < SITES; site++) {
        size_t bytes = size_of(site), count = BYTES / bytes;
        if (count < LEAST) count = LEAST;
        for (size_t i = 0; i < count; i++) {
            void *block = born(&sites[site], allocate[site](bytes), bytes);
            if (i % 8 == 7) {
                free(block);
                died(&sites[site], bytes);
            } else if (i % 4 == 2) {
                block = resize_block(block, bytes + 8);
                died(&sites[site], bytes);
                keep(born(&moved, block, bytes + 8), bytes + 8, SITES);
            } else {
                keep(block, bytes, site);
            }
        }
    }
}

static void free_all(void) {
    while (kept_count > 0) {
        struct kept *last = &kept[--kept_count];
        free(last->block);
        died(last->site == SITES ? &moved : &sites[last->site], last->bytes);
    }
}

static void tell(void) {
    struct site *all[SITES + 1];
    for (int i = 0; i < SITES; i++) {
        snprintf(names[i], sizeof names[i], "site_%d", 10 + i);
        sites[i].function = names[i];
        all[i] = &sites[i];
    }
    all[SITES] = &moved;
    print_truth("sampled", all, SITES + 1);
}

NOINLINE static void *leak_block(size_t bytes) {
    void *block = malloc(bytes);
    BARRIER();
    return block;
}

NOINLINE static void pass_block(size_t bytes) {
    void *block = malloc(bytes);
    sink = block;
    free(block);
    BARRIER();
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* 20 blocks of 300 bytes every 10 ms: 600 kB/s, by the clock. */
static void leak(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    double began = now();
    long leaked = 0;
    while (poll(&input, 1, 2) == 0) {
        for (double due = (now() - began) * 2000; (double)leaked < due; leaked++) {
            sink = leak_block(300);
            pass_block(1000);
        }
    }
    char line[120];
    int length = snprintf(line, sizeof line, "{\"leaked_bytes\":%ld,\"seconds\":%.3f}\n",
        leaked * 300, now() - began);
    write_all(line, (size_t)length);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "hold";
    if (!strcmp(mode, "leak")) {
        if (!wait_for_line()) return 1;
        leak();
        wait_for_line();
        while (wait_for_line());
        return 0;
    }
    int frees = !strcmp(mode, "free");
    for (int round = 0; wait_for_line(); round++) {
        if (frees && round == 1)
            free_all();
        else
            hold();
        tell();
    }
    return 0;
}
