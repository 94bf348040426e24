/*
 * batches FOLDER [leak] [second] [die N]: a server of batches. It makes the FIFOs `in` and `out` in
 * FOLDER; each line written to `in` is a batch, answered by a line on `out`. With `leak` each batch
 * leaves three blocks behind, with `second` one more from another function; all else is innocent:
 * the latest response, whose size changes; a cache that is full after two batches and throws its
 * oldest out; a list that every third batch clears; scratch memory. With `die N` it ends in batch N.
 * Built with -DSHIFTED it is the next version of itself: other lines, the same functions.
 */
#include "truth.h"
#include <fcntl.h>
#include <sys/stat.h>
#ifdef SHIFTED
/*
 * Lines
 * that
 * shift
 * the
 * rest.
 */
static int version = 2;
#endif

enum { CACHED = 64, PER_BATCH = 40, LISTED = 7 };

static struct site forgotten = {.function = "remember_batch"};
static struct site noted = {.function = "note_batch"};
static uint32_t seed = 2463534242u;

struct chain {
    struct chain *next;
};
static struct chain *leaked, *noted_chain;

NOINLINE static void *remember_batch(size_t bytes) {
    struct chain *block = malloc(bytes); /* leaks */
    block->next = leaked;
    leaked = block;
    return born(&forgotten, block, bytes);
}

NOINLINE static void note_batch(void) {
    struct chain *block = malloc(500); /* leaks too */
    block->next = noted_chain;
    noted_chain = block;
    born(&noted, block, 500);
}

NOINLINE static void keep_latest(void) {
    static void *latest;
    free(latest);
    latest = malloc(1000 + next_random(&seed) % 30000);
    sink = latest;
}

NOINLINE static void fill_cache(void) {
    static void *cached[CACHED];
    static unsigned next;
    for (int i = 0; i < PER_BATCH; i++, next++) {
        free(cached[next % CACHED]);
        cached[next % CACHED] = malloc(100 + next_random(&seed) % 5000);
    }
}

NOINLINE static void list_batch(int batch) {
    static void *listed[3 * LISTED];
    static int count;
    if (batch % 3 == 0)
        while (count > 0) free(listed[--count]);
    for (int i = 0; i < LISTED; i++) listed[count++] = malloc(3000);
}

NOINLINE static void scratch(void) {
    for (int i = 0; i < 2000; i++) {
        sink = malloc(1 + next_random(&seed) % 4096);
        free(sink);
    }
}

NOINLINE static void work(int batch, int leak, int second) {
    if (leak) {
        remember_batch(65536);
        remember_batch(32768);
        remember_batch(32768);
    }
    if (second) note_batch();
    keep_latest();
    fill_cache();
    list_batch(batch);
    scratch();
    BARRIER();
}

static int fifo(const char *folder, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (mkfifo(path, 0600) != 0) _exit(71);
    return open(path, O_RDWR);
}

int main(int argc, char **argv) {
    struct site *sites[] = {&forgotten, &noted};
    int leak = 0, second = 0, die = -1;
    if (argc < 2) return 2;
    for (int i = 2; i < argc; i++) {
        leak |= strcmp(argv[i], "leak") == 0;
        second |= strcmp(argv[i], "second") == 0;
        if (strcmp(argv[i], "die") == 0 && i + 1 < argc) die = atoi(argv[++i]);
    }
#ifdef SHIFTED
    sink = &version;
#endif
    int out = fifo(argv[1], "out"), in = fifo(argv[1], "in");
    if (in < 0 || out < 0 || dup2(in, 0) < 0) return 3;
    for (int batch = 0; wait_for_line(); batch++) {
        if (batch == die) return 7;
        work(batch, leak, second);
        if (write(out, "done\n", 5) != 5) return 4;
        print_truth("batches", sites, 2);
    }
    return 0;
}
