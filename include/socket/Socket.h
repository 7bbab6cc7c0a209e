/* Sockets: handles that are closed once, and answer NULL, -1 or 0 and Socket_GetLastError() when something is wrong.
 * What each function does stands in socketpool/socketpool.h. */
#ifndef SOCKETPOOL_SOCKET_SOCKET_H
#define SOCKETPOOL_SOCKET_SOCKET_H

/* AF_INET, SOCK_STREAM, MSG_PEEK, SHUT_WR and their like. */
#include <sys/socket.h>
#include <sys/types.h>

#include <core/Except.h>
#include <core/SocketError.h>
#include <core/SocketUtil.h>
#include <socketpool/socketpool.h>

#endif
