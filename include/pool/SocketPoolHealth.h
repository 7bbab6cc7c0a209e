/* How a pool is, in numbers: SocketPool_health, SocketPoolHealth_… and SocketPool_get_stats. */

#ifndef SOCKETPOOL_POOL_SOCKETPOOLHEALTH_H
#define SOCKETPOOL_POOL_SOCKETPOOLHEALTH_H

#include "../socketpool/socketpool.h"

#endif
