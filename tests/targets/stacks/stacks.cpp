/* Allocations by C++: operator new, containers, exceptions, with libgcc's word on each. */
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "stack_truth.h"

struct Shape {
    virtual ~Shape() = default;
    virtual void grow(int) = 0;
};

struct Square : Shape {
    NOINLINE void grow(int bytes) override
    {
        ALLOCATE("new", 0, operator new(static_cast<size_t>(bytes)));
        STAY();
    }
};

NOINLINE static void by_vector()
{
    std::vector<long> *many = nullptr;

    ALLOCATE("vector", 0, (many = new std::vector<long>(777))->data());
    delete many;
    STAY();
}

NOINLINE static void by_exception(int depth_left)
{
    if (depth_left > 0) {
        by_exception(depth_left - 1);
        STAY();
        return;
    }
    depth = backtrace(trace, MAX_FRAMES);
    note("exception", 0);
    throw std::length_error("no such length");
}

NOINLINE static void by_function()
{
    std::function<void(int)> call = [](int bytes) {
        ALLOCATE("lambda", 0, malloc(static_cast<size_t>(bytes)));
        STAY();
    };

    call(1100);
    STAY();
}

NOINLINE static void work()
{
    Square square;
    Shape *shape = &square;

    KEEP(shape);
    shape->grow(1200);
    by_vector();
    by_function();
    try {
        by_exception(5);
    } catch (const std::exception &) {
        STAY();
    }
    STAY();
}

int main()
{
    serve(work);
    return 0;
}
