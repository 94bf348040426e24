/* Loads libpython (argument 1, with its home in argument 2) when it is told to, and leaks in Python
 * until its standard input ends: an interpreter that was not there when the tracer came. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const SCRIPT =
    "import json, select, threading\n"
    "kept = []\n"
    "def leak():\n"
    "    kept.append(bytes(3000))\n"
    "def outer():\n"
    "    while not select.select([0], [], [], 0.01)[0]:\n"
    "        leak()\n"
    "print(json.dumps({'leaking': True}), flush=True)\n"
    "thread = threading.Thread(target=outer)\n"
    "thread.start()\n"
    "outer()\n"
    "thread.join()\n";

int main(int count, char **arguments) {
    int byte;
    while ((byte = getchar()) != '\n' && byte != EOF) {
    }
    if (count < 3 || setenv("PYTHONHOME", arguments[2], 1) != 0) {
        return 2;
    }
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    void (*initialize)(void) = (void (*)(void))dlsym(library, "Py_Initialize");
    int (*run)(const char *) = (int (*)(const char *))dlsym(library, "PyRun_SimpleString");
    initialize();
    return run(SCRIPT) == 0 ? 0 : 4;
}
