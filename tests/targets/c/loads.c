/* Loads the library named by its argument while it is watched: once ("once"), whose code
 * allocates in its constructor and then a block every 20 ms; or again and again ("endless"), until
 * stdin ends, with a line for every ten loads. */
#include "truth.h"
#include <dlfcn.h>
#include <poll.h>

enum { CALLS = 100 };

static struct site constructor = {.function = "plugin_constructor"};
static struct site call = {.function = "plugin_call"};

static void *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library) _exit(72);
    return library;
}

NOINLINE static void once(const char *path) {
    void *library = load(path);
    void *(*allocate)(size_t) = (void *(*)(size_t))dlsym(library, "plugin_call");
    void **first = dlsym(library, "plugin_block");
    if (!allocate || !first) _exit(73);
    born(&constructor, *first, 1000);
    for (int i = 0; i < CALLS; i++) {
        born(&call, allocate(500), 500);
        usleep(20000);
    }
    BARRIER();
}

static int stdin_has_ended(void) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    return poll(&in, 1, 0) > 0 && (in.revents & POLLHUP);
}

NOINLINE static void endless(const char *path) {
    char line[64];
    for (long i = 0; !stdin_has_ended(); i++) {
        dlclose(load(path));
        if (i % 10 == 0)
            write_all(line, (size_t)snprintf(line, sizeof line, "{\"pid\":%d,\"loads\":%ld}\n",
                (int)getpid(), i));
    }
}

int main(int argc, char **argv) {
    struct site *sites[] = {&constructor, &call};
    if (argc < 3 || !wait_for_line()) return 1;
    if (argv[1][0] == 'e') {
        endless(argv[2]);
        return 0;
    }
    once(argv[2]);
    print_truth("loads", sites, 2);
    wait_for_line();
    return 0;
}
