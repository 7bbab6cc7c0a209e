/* One thread turns the pool and looks at the input that it is shown, others receive, send, close and add meanwhile, in a
 * pool that is always full: what is shown stays as it is until the next event. And who pipelines without reading gets every
 * byte in the end, in order, from a loop that heeds what a send says. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "pool/SocketPool.h"
#include "sockets.h"

enum { PLACES = 24, OTHERS = 3, MESSAGE = 3000 };

/* Under valgrind fewer are enough. */
static int looks = 1000;
static long pipelined = 1000000;

static SocketPool_T pool;
static int port, over;
static unsigned long mistakes, looked, added, acted;
static Connection_T known[PLACES];

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 8;
}

/* It fails when the pool listens no more. */
static int try_to_connect(void)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && !__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        __atomic_fetch_add(&mistakes, 1, __ATOMIC_RELAXED);
    return fd;
}

/* Clients that send and go, whatever becomes of them. */
static void *come_and_go(void *which)
{
    unsigned seed = (unsigned)(size_t)which + 1;
    char message[MESSAGE];
    int fds[4], n, k;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        for (n = 0; n < 4; n++) {
            fds[n] = try_to_connect();
            memset(message, 'a' + (int)(next(&seed) % 26), sizeof message);
            for (k = 0; k < 3; k++)
                if (send(fds[n], message, 1 + next(&seed) % MESSAGE, MSG_NOSIGNAL) < 0)
                    break;
        }
        for (n = 0; n < 4; n++)
            close(fds[n]);
    }
    return NULL;
}

/* Does everything with connections but the one that is looked at, which nobody else touches. */
static void *meddle(void *which)
{
    unsigned seed = (unsigned)(size_t)which + 77;
    Socket_T ours, theirs[PLACES] = {NULL};
    int place;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        Connection_T one = __atomic_load_n(&known[next(&seed) % PLACES], __ATOMIC_ACQUIRE);

        switch (next(&seed) % 6) {
        case 0:
        case 1: Connection_receive(one); break;
        case 2: Connection_send(one, "some answer", 11); break;
        case 3: Connection_consume(one, 1); break;
        case 4: sp_connection_close(one); break;
        default:
            place = (int)(next(&seed) % PLACES);
            Socket_free(&theirs[place]);
            if (SocketPair_new(SOCK_STREAM, &ours, &theirs[place]) != 0)
                break;
            Socket_send(theirs[place], "from a pair", 11, 0);
            if (SocketPool_add(pool, ours) == NULL)
                Socket_free(&ours);
            else
                __atomic_fetch_add(&added, 1, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&acted, 1, __ATOMIC_RELAXED);
    }
    for (place = 0; place < PLACES; place++)
        Socket_free(&theirs[place]);
    return NULL;
}

/* What is shown is the same some time later. */
static void look_at(Connection_T connection)
{
    static char copy[1 << 16];
    struct timespec moment = {0, 20000};
    size_t length = 0;
    const void *shown;

    Connection_receive(connection);
    shown = Connection_input(connection, &length);
    if (shown == NULL || length == 0)
        return;
    memcpy(copy, shown, length);
    nanosleep(&moment, NULL);
    CHECK(memcmp(copy, shown, length) == 0);
    looked++;
}

