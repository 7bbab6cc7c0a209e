/* Sockets from birth to end, in both families, and what they say to a fork. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/SocketUtil.h"
#include "socket/Socket.h"

static void is_nonblocking(Socket_T socket, int nonblocking, int close_on_exec)
{
    int fd = Socket_fd(socket);

    CHECK(((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0) == nonblocking);
    CHECK(((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0) == close_on_exec);
}

/* Waits on the clock of the machine: loopback is quick, but not at once. */
static ssize_t receive(Socket_T socket, void *into, size_t size)
{
    uint64_t until = Socket_get_monotonic_ms() + 10000;
    ssize_t count;

    do
        count = Socket_recv(socket, into, size, 0);
    while (count < 0 && errno == EAGAIN && Socket_get_monotonic_ms() < until);
    return count;
}

static Socket_T accept_one(Socket_T server)
{
    uint64_t until = Socket_get_monotonic_ms() + 10000;
    Socket_T client;

    do
        client = Socket_accept(server);
    while (client == NULL && errno == EAGAIN && Socket_get_monotonic_ms() < until);
    return client;
}

static void a_conversation(int family, const char *bound_to, const char *host, const char *shown)
{
    Socket_T server = Socket_new(family, SOCK_STREAM, 0), client, accepted;
    char text[16], everything[65536];
    int on = 0, port, fd;
    socklen_t size = sizeof on;
    ssize_t count;
    size_t total = 0;

    CHECK(server != NULL);
    is_nonblocking(server, 0, 1);
    CHECK(!Socket_isbound(server) && !Socket_islistening(server) && !Socket_isconnected(server));
    CHECK(Socket_setreuseaddr(server) == 0 && Socket_bind(server, bound_to, 0) == 0);
    CHECK(Socket_isbound(server) && !Socket_islistening(server));
    CHECK(Socket_listen(server, 8) == 0 && Socket_islistening(server));
    CHECK(Socket_setnonblocking(server) == 0);
    is_nonblocking(server, 1, 1);
    port = Socket_getlocalport(server);
    CHECK(port > 0);

    errno = 0;
    CHECK(Socket_accept(server) == NULL && errno == EAGAIN && Socket_geterrno() == EAGAIN);
    CHECK(strstr(Socket_GetLastError(), "Socket_accept") != NULL);

    client = Socket_new(family, SOCK_STREAM, 0);
    CHECK(Socket_connect(client, host, port) == 0 && Socket_isconnected(client));
    accepted = accept_one(server);
    CHECK(accepted != NULL && Socket_isconnected(accepted));
    is_nonblocking(accepted, 1, 1);
    CHECK(strcmp(Socket_getpeeraddr(client), shown) == 0);
    CHECK(strcmp(Socket_getlocaladdr(accepted), Socket_getpeeraddr(accepted)) == 0);
    CHECK(Socket_getpeerport(client) == port && Socket_getlocalport(accepted) == port);
    CHECK(Socket_getpeerport(accepted) == Socket_getlocalport(client));
    CHECK(Socket_setnodelay(accepted, 1) == 0);
    CHECK(getsockopt(Socket_fd(accepted), IPPROTO_TCP, TCP_NODELAY, &on, &size) == 0 && on);
    CHECK(Socket_setkeepalive(accepted, 60, 10, 3) == 0);
    CHECK(getsockopt(Socket_fd(accepted), IPPROTO_TCP, TCP_KEEPIDLE, &on, &size) == 0 && on == 60);

    /* Nothing there, no room, something there, the end. */
    errno = 0;
    CHECK(Socket_recv(accepted, text, sizeof text, 0) == -1 && errno == EAGAIN);
    errno = 0;
    CHECK(Socket_recv(accepted, text, 0, 0) == -1 && errno == ENOBUFS && Socket_geterrno() == ENOBUFS);
    CHECK(Socket_send(client, NULL, 0, 0) == 0);
    CHECK(Socket_send(client, "hello", 5, 0) == 5);
    CHECK(receive(accepted, text, sizeof text) == 5 && memcmp(text, "hello", 5) == 0);
    CHECK(Socket_send(client, "again", 5, 0) == 5);
    while (Socket_recv(accepted, text, sizeof text, MSG_PEEK) < 0 && errno == EAGAIN)
        ;
    CHECK(receive(accepted, text, sizeof text) == 5 && memcmp(text, "again", 5) == 0);

    /* It takes as much as goes through, and then none. */
    memset(everything, 'x', sizeof everything);
    while ((count = Socket_send(accepted, everything, sizeof everything, 0)) > 0)
        total += (size_t)count;
    CHECK(count == 0 && total > 0);
    CHECK(Socket_shutdown(accepted, SHUT_WR) == 0);
    while ((count = Socket_recv(client, everything, sizeof everything, 0)) > 0)
        total -= (size_t)count;
    CHECK(count == 0 && total == 0);

    /* Whoever sends to one that is gone is told, and lives. */
    fd = Socket_fd(client);
    Socket_free(&client);
    CHECK(client == NULL && fcntl(fd, F_GETFD) == -1);
    CHECK(receive(accepted, text, sizeof text) <= 0);
    errno = 0;
    CHECK(Socket_send(accepted, "x", 1, 0) == -1 && (errno == EPIPE || errno == ECONNRESET));
    Socket_free(&accepted);
    Socket_free(&server);
}

