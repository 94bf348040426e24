/* A library that is opened at run time, and calls back. */
static __attribute__((noinline)) void inner(void (*callback)(void), int times)
{
    volatile char scratch[200];

    scratch[times] = 1;
    callback();
    scratch[0] = scratch[times];
}

void plugin_call(void (*callback)(void))
{
    inner(callback, 7);
    __asm__ volatile("" ::: "memory");
}
