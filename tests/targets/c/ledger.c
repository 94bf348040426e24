/* ledger MODE: resident memory grows in one way, slowly enough to be watched, and the program says
 * how much there is of what, by glibc's own count where that is asked. Pieces are touched. */
#define _GNU_SOURCE
#include "truth.h"
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

enum { MIB = 1 << 20, PIECES = 40, THREADS = 12 };

static void *kept[40000];
static size_t kept_count;
static pthread_barrier_t all_done;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void a_moment(long milliseconds) {
    struct timespec time = {0, milliseconds * 1000000L};
    nanosleep(&time, NULL);
}

static long resident_bytes(void) {
    static char all[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY);
    ssize_t length = read(file, all, sizeof all - 1);
    close(file);
    char *found = length > 0 ? strstr(all, "\nRss:") : NULL;
    return found ? atol(found + 5) * 1024 : 0;
}

NOINLINE static void *leak(size_t bytes) {
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    sink = block;
    return block;
}

static long do_leak(long pace_ms) {
    for (int piece = 0; piece < PIECES; piece++, a_moment(pace_ms))
        for (int i = 0; i < 1000; i++) leak(1000);
    return PIECES * 1000L * 1000;
}

/* Free space of nearly a page between blocks that stay. */
static long do_fragment(void) {
    static void *freed[PIECES * 400];
    long live = 0;
    for (int piece = 0; piece < PIECES; piece++, a_moment(20))
        for (int i = 0; i < 400; i++) {
            freed[piece * 400 + i] = leak(3000);
            leak(200);
            live += 200;
        }
    for (int i = 0; i < PIECES * 400; i++) free(freed[i]);
    return live;
}

/* Whole pages between blocks that stay. */
static long do_keep(void) {
    static void *freed[PIECES * 400];
    for (int piece = 0; piece < PIECES; piece++, a_moment(20))
        for (int i = 0; i < 400; i++) freed[piece * 400 + i] = leak(3000);
    leak(3000);
    for (int i = 0; i < PIECES * 400; i++) free(freed[i]);
    return 3000;
}

static void *stay(void) {
    pthread_barrier_wait(&all_done);
    while (pause()) continue;
    return NULL;
}

static void *keep_in_an_arena(void *unused) {
    (void)unused;
    void *freed[500];
    for (int i = 0; i < 500; i++) {
        freed[i] = leak(8000);
        if (i % 50 == 0) a_moment(20);
    }
    leak(8000);
    for (int i = 0; i < 500; i++) free(freed[i]);
    return stay();
}

static void *use_the_stack(void *unused) {
    (void)unused;
    volatile char place[MIB];
    for (int i = 0; i < MIB; i += 4096) place[i] = 1;
    (void)place[0];
    return stay();
}

static void in_threads(void *(*work)(void *)) {
    pthread_barrier_init(&all_done, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL)) _exit(71);
    }
    pthread_barrier_wait(&all_done);
}

static long do_arenas(void) {
    in_threads(keep_in_an_arena);
    return THREADS * 8000L;
}

static long do_stacks(void) {
    in_threads(use_the_stack);
    return THREADS * (long)MIB;
}

static long touch(char *memory, long bytes) {
    for (long at = 0; at < bytes; at += 4096) memory[at] = 1;
    return bytes;
}

static long do_mmap(void) {
    long sum = 0;
    for (int piece = 0; piece < PIECES; piece++, a_moment(20)) {
        char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sum += touch(memory, MIB);
    }
    return sum;
}

static long do_shared(void) {
    int file = memfd_create("ledger", 0);
    if (file < 0 || ftruncate(file, PIECES * (long)MIB)) _exit(72);
    char *memory = mmap(NULL, PIECES * (long)MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    long sum = 0;
    for (int piece = 0; piece < PIECES; piece++, a_moment(20)) sum += touch(memory + sum, MIB);
    return sum;
}

static long do_file(const char *path) {
    int file = open(path, O_RDONLY);
    volatile char *memory = mmap(NULL, PIECES * (long)MIB, PROT_READ, MAP_PRIVATE, file, 0);
    long sum = 0;
    for (int piece = 0; piece < PIECES; piece++, a_moment(20))
        for (int i = 0; i < MIB; i += 4096, sum += 4096) (void)memory[sum];
    return sum;
}

static long do_large(void) {
    for (int piece = 0; piece < PIECES; piece++, a_moment(20)) leak(MIB);
    return PIECES * (long)MIB;
}

/* One block of four is touched. */
static long do_untouched(void) {
    for (int piece = 0; piece < PIECES; piece++, a_moment(20)) {
        char *block = malloc(MIB);
        sink = block;
        if (piece % 4 == 0) touch(block, MIB);
    }
    return PIECES * (long)MIB;
}

static long usable;

static void take_before(void) {
    for (; kept_count < 20000; kept_count++) {
        kept[kept_count] = leak(1000);
        usable += (long)malloc_usable_size(kept[kept_count]);
    }
    leak(1000);
}

/* Half of what there was goes; as much comes anew, in larger blocks, and half as much again. */
static long do_before(void) {
    for (size_t i = 0; i < kept_count; i++) free(kept[i]);
    freed_unknown_bytes = usable;
    for (int i = 0; i < 7500; i++) {
        leak(4000);
        if (i % 200 == 0) a_moment(20);
    }
    return 7500 * 4000L - usable;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "before")) take_before();
    if (!wait_for_line()) return 1;
    long resident = resident_bytes();
    long free_before = (long)mallinfo2().fordblks;
    a_moment(500);
    long began = now_ms();
    long bytes = !strcmp(mode, "leak") ? do_leak(20)
        : !strcmp(mode, "slowly") ? do_leak(350)
        : !strcmp(mode, "fragment") ? do_fragment()
        : !strcmp(mode, "keep") ? do_keep()
        : !strcmp(mode, "arenas") ? do_arenas()
        : !strcmp(mode, "stacks") ? do_stacks()
        : !strcmp(mode, "mmap") ? do_mmap()
        : !strcmp(mode, "shared") ? do_shared()
        : !strcmp(mode, "file") ? do_file(argv[2])
        : !strcmp(mode, "large") ? do_large()
        : !strcmp(mode, "untouched") ? do_untouched()
        : !strcmp(mode, "before") ? do_before() : -1;
    long took = now_ms() - began;
    char text[512];
    int length = snprintf(text, sizeof text,
        "{\"bytes\":%ld,\"resident_change\":%ld,\"free_change\":%ld,\"freed_unknown_bytes\":%ld,"
        "\"took_ms\":%ld}\n",
        bytes, resident_bytes() - resident, (long)mallinfo2().fordblks - free_before,
        (long)freed_unknown_bytes, took);
    write_all(text, (size_t)length);
    wait_for_line();
    _exit(0);
}
