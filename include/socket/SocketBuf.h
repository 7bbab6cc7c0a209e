/* Buffers: bytes that wait, always in one piece, and the room behind them.
 * What each function does stands in socketpool/socketpool.h. */
#ifndef SOCKETPOOL_SOCKET_SOCKETBUF_H
#define SOCKETPOOL_SOCKET_SOCKETBUF_H

#include <sys/types.h>
/* struct iovec */
#include <sys/uio.h>

#include <core/Arena.h>
#include <core/Except.h>
#include <socketpool/socketpool.h>

#endif
