/* How the compiler of a program lays out what it shares with the library, and with code that an older header was compiled
 * into: as `layout.h` says. */
#include <setjmp.h>
#include <stddef.h>

#include "core/Except.h"
#include "pool/SocketPool.h"

#ifdef __cplusplus
#define HOLDS(condition) static_assert(condition, #condition)
#define ALIGNMENT alignof
#else
#define HOLDS(condition) _Static_assert(condition, #condition)
#define ALIGNMENT _Alignof
#endif

#define STRUCT(name, size, alignment) HOLDS(sizeof(name) == (size) && ALIGNMENT(name) == (alignment));
#define FIELD(name, field, offset, size) \
    HOLDS(offsetof(name, field) == (offset) && sizeof(((name *)NULL)->field) == (size));
#define CONSTANT(name, value) HOLDS((name) == (value));
#include "layout.h"

/* What only the headers know: the words of the guide for numbers that the library has as well, */
HOLDS(sizeof(SocketPool_State) == sizeof(int) && sizeof(SocketPoll_Events) == sizeof(int));
HOLDS(POOL_STATE_ACTIVE == SP_STATE_ACTIVE && POOL_STATE_DRAINING == SP_STATE_DRAINING);
HOLDS(POOL_STATE_DRAINED == SP_STATE_DRAINED);
HOLDS(POOL_STATE_RUNNING == SP_STATE_ACTIVE && POOL_STATE_STOPPED == SP_STATE_DRAINED);
HOLDS(POLL_READ == 1 && POLL_WRITE == 2 && POLL_ERROR == 4 && POLL_HANGUP == 8);
HOLDS(SYN_ACTION_ALLOW == 0 && SYN_ACTION_THROTTLE == 1 && SYN_ACTION_CHALLENGE == 2 && SYN_ACTION_BLOCK == 3);
HOLDS(SYN_REP_TRUSTED == 0 && SYN_REP_NEUTRAL == 1 && SYN_REP_SUSPECT == 2 && SYN_REP_HOSTILE == 3);

/* and a TRY, which one object may enter and another leave by a raise. */
#define BEHIND_ENV (sizeof(void *) + sizeof(jmp_buf))
HOLDS(offsetof(struct Except_Frame, prev) == 0 && offsetof(struct Except_Frame, env) == sizeof(void *));
HOLDS(offsetof(struct Except_Frame, file) == BEHIND_ENV && offsetof(struct Except_Frame, line) == BEHIND_ENV + 8);
HOLDS(offsetof(struct Except_Frame, exception) == BEHIND_ENV + 16 && offsetof(struct Except_Frame, state) == BEHIND_ENV + 24);
HOLDS(Except_entered == 0 && Except_raised == 1 && Except_handled == 2 && Except_finalized == 3);

int main(void)
{
    return 0;
}
