/* Waiting for many sockets at a time, level-triggered: what is ready is told by every wait until it is not. */

#ifndef SOCKETPOOL_POLL_SOCKETPOLL_H
#define SOCKETPOOL_POLL_SOCKETPOLL_H

#include "../socketpool/socketpool.h"

/* What a descriptor may be ready for. The last two are told whether wished for or not. */
typedef enum SocketPoll_Events {
	POLL_READ = 1,
	POLL_WRITE = 2,
	POLL_ERROR = 4,
	POLL_HANGUP = 8
} SocketPoll_Events;

/* SocketPoll_add, _mod and _del take a descriptor, or a Socket_T. */
#ifdef __cplusplus
inline int SocketPoll_add(SocketPoll_T poll, int fd, unsigned events, void *data)
{
	return sp_poll_add_fd(poll, fd, events, data);
}

inline int SocketPoll_add(SocketPoll_T poll, Socket_T socket, unsigned events, void *data)
{
	return sp_poll_add_socket(poll, socket, events, data);
}

inline int SocketPoll_mod(SocketPoll_T poll, int fd, unsigned events, void *data)
{
	return sp_poll_mod_fd(poll, fd, events, data);
}

inline int SocketPoll_mod(SocketPoll_T poll, Socket_T socket, unsigned events, void *data)
{
	return sp_poll_mod_socket(poll, socket, events, data);
}

inline int SocketPoll_del(SocketPoll_T poll, int fd)
{
	return sp_poll_del_fd(poll, fd);
}

inline int SocketPoll_del(SocketPoll_T poll, Socket_T socket)
{
	return sp_poll_del_socket(poll, socket);
}
#else
#define SocketPoll_add(poll, what, events, data) \
	(__extension__ _Generic((what), Socket_T: sp_poll_add_socket, default: sp_poll_add_fd)( \
		(poll), (what), (events), (data)))
#define SocketPoll_mod(poll, what, events, data) \
	(__extension__ _Generic((what), Socket_T: sp_poll_mod_socket, default: sp_poll_mod_fd)( \
		(poll), (what), (events), (data)))
#define SocketPoll_del(poll, what) \
	(__extension__ _Generic((what), Socket_T: sp_poll_del_socket, default: sp_poll_del_fd)((poll), (what)))
#endif

#endif
