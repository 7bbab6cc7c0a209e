/* The control of the hostile tests: an echo of lines over poll(2) that protects itself against nothing. It takes whoever
 * comes while it has room (argument 2), keeps whoever stays, and keeps every answer until somebody reads it. */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 4096 };

static struct pollfd polled[MOST + 1];
static struct kept {
    char *bytes;
    size_t length, whole, room;
} kept[MOST + 1];
static int count = 1;

static void leave(int at)
{
    close(polled[at].fd);
    free(kept[at].bytes);
    count -= 1;
    polled[at] = polled[count];
    kept[at] = kept[count];
    memset(&kept[count], 0, sizeof kept[count]);
}

/* Keeps what has come, and sends what is whole of it. 0 if the peer has gone. */
static int serve(int at)
{
    struct kept *k = &kept[at];
    char chunk[65536];
    size_t i;
    ssize_t n = recv(polled[at].fd, chunk, sizeof chunk, MSG_DONTWAIT);

    if (n == 0)
        return 0;
    if (n > 0) {
        if (k->length + (size_t)n > k->room) {
            k->room = 2 * k->room + (size_t)n;
            k->bytes = (char *)realloc(k->bytes, k->room);
        }
        memcpy(k->bytes + k->length, chunk, (size_t)n);
        for (i = 0; i < (size_t)n; i++)
            if (chunk[i] == '\n')
                k->whole = k->length + i + 1;
        k->length += (size_t)n;
    }
    if (k->whole > 0 && (n = send(polled[at].fd, k->bytes, k->whole, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
        memmove(k->bytes, k->bytes + n, k->length - (size_t)n);
        k->length -= (size_t)n;
        k->whole -= (size_t)n;
    }
    polled[at].events = k->whole > 0 ? POLLIN | POLLOUT : POLLIN;
    return 1;
}

int main(int argc, char **argv)
{
    int most = argc > 2 && atoi(argv[2]) < MOST ? atoi(argv[2]) : MOST;
    int at;
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    polled[0].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(polled[0].fd, (struct sockaddr *)&address, length) != 0 || listen(polled[0].fd, 1024) != 0 ||
        getsockname(polled[0].fd, (struct sockaddr *)&address, &length) != 0)
        return 1;
    fcntl(polled[0].fd, F_SETFL, O_NONBLOCK);
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        polled[0].events = count <= most ? POLLIN : 0;
        poll(polled, (nfds_t)count, -1);
        for (at = count - 1; at > 0; at--)
            if (polled[at].revents != 0 && !serve(at))
                leave(at);
        if (polled[0].revents != 0 && (polled[count].fd = accept(polled[0].fd, NULL, NULL)) >= 0) {
            polled[count].events = POLLIN;
            count += 1;
        }
    }
}