static void what_a_system_refuses(void)
{
    Socket_T one = Socket_new(AF_INET, SOCK_STREAM, 0), other = Socket_new(AF_INET, SOCK_STREAM, 0);
    Socket_T local = NULL, far = NULL, late;
    uint64_t until = Socket_get_monotonic_ms() + 10000;
    int port;

    errno = 0;
    CHECK(Socket_new(-1, SOCK_STREAM, 0) == NULL && errno != 0 && Socket_geterrno() == errno);
    CHECK(strncmp(Socket_GetLastError(), "Socket_new: ", 12) == 0);

    CHECK(Socket_bind(one, NULL, 0) == 0 && strcmp(Socket_getlocaladdr(one), "0.0.0.0") == 0);
    CHECK(Socket_listen(one, 0) == -1 && strstr(Socket_GetLastError(), "backlog is 0, must be at least 1"));
    CHECK(Socket_listen(one, 1) == 0);
    port = Socket_getlocalport(one);
    CHECK(Socket_bind(other, "0.0.0.0", port) == -1 && Socket_geterrno() == EADDRINUSE);
    CHECK(Socket_bind(other, "192.0.2.1", 0) == -1 && Socket_geterrno() == EADDRNOTAVAIL);
    CHECK(strstr(Socket_GetLastError(), "192.0.2.1:0") != NULL);
    CHECK(Socket_bind(other, "::1", 0) == -1 && Socket_geterrno() == EAFNOSUPPORT);
    CHECK(Socket_bind(other, "127.0.0.1", 65536) == -1);
    CHECK(strstr(Socket_GetLastError(), "port is 65536, must be from 0 to 65535") != NULL);
    CHECK(Socket_bind(other, "127.0.0.1", -1) == -1 && Socket_bind(other, "\xff", 0) == -1);
    CHECK(Socket_bind(other, "no such host.invalid", 0) == -1 && Socket_geterrno() != 0);
    CHECK(Socket_connect(other, NULL, port) == -1 && Socket_connect(other, "127.0.0.1", 70000) == -1);
    Socket_free(&one);
    errno = 0;
    CHECK(Socket_connect(other, "127.0.0.1", port) == -1 && errno == ECONNREFUSED);
    CHECK(!Socket_isconnected(other));
    Socket_free(&other);

    /* One that does not wait is told that it goes on. */
    one = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_bind(one, "localhost", 0) == 0 && Socket_listen(one, 1) == 0);
    late = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_setnonblocking(late) == 0);
    CHECK(Socket_connect(late, "127.0.0.1", Socket_getlocalport(one)) == 0 || errno == EINPROGRESS);
    while (!Socket_isconnected(late) && Socket_get_monotonic_ms() < until)
        ;
    CHECK(Socket_isconnected(late));
    Socket_free(&late);
    Socket_free(&one);

    CHECK(SocketPair_new(SOCK_STREAM, &local, &far) == 0 && local != NULL && far != NULL);
    is_nonblocking(local, 0, 1);
    CHECK(Socket_isconnected(local) && strcmp(Socket_getpeeraddr(local), "(unknown)") == 0);
    CHECK(Socket_getpeerport(local) == 0 && Socket_setnodelay(local, 1) == -1);
    CHECK(Socket_bind(local, "127.0.0.1", 0) == -1 && Socket_geterrno() == EAFNOSUPPORT);
    CHECK(Socket_shutdown(local, 7) == -1 && strstr(Socket_GetLastError(), "how is 7") != NULL);
    CHECK(Socket_setkeepalive(local, 0, 1, 1) == -1 && strstr(Socket_GetLastError(), "idle is 0, must be from 1"));
    CHECK(Socket_setkeepalive(local, 1, -5, 1) == -1 && Socket_setkeepalive(local, 1, 1, 128) == -1);
    CHECK(Socket_recv(local, NULL, 5, 0) == -1 && strstr(Socket_GetLastError(), "buffer is NULL") != NULL);
    CHECK(Socket_send(local, NULL, 5, 0) == -1 && strstr(Socket_GetLastError(), "data is NULL") != NULL);
    CHECK(Socket_send(local, "x", (size_t)-1, 0) == -1 && Socket_recv(local, &port, (size_t)-1, 0) == -1);
    Socket_free(&far);
    errno = 0;
    CHECK(Socket_send(local, "x", 1, 0) == -1 && errno == EPIPE);
    CHECK(Socket_recv(local, &port, 1, 0) == 0);
    Socket_free(&local);
    CHECK(SocketPair_new(SOCK_STREAM, NULL, &far) == -1 && SocketPair_new(SOCK_STREAM, &far, NULL) == -1);
    CHECK(SocketPair_new(SOCK_STREAM, &far, &far) == -1 && SocketPair_new(12345, &local, &far) == -1);
    CHECK(local == NULL && far == NULL);
}

