/* The legacy library gave a new socket the address of one that was freed, and with it all that hung on that one. */
#include "check.h"
#include "socket/Socket.h"

int main(void)
{
    int round;

    for (round = 0; round < 1000; round++) {
        Socket_T one, other, stale, copy;
        char byte = 0;

        CHECK(SocketPair_new(SOCK_STREAM, &one, &other) == 0);
        CHECK(Socket_send(other, "x", 1, 0) == 1);
        stale = copy = one;
        Socket_free(&one);
        Socket_free(&other);
        CHECK(SocketPair_new(SOCK_STREAM, &one, &other) == 0);
        CHECK(one != stale && other != stale);
        CHECK(Socket_send(other, "y", 1, 0) == 1);
        /* The old name reads nothing of the new one's, and does not close it either. */
        CHECK(Socket_recv(stale, &byte, 1, 0) == -1 && Socket_fd(stale) == -1 && byte == 0);
        Socket_free(&copy);
        CHECK(copy == NULL && strstr(Socket_GetLastError(), "Socket_free: socket is stale") != NULL);
        CHECK(Socket_recv(one, &byte, 1, 0) == 1 && byte == 'y');
        Socket_free(&one);
        Socket_free(&other);
    }
    return failures != 0;
}
