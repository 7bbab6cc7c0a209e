/* 200 connections fill, take and wipe their buffers in turn, the memory of which they share behind the scenes: whatever one
 * reads is what it has written, and all of it takes no more memory than waits. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "pool/SocketPool.h"

enum { CONNECTIONS = 200, SIDES = 2 * CONNECTIONS, MOST = 5000, MOST_MEMORY = 4 << 20 };

static long steps = 400000;

/* One buffer, and what there ought to be in it: a row of bytes that goes on from the next one that is taken out. */
struct side {
    SocketBuf_T buffer;
    unsigned taken, put;
    /* What the last SocketBuf_writeptr has shown and is still good, and how much of it is filled already. */
    unsigned char *shown;
    size_t filled;
};

static struct side sides[SIDES];
static Socket_T theirs[CONNECTIONS];
static Connection_T connections[CONNECTIONS];
static unsigned sent[CONNECTIONS], seed = 7;
static SocketPool_T pool;
static size_t bound = 4096, most_memory;

static unsigned any(unsigned below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % below;
}

static unsigned char byte_at(int which, unsigned place)
{
    return (unsigned char)((unsigned)which * 37u + place * 11u + (place >> 8) * 3u);
}

static void fill(int which, unsigned char *into, size_t count)
{
    size_t n;

    for (n = 0; n < count; n++)
        into[n] = byte_at(which, sides[which].put + (unsigned)n);
}

/* Whether these are the bytes that come next. */
static int are_next(int which, const unsigned char *bytes, size_t count)
{
    size_t n;

    for (n = 0; n < count; n++)
        if (bytes[n] != byte_at(which, sides[which].taken + (unsigned)n))
            return 0;
    return 1;
}

static size_t waiting(int which)
{
    return sides[which].put - sides[which].taken;
}

static void look(int which)
{
    const unsigned char *bytes = (const unsigned char *)SocketBuf_readptr(sides[which].buffer);
    size_t count = SocketBuf_readable(sides[which].buffer);

    CHECK(count == waiting(which) && (bytes != NULL) == (count > 0) && are_next(which, bytes, count));
}

static void take(int which, size_t count)
{
    static unsigned char into[MOST];
    struct side *side = &sides[which];

    if (any(2)) {
        look(which);
        count = count < waiting(which) ? count : waiting(which);
        CHECK(SocketBuf_consume(side->buffer, count) == 0);
    } else {
        count = SocketBuf_read(side->buffer, into, count);
        CHECK(are_next(which, into, count));
    }
    side->taken += (unsigned)count;
    side->shown = NULL;
}

static void produce(int which)
{
    struct side *side = &sides[which];
    unsigned char *into = (unsigned char *)SocketBuf_writeptr(side->buffer);
    size_t room = SocketBuf_writeable(side->buffer), count = any(300), part;

    side->shown = NULL;
    CHECK((into != NULL) == (room > 0));
    count = count < room ? count : room;
    if (count == 0)
        return;
    fill(which, into, count);
    part = 1 + any((unsigned)count);
    CHECK(SocketBuf_produce(side->buffer, part) == 0);
    side->put += (unsigned)part;
    /* The rest of what was filled, without asking again where it is: it is there, or refused. */
    if (SocketBuf_produce(side->buffer, count - part) == 0)
        side->put += (unsigned)(count - part);
    else
        CHECK(strstr(sp_last_error(), "has not been asked") != NULL);
}

/* Asks for memory, and fills it later, when others have asked and filled. */
static void ask(int which)
{
    struct side *side = &sides[which];

    side->shown = (unsigned char *)SocketBuf_writeptr(side->buffer);
    if (side->shown == NULL)
        return;
    side->filled = SocketBuf_writeable(side->buffer);
    side->filled = side->filled < 100 ? side->filled : 100;
    fill(which, side->shown, side->filled);
}

static void fill_what_was_asked(int which)
{
    struct side *side = &sides[which];

    if (side->shown == NULL)
        return;
    if (SocketBuf_produce(side->buffer, side->filled) == 0)
        side->put += (unsigned)side->filled;
    else
        CHECK(strstr(sp_last_error(), "has not been asked") != NULL);
    side->shown = NULL;
}

static void write_some(int which)
{
    static unsigned char bytes[MOST];
    size_t count = any(300), did;

    fill(which, bytes, count);
    did = SocketBuf_write(sides[which].buffer, bytes, count);
    CHECK(did <= count && (did == count || SocketBuf_writeable(sides[which].buffer) == 0));
    sides[which].put += (unsigned)did;
    sides[which].shown = NULL;
}

