/*
 * What the fast lane must leave as it is, and see as it is.
 *
 * Without arguments: works as the other targets do. Then all that one site made is freed, large
 * blocks stay, and so do mappings of the program's own; children fork, allocate and free what they
 * inherited, and one executes this program again as `look`. The truth says what each of them found.
 * `look`: exits with the number of things that a preloaded library would have left here.
 * `outlived`: after its line it works until the next one, then exits with 0.
 */
#define _GNU_SOURCE
#include "truth.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { THREADS = 6, ROUNDS = 60000, LARGE = 40, LARGE_BYTES = 1 << 20, MAPPED = 10 };

static struct site passing = {.function = "make_passing"};
static struct site large = {.function = "make_large"};
static struct site mapped = {.function = "map_own"};

NOINLINE static void *make_passing(size_t bytes) {
    void *block = malloc(bytes);
    return born(&passing, block, bytes);
}

NOINLINE static void *make_large(void) {
    void *block = malloc(LARGE_BYTES);
    return born(&large, block, LARGE_BYTES);
}

NOINLINE static void *map_own(void) {
    void *block = mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return born(&mapped, block, LARGE_BYTES);
}

/* Blocks of all sizes, freed in another order, up to the last one. */
static void *churn(void *argument) {
    enum { HELD = 512 };
    struct { void *block; size_t bytes; } held[HELD] = {{0}};
    uint32_t seed = 2463534242u + (uint32_t)(size_t)argument * 7919u;
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t dice = next_random(&seed);
        size_t slot = dice % HELD, bytes = 1 + (dice >> 9) % 5000;
        if (held[slot].block) {
            free(held[slot].block);
            died(&passing, held[slot].bytes);
        }
        if (bytes % 97 == 0) bytes *= 60; /* mapped by malloc, and unmapped by free */
        held[slot].block = make_passing(bytes);
        held[slot].bytes = bytes;
    }
    for (size_t slot = 0; slot < HELD; slot++)
        if (held[slot].block) {
            free(held[slot].block);
            died(&passing, held[slot].bytes);
        }
    return NULL;
}

/* Traces of a library that was preloaded, in this very process. */
static int look(void) {
    const char *preload = getenv("LD_PRELOAD"), *expected = getenv("EXPECTED_PRELOAD");
    int found = 0;
    if (expected ? !preload || strcmp(preload, expected) != 0 : preload != NULL) found |= 1;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[300], target[300] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "memfd")) found |= 2;
    }
    if (folder) closedir(folder);
    return found;
}

static int is_mapped(void) {
    static char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    int found = 0;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "outlive-lane")) found = 1;
    if (maps) fclose(maps);
    return found;
}

/* What a child ends with, or 255 where it was killed. */
static int outcome(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 254;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int forked(void) {
    enum { INHERITED = 4000 };
    static void *blocks[INHERITED];
    for (int i = 0; i < INHERITED; i++) blocks[i] = make_passing(3000);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < INHERITED; i++) free(blocks[i]);
        for (int i = 0; i < INHERITED; i++) blocks[i] = realloc(malloc(2000), 4000);
        for (int i = 0; i < INHERITED; i++) free(blocks[i]);
        _exit(0);
    }
    int found = outcome(child);
    for (int i = 0; i < INHERITED; i++) {
        free(blocks[i]);
        died(&passing, 3000);
    }
    return found;
}

static int executed(const char *self, int by_vfork) {
    pid_t child = by_vfork ? vfork() : fork();
    if (child == 0) {
        execl("/proc/self/exe", self, "look", (char *)NULL);
        _exit(253);
    }
    return outcome(child);
}

int main(int count, char **arguments) {
    struct site *sites[] = {&passing, &large, &mapped};
    pthread_t threads[THREADS];
    char text[200];

    if (count > 1 && strcmp(arguments[1], "look") == 0) return look() | is_mapped() << 2;
    if (!wait_for_line()) return 1;
    if (count > 1 && strcmp(arguments[1], "outlived") == 0) {
        churn(NULL);
        write_all("{\"working\":true}\n", 17);
        wait_for_line();
        churn(NULL);
        return forked();
    }
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)i) != 0) return 1;
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < LARGE; i++) make_large();
    for (int i = 0; i < MAPPED; i++) map_own();
    int length = snprintf(text, sizeof text,
        "{\"look\":%d,\"mapped\":%d,\"forked\":%d,\"executed\":%d,\"vforked\":%d}\n", look(),
        is_mapped(), forked(), executed(arguments[0], 0), executed(arguments[0], 1));
    write_all(text, (size_t)length);
    print_truth("lane", sites, 3);
    wait_for_line();
    return 0;
}
