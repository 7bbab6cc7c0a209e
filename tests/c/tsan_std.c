/* What the thread sanitizer is to know of Rust's standard library, which comes without its instructions: that the slow ways
 * through a mutex and a `Once` order what comes before and after them as the quick ways do, which it sees. The names are
 * those of the linker's --wrap. */
#include <stdbool.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

void REAL_LOCK(void *mutex);
void WRAP_LOCK(void *mutex);
void REAL_ONCE(void *once, bool ignore_poison, void *closure, void *vtable);
void WRAP_ONCE(void *once, bool ignore_poison, void *closure, void *vtable);

void WRAP_LOCK(void *mutex)
{
    REAL_LOCK(mutex);
    __tsan_acquire(mutex);
}

void WRAP_ONCE(void *once, bool ignore_poison, void *closure, void *vtable)
{
    REAL_ONCE(once, ignore_poison, closure, vtable);
    __tsan_acquire(once);
    __tsan_release(once);
}
