/* The legacy library gave a new socket the address of one that was freed, and with it all that hung on that one. And the
 * number of a descriptor that was closed is somebody else's, even if the name of its connection answers still. */
#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#include "pool/SocketPool.h"
#include "sockets.h"

static void names_are_not_used_again(void)
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
}

static Socket_T server;
/* Both ends of a connection that is no pool's. */
static int stranger, friend;

static void begin(void)
{
    server = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 9) == 0);
    friend = connect_to(Socket_getlocalport(server));
    stranger = accept(Socket_fd(server), NULL, NULL);
    CHECK(stranger >= 0);
}

/* The stranger gets the number of a descriptor that was closed. */
static void moves_to(int number)
{
    CHECK(fcntl(number, F_GETFD) == -1 && dup2(stranger, number) == number);
    close(stranger);
    stranger = number;
}

static void end(void)
{
    CHECK(fcntl(stranger, F_GETFD) != -1);
    close(stranger);
    close(friend);
    Socket_free(&server);
}

/* Nothing that a program can call by this name reaches the stranger who has its number. */
static void nothing_touches_the_stranger(Socket_T socket)
{
    int nodelay = -1;
    socklen_t length = sizeof nodelay;
    char byte = 0;

    CHECK(Socket_setnonblocking(socket) == -1 && strstr(Socket_GetLastError(), "closed by its pool") != NULL);
    CHECK((fcntl(stranger, F_GETFL) & O_NONBLOCK) == 0);
    CHECK(Socket_setnodelay(socket, 1) == -1 && Socket_setkeepalive(socket, 9, 9, 9) == -1);
    CHECK(getsockopt(stranger, IPPROTO_TCP, TCP_NODELAY, &nodelay, &length) == 0 && nodelay == 0);
    CHECK(Socket_setreuseaddr(socket) == -1);
    CHECK(Socket_isconnected(socket) == 0 && Socket_isbound(socket) == 0 && Socket_islistening(socket) == 0);
    CHECK(strcmp(Socket_getpeeraddr(socket), "(unknown)") == 0 && Socket_getpeerport(socket) == 0);
    CHECK(strcmp(Socket_getlocaladdr(socket), "(unknown)") == 0 && Socket_getlocalport(socket) == 0);
    CHECK(Socket_fd(socket) == -1 && Socket_listen(socket, 1) == -1 && Socket_accept(socket) == NULL);
    CHECK(Socket_bind(socket, NULL, 0) == -1 && Socket_connect(socket, "127.0.0.1", 9) == -1);
    CHECK(write(friend, "x", 1) == 1);
    CHECK(Socket_recv(socket, &byte, 1, 0) <= 0 && byte == 0 && Socket_send(socket, "y", 1, 0) == -1);
    Socket_shutdown(socket, SHUT_RDWR);
    CHECK(recv(stranger, &byte, 1, 0) == 1 && byte == 'x' && send(stranger, "z", 1, 0) == 1);
    CHECK(recv(friend, &byte, 1, 0) == 1 && byte == 'z');
}

/* The next event of this kind. */
static Connection_T next(SocketPool_T pool, int kind)
{
    sp_event event;
    int turns;

    for (turns = 0; turns < 200; turns++) {
        while (SocketPool_next_event(pool, &event) == 1)
            if (event.kind == kind)
                return event.connection;
        CHECK(SocketPool_turn(pool, 50) == 0);
    }
    CHECK(!"the event comes");
    return NULL;
}

static Connection_T come(SocketPool_T pool, int *client)
{
    Connection_T connection;

    *client = connect_to(Socket_getlocalport(server));
    connection = SocketPool_add(pool, Socket_accept(server));
    CHECK(connection != NULL);
    return connection;
}

static void who_is_told_of_an_end_keeps_a_name_without_a_descriptor(void)
{
    SocketPool_T pool = SocketPool_new(NULL, 4, 4096);
    Connection_T connection;
    int client;

    begin();
    CHECK(SocketPool_turn(pool, 0) == 0);
    connection = come(pool, &client);
    CHECK(sp_connection_close(connection) == SP_OK && next(pool, SP_EVENT_CLOSED) == connection);
    moves_to(Connection_fd(connection));
    nothing_touches_the_stranger(Connection_socket(connection));
    SocketPool_free(&pool);
    close(client);
    end();
}

/* Whoever goes for a newcomer is closed at once, and that is told with the events. */
static void who_has_gone_and_is_not_told_has_no_descriptor(void)
{
    const struct timespec longer_than_the_grace = {0, 60000000};
    SocketPool_T pool = SocketPool_new(NULL, 1, 4096);
    SocketPoll_T poll = SocketPoll_new(4);
    Connection_T connection;
    Socket_T copy;
    int clients[2], number;

    begin();
    CHECK(SocketPool_turn(pool, 0) == 0);
    connection = come(pool, &clients[0]);
    CHECK(next(pool, SP_EVENT_OPENED) == connection);
    number = Connection_fd(connection);
    CHECK(SocketPoll_add(poll, number, POLL_READ, NULL) == 0);
    nanosleep(&longer_than_the_grace, NULL);
    CHECK(SocketPool_turn(pool, 0) == 0);
    come(pool, &clients[1]);
    CHECK(SocketPoll_getregisteredcount(poll) == 0);

    moves_to(number);
    CHECK(SocketPoll_add(poll, number, POLL_READ, NULL) == 0);
    nothing_touches_the_stranger(Connection_socket(connection));
    copy = Connection_socket(connection);
    Socket_free(&copy);
    SocketPool_remove(pool, connection);
    CHECK(SocketPoll_getregisteredcount(poll) == 1);
    CHECK(next(pool, SP_EVENT_CLOSED) == connection);
    nothing_touches_the_stranger(Connection_socket(connection));
    SocketPool_free(&pool);
    CHECK(SocketPoll_getregisteredcount(poll) == 1);
    SocketPoll_free(&poll);
    close(clients[0]);
    close(clients[1]);
    end();
}

int main(void)
{
    names_are_not_used_again();
    who_is_told_of_an_end_keeps_a_name_without_a_descriptor();
    who_has_gone_and_is_not_told_has_no_descriptor();
    return failures != 0;
}
