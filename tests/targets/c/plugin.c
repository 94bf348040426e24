/* A library that allocates when it is loaded, and when it is asked to. */
#include <stdlib.h>

void *plugin_block;

__attribute__((constructor)) static void plugin_constructor(void) { plugin_block = malloc(1000); }

void *plugin_call(size_t bytes) {
    void *block = malloc(bytes);
    __asm__ volatile("" ::: "memory");
    return block;
}