static void forget(int which)
{
    CHECK((any(2) ? SocketBuf_clear : SocketBuf_secureclear)(sides[which].buffer) == 0);
    sides[which].taken = sides[which].put;
    sides[which].shown = NULL;
    CHECK(SocketBuf_empty(sides[which].buffer) && SocketBuf_readptr(sides[which].buffer) == NULL);
}

/* What arrives at a connection are the bytes of its input, in order, with nothing where nothing has arrived. */
static void receive(int n)
{
    static unsigned char bytes[MOST];
    struct side *side = &sides[n];
    Socket_T socket = Connection_socket(connections[n]);
    unsigned char *into;
    ssize_t got;
    size_t count = any(200), k;

    if (waiting(n) > 0)
        forget(n);
    side->taken = side->put = sent[n];
    for (k = 0; k < count; k++)
        bytes[k] = byte_at(n, sent[n] + (unsigned)k);
    if (count > 0)
        CHECK(Socket_send(theirs[n], bytes, count, 0) == (ssize_t)count);
    sent[n] += (unsigned)count;
    for (;;) {
        into = (unsigned char *)SocketBuf_writeptr(side->buffer);
        if (into == NULL)
            take(n, 1 + any(60));
        else if ((got = Socket_recv(socket, into, SocketBuf_writeable(side->buffer), 0)) < 0)
            break;
        else {
            CHECK(got > 0 && SocketBuf_produce(side->buffer, (size_t)got) == 0);
            side->put += (unsigned)got;
        }
    }
    CHECK(Socket_geterrno() == EAGAIN && side->put == sent[n]);
    look(n);
    side->shown = NULL;
}

/* From now on other addresses are good. */
static void forget_addresses(void)
{
    int which;

    for (which = 0; which < SIDES; which++)
        sides[which].shown = NULL;
}

static void change_the_bound(int is_last)
{
    static const size_t bounds[] = {64, 100, 4096, 1 << 16};

    bound = is_last ? 1 << 24 : bounds[any(4)];
    CHECK(SocketPool_set_bufsize(pool, bound) == 0);
    forget_addresses();
}

/* Waits, after which no address is good, and nothing is held but what waits, and memory for the next who asks. */
static void wait_for_nothing(SocketPoll_T poll)
{
    SocketEvent_T *events;
    size_t memory, waits = 0;
    int which;

    CHECK(SocketPoll_wait(poll, &events, 0) >= 0);
    forget_addresses();
    for (which = 0; which < SIDES; which++)
        waits += waiting(which);
    memory = SocketPoolHealth_memory_bytes(SocketPool_health(pool));
    if (memory > waits)
        memory -= waits;
    most_memory = memory > most_memory ? memory : most_memory;
}

static void do_something(int which)
{
    switch (any(12)) {
    case 0: case 1: produce(which); break;
    case 2: write_some(which); break;
    case 3: case 4: take(which, any(MOST)); break;
    case 5: case 6: look(which); break;
    case 7: if (any(3) == 0) forget(which); break;
    case 8: ask(which); break;
    case 9: fill_what_was_asked(which); break;
    case 10: receive(which % CONNECTIONS); break;
    default: if (any(300) == 0) change_the_bound(0);
    }
}

int main(int argc, char **argv)
{
    SocketPoll_T poll = SocketPoll_new(CONNECTIONS);
    long step;
    int n, which;

    if (argc > 1)
        steps = atol(argv[1]);
    pool = SocketPool_new(NULL, CONNECTIONS, bound);
    for (n = 0; n < CONNECTIONS; n++) {
        Socket_T ours;
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &theirs[n]) == 0);
        connections[n] = SocketPool_add(pool, ours);
        CHECK(SocketPoll_add(poll, ours, POLL_READ, NULL) == 0);
        sides[n].buffer = Connection_inbuf(connections[n]);
        sides[CONNECTIONS + n].buffer = Connection_outbuf(connections[n]);
    }
    for (step = 0; step < steps && failures == 0; step++) {
        do_something((int)any(SIDES));
        if (step % 200 == 0)
            wait_for_nothing(poll);
    }
    CHECK(most_memory > 0 && most_memory < MOST_MEMORY);
    /* What has no need of it takes no more because it might. */
    change_the_bound(1);
    for (step = 0; step < 200 && failures == 0; step++) {
        do_something((int)any(SIDES));
        wait_for_nothing(poll);
    }
    CHECK(most_memory < MOST_MEMORY + (1 << 24));
    for (which = 0; which < SIDES; which++)
        look(which);
    for (n = 0; n < CONNECTIONS; n++) {
        CHECK(sp_pool_remove_connection(pool, connections[n]) == 0);
        Socket_free(&theirs[n]);
    }
    SocketPool_free(&pool);
    SocketPoll_free(&poll);
    return failures != 0;
}