static void what_is_shown_stays(void)
{
    pthread_t threads[OTHERS + 1];
    sp_event event;
    unsigned seed = 5;
    int n;

    pool = SocketPool_new(NULL, PLACES, 1 << 16);
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(port > 0);
    for (n = 0; n < OTHERS + 1; n++)
        CHECK(pthread_create(&threads[n], NULL, n < OTHERS ? meddle : come_and_go, (void *)(size_t)n) == 0);
    while (looked < (unsigned long)looks && failures == 0) {
        CHECK(SocketPool_turn(pool, 20) == 0);
        while (SocketPool_next_event(pool, &event) == 1) {
            int place = -1;

            for (n = 0; n < PLACES; n++)
                if (known[n] == event.connection)
                    place = n;
            if (event.kind == SP_EVENT_OPENED)
                __atomic_store_n(&known[next(&seed) % PLACES], event.connection, __ATOMIC_RELEASE);
            else if (event.kind == SP_EVENT_READABLE && place < 0)
                /* One that the others do not know: only its end is not in our hands. */
                look_at(event.connection);
            else if (event.kind == SP_EVENT_READ_CLOSED)
                sp_connection_close(event.connection);
        }
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    for (n = 0; n < OTHERS; n++)
        pthread_join(threads[n], NULL);
    /* The clients may wait for a place in the backlog. */
    SocketPool_force_close_all(pool);
    pthread_join(threads[OTHERS], NULL);
    CHECK(added > 0 && acted > 0 && mistakes == 0);
    SocketPool_free(&pool);
}

/* Bytes that tell their place. */
static char byte_at(long place)
{
    return place % 61 == 60 ? '\n' : (char)('0' + place / 61 % 75);
}

static void *send_all(void *socket)
{
    char some[5000];
    long place = 0;
    size_t n;

    while (place < pipelined) {
        ssize_t did;
        for (n = 0; n < sizeof some; n++)
            some[n] = byte_at(place + (long)n);
        did = send(*(int *)socket, some, sizeof some, MSG_NOSIGNAL);
        if (did <= 0)
            break;
        place += did;
    }
    return NULL;
}

/* Whether the reader waits until there was no room for an answer, and whether that was so. */
static int reads_late, refused;

static void *read_all(void *socket)
{
    struct timespec moment = {0, 1000000};
    char some[1000];
    long place = 0;
    ssize_t got, n;

    /* With so little in the kernel both directions can stand still before that, on a machine with other work. */
    for (n = 0; n < 20000 && reads_late && !__atomic_load_n(&refused, __ATOMIC_RELAXED); n++)
        nanosleep(&moment, NULL);
    while (place < pipelined && (got = read(*(int *)socket, some, sizeof some)) > 0) {
        for (n = 0; n < got; n++)
            if (some[n] != byte_at(place + n))
                __atomic_fetch_add(&mistakes, 1, __ATOMIC_RELAXED);
        place += got;
    }
    if (place < pipelined)
        __atomic_fetch_add(&mistakes, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    SocketPool_wake(pool);
    return NULL;
}

static void answer(Connection_T connection)
{
    const char *data;
    size_t length, line;
    const char *end;

    Connection_receive(connection);
    while ((data = (const char *)Connection_input(connection, &length)) != NULL && length > 0 &&
           (end = (const char *)memchr(data, '\n', length)) != NULL) {
        line = (size_t)(end - data) + 1;
        if (Connection_send(connection, data, line) == SP_SENT_REFUSED) {
            __atomic_store_n(&refused, 1, __ATOMIC_RELAXED);
            return;
        }
        CHECK(Connection_consume(connection, line) == 0);
    }
}

static void keep_little_in_the_kernel(int fd, int which)
{
    int bytes = 65536;

    CHECK(setsockopt(fd, SOL_SOCKET, which, &bytes, sizeof bytes) == 0);
}

/* With room for little, and for much. */
static void who_pipelines_gets_everything(size_t room)
{
    SocketPool_T freed;
    pthread_t sender, reader;
    sp_event event;
    int fd;

    over = refused = 0;
    reads_late = room > 64;
    pipelined = pipelined / 61 * 61;
    pool = SocketPool_new(NULL, 2, room);
    fd = connect_to(SocketPool_listen(pool, "127.0.0.1", 0));
    keep_little_in_the_kernel(fd, SO_RCVBUF);
    CHECK(pthread_create(&sender, NULL, send_all, &fd) == 0 && pthread_create(&reader, NULL, read_all, &fd) == 0);
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE) && failures == 0) {
        CHECK(SocketPool_turn(pool, -1) == 0);
        while (SocketPool_next_event(pool, &event) == 1) {
            if (event.kind == SP_EVENT_READABLE || event.kind == SP_EVENT_WRITABLE)
                answer(event.connection);
            if (event.kind == SP_EVENT_OPENED)
                keep_little_in_the_kernel(Connection_fd(event.connection), SO_SNDBUF);
            if (event.kind == SP_EVENT_CLOSED && !__atomic_load_n(&over, __ATOMIC_ACQUIRE))
                CHECK(!"it stays");
        }
    }
    /* The reader may be about to wake it, by its name. */
    freed = pool;
    SocketPool_free(&freed);
    pthread_join(reader, NULL);
    pthread_join(sender, NULL);
    CHECK(mistakes == 0);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        looks = atoi(argv[1]);
        pipelined = 800000;
    }
    what_is_shown_stays();
    who_pipelines_gets_everything(64);
    who_pipelines_gets_everything(65536);
    return failures != 0;
}