static void a_descriptor_is_taken_over(void)
{
    int pair[2], pipes[2], fd;
    Socket_T socket;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(pipes) == 0);
    socket = Socket_new_from_fd(pair[0]);
    CHECK(socket != NULL && Socket_fd(socket) == pair[0]);
    is_nonblocking(socket, 1, 0);
    Socket_free(&socket);
    CHECK(fcntl(pair[0], F_GETFD) == -1);
    close(pair[1]);

    errno = 0;
    CHECK(Socket_new_from_fd(pair[0]) == NULL && errno == EBADF);
    CHECK(Socket_new_from_fd(-1) == NULL && Socket_geterrno() == EBADF);
    fd = pipes[0];
    CHECK(Socket_new_from_fd(fd) == NULL && Socket_geterrno() == ENOTSOCK);
    CHECK(fcntl(fd, F_GETFD) != -1 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_fork_has_no_handles(void)
{
    Socket_T local, far;
    char byte;
    pid_t child;
    int status = -1;

    CHECK(SocketPair_new(SOCK_STREAM, &local, &far) == 0);
    child = fork();
    if (child == 0) {
        Socket_T copy = local;
        int told = Socket_send(local, "x", 1, 0) == -1 && Socket_fd(local) == -1;
        told = told && strstr(Socket_GetLastError(), "forked") != NULL;
        Socket_free(&copy);
        _exit(told && copy == NULL ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(Socket_send(local, "y", 1, 0) == 1 && Socket_recv(far, &byte, 1, 0) == 1 && byte == 'y');
    Socket_free(&local);
    Socket_free(&far);
}

/* A wait in one thread and a close in another: the descriptor is not closed under the one who waits. */
static void *wait_for_two_bytes(void *socket)
{
    char both[2];

    CHECK(Socket_recv((Socket_T)socket, both, 2, MSG_WAITALL) == 2 && memcmp(both, "xy", 2) == 0);
    return NULL;
}

static void a_close_waits_for_whoever_receives(void)
{
    int round;

    for (round = 0; round < 50; round++) {
        Socket_T local, far;
        pthread_t thread;
        int fd, unread = 1;

        CHECK(SocketPair_new(SOCK_STREAM, &local, &far) == 0);
        fd = Socket_fd(local);
        CHECK(pthread_create(&thread, NULL, wait_for_two_bytes, local) == 0);
        CHECK(Socket_send(far, "x", 1, 0) == 1);
        /* When the first byte is taken, the other thread is in the middle of its call. */
        while (unread > 0)
            CHECK(ioctl(Socket_fd(far), TIOCOUTQ, &unread) == 0);
        Socket_free(&local);
        CHECK(fcntl(fd, F_GETFD) != -1);
        CHECK(Socket_send(far, "y", 1, 0) == 1);
        pthread_join(thread, NULL);
        CHECK(fcntl(fd, F_GETFD) == -1);
        Socket_free(&far);
    }
}

static void words_and_time(void)
{
    struct timespec time;
    uint64_t now, first = Socket_get_monotonic_ms();

    clock_gettime(CLOCK_MONOTONIC, &time);
    now = (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
    CHECK(now >= first && now - first < 10000 && first > 0);
    CHECK(strcmp(Socket_safe_strerror(ECONNREFUSED), "Connection refused") == 0);
    CHECK(Socket_safe_strerror(-1) != NULL && Socket_safe_strerror(123456) != NULL);
    CHECK(strcmp(Socket_safe_strerror(EPERM), Socket_safe_strerror(ENOENT)) != 0);
    CHECK(Socket_ignore_sigpipe() == 0 && signal(SIGPIPE, SIG_DFL) == SIG_IGN);
}

int main(void)
{
    Socket_T six = Socket_new(AF_INET6, SOCK_STREAM, 0);

    a_conversation(AF_INET, "127.0.0.1", "127.0.0.1", "127.0.0.1");
    a_conversation(AF_INET, NULL, "localhost", "127.0.0.1");
    if (six != NULL && Socket_bind(six, "::1", 0) == 0) {
        a_conversation(AF_INET6, "::1", "::1", "::1");
        a_conversation(AF_INET6, "", "127.0.0.1", "127.0.0.1");
        a_conversation(AF_INET6, "0.0.0.0", "::1", "::1");
    }
    Socket_free(&six);
    what_a_system_refuses();
    a_descriptor_is_taken_over();
    a_fork_has_no_handles();
    a_close_waits_for_whoever_receives();
    words_and_time();
    Socket_free(NULL);
    return failures != 0;
}
