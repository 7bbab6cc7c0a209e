/* The pool of the guide. This header alone is enough for everything in it. */

#ifndef SOCKETPOOL_POOL_SOCKETPOOL_H
#define SOCKETPOOL_POOL_SOCKETPOOL_H

#include "../core/Arena.h"
#include "../core/Except.h"
#include "../core/SocketError.h"
#include "../core/SocketSYNProtect.h"
#include "../core/SocketUtil.h"
#include "../poll/SocketPoll.h"
#include "../socket/Socket.h"
#include "../socket/SocketBuf.h"
#include "../socketpool/socketpool.h"

/* What SocketPool_state answers. */
typedef enum SocketPool_State {
	POOL_STATE_ACTIVE = 0,
	POOL_STATE_DRAINING = 1,
	POOL_STATE_DRAINED = 2,
	/* The same in the legacy's words. */
	POOL_STATE_RUNNING = POOL_STATE_ACTIVE,
	POOL_STATE_STOPPED = POOL_STATE_DRAINED
} SocketPool_State;

/* SocketPool_remove takes the connection, or the socket that it is. */
#ifdef __cplusplus
inline int SocketPool_remove(SocketPool_T pool, Connection_T connection)
{
	return sp_pool_remove_connection(pool, connection);
}

inline int SocketPool_remove(SocketPool_T pool, Socket_T socket)
{
	return sp_pool_remove_socket(pool, socket);
}
#else
#define SocketPool_remove(pool, which) \
	(__extension__ _Generic((which), Socket_T: sp_pool_remove_socket, default: sp_pool_remove_connection)((pool), (which)))
#endif

#if defined(__BLOCKS__) && !defined(__cplusplus)
/* SocketPool_foreach(pool, ^(Connection_T connection) { … }); */
typedef void (^SocketPool_Block)(Connection_T connection);

static inline void sp_call_block(Connection_T connection, void *block)
{
	((SocketPool_Block)block)(connection);
}

static inline __attribute__((overloadable)) void SocketPool_foreach(SocketPool_T pool, SocketPool_Block block)
{
	SocketPool_foreach(pool, sp_call_block, (void *)block);
}
#endif

#include "SocketPoolHealth.h"

#endif
