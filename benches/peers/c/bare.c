/* The bare server in C: epoll, level-triggered as the guide's poll is, accept, receive, send, and no bookkeeping at all.
 *
 *     bare
 *
 * It knows no connection but the descriptor in an event, and gives up when a send does not take all. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, EVENTS = 1024, BUFFER = 65536 };

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int watch(int set, int fd)
{
    struct epoll_event event;

    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = fd;
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

static void accept_all(int set, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(set, fd);
}

static void echo(int fd)
{
    static char buffer[BUFFER];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);

    if (n <= 0 || send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
        close(fd);
}

int main(void)
{
    static struct epoll_event events[EVENTS];
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int set = epoll_create1(EPOLL_CLOEXEC);
    int on = 1, count, i;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || set < 0 || setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0 || watch(set, listener) != 0)
        return fail("bare");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    /* An interrupted wait, which a tracer makes, is an empty one. */
    for (;;) {
        count = epoll_wait(set, events, EVENTS, -1);
        for (i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(set, listener);
            else
                echo(events[i].data.fd);
        }
    }
}
