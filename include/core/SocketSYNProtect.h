/* Protection from connection floods. Its functions are in socketpool/socketpool.h. */
#ifndef SOCKETPOOL_CORE_SOCKETSYNPROTECT_H
#define SOCKETPOOL_CORE_SOCKETSYNPROTECT_H

#include <socketpool/socketpool.h>

/* What to do with a newcomer: a SocketSYN_Action. */
enum {
    /* Let it in. */
    SYN_ACTION_ALLOW = 0,
    /* Let it in, and read from it a little later. */
    SYN_ACTION_THROTTLE = 1,
    /* Let it in, and read from it later. */
    SYN_ACTION_CHALLENGE = 2,
    /* Close it. */
    SYN_ACTION_BLOCK = 3
};

/* What a score is called: a SocketSYN_Reputation. */
enum {
    /* From 0.9. */
    SYN_REP_TRUSTED = 0,
    /* From score_throttle. */
    SYN_REP_NEUTRAL = 1,
    /* From score_block. */
    SYN_REP_SUSPECT = 2,
    SYN_REP_HOSTILE = 3
};

#endif
