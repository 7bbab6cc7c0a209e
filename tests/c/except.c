/* Exceptions: who takes what, in which order, from where, and in which thread. */
#include <pthread.h>

#include "check.h"
#include "core/Except.h"

void raise_elsewhere(const Except_T *which);

static const Except_T Ours = {&Ours, "ours"};
static char order[64];

static void note(char what)
{
    size_t length = strlen(order);

    order[length] = what;
    order[length + 1] = '\0';
}

static int came_in(const char *expected)
{
    int same = strcmp(order, expected) == 0;

    if (!same)
        printf("came in the order %s\n", order);
    order[0] = '\0';
    return same;
}

static int frames(void)
{
    int count = 0;
    struct Except_Frame *frame;

    for (frame = *sp_except_top(); frame != NULL; frame = frame->prev)
        count++;
    return count;
}

static void the_first_that_matches_takes_it(void)
{
    TRY
        int declared = 1;
        note('a');
        if (declared)
            RAISE(Ours);
        note('b');
    EXCEPT (Socket_Failed)
        note('c');
    EXCEPT (Ours)
        note('d');
        CHECK(strcmp(Except_frame.exception->reason, "ours") == 0 && Except_frame.line > 0);
        CHECK(strstr(Except_frame.file, "except") != NULL);
    ELSE
        note('e');
    FINALLY
        note('f');
    END_TRY;
    CHECK(came_in("adf"));
    CHECK(frames() == 0);
}

static void what_nobody_takes_goes_outward(void)
{
    TRY {
        TRY {
            raise_elsewhere(&SocketPool_Failed);
        } EXCEPT (Ours) {
            note('a');
        } FINALLY {
            note('b');
        } END_TRY;
        note('c');
    } EXCEPT (SocketPool_Failed) {
        note('d');
    } END_TRY;
    CHECK(came_in("bd"));
    CHECK(frames() == 0);
}

static void a_handler_raises_outward(void)
{
    TRY {
        TRY {
            RAISE(Ours);
        } EXCEPT (Ours) {
            note('a');
            RERAISE;
        } FINALLY {
            note('b');
        } END_TRY;
    } ELSE {
        note('c');
        CHECK(Except_frame.exception == &Ours);
    } END_TRY;
    CHECK(came_in("ac"));
}

static void nothing_is_raised(void)
{
    TRY {
        note('a');
    } EXCEPT (Ours) {
        note('b');
    } ELSE {
        note('c');
    } FINALLY {
        note('d');
    } END_TRY;
    TRY
        note('e');
    FINALLY
        note('f');
    END_TRY;
    CHECK(came_in("adef"));
    CHECK(frames() == 0);
}

static int returns(int from_handler)
{
    TRY {
        if (!from_handler)
            RETURN 1;
        RAISE(Ours);
    } EXCEPT (Ours) {
        RETURN 2;
    } FINALLY {
        note('f');
    } END_TRY;
    return 3;
}

static void return_leaves(void)
{
    CHECK(returns(0) == 1 && frames() == 0);
    CHECK(returns(1) == 2 && frames() == 0);
    CHECK(came_in(""));
}

static void a_volatile_variable_has_its_last_value(void)
{
    int volatile last = 0;

    TRY {
        last = 1;
        RAISE(Socket_Closed);
    } EXCEPT (Socket_Closed) {
        CHECK(last == 1);
        last = 2;
    } END_TRY;
    CHECK(last == 2);
}

static void catch_every_other(int round, int *caught)
{
    TRY {
        if (round % 2)
            raise_elsewhere(&Arena_Failed);
    } EXCEPT (Arena_Failed) {
        *caught += 1;
    } END_TRY;
}

static void *in_a_thread(void *argument)
{
    int caught = 0, round;

    (void)argument;
    for (round = 0; round < 10000; round++)
        catch_every_other(round, &caught);
    return caught == 5000 && frames() == 0 ? &order : NULL;
}

static void threads_have_frames_of_their_own(void)
{
    pthread_t threads[4];
    int i;
    void *fine;

    TRY {
        for (i = 0; i < 4; i++)
            CHECK(pthread_create(&threads[i], NULL, in_a_thread, NULL) == 0);
        for (i = 0; i < 4; i++)
            CHECK(pthread_join(threads[i], &fine) == 0 && fine == &order);
        CHECK(frames() == 1);
    } END_TRY;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        raise_elsewhere(&Ours);
    the_first_that_matches_takes_it();
    what_nobody_takes_goes_outward();
    a_handler_raises_outward();
    nothing_is_raised();
    return_leaves();
    a_volatile_variable_has_its_last_value();
    threads_have_frames_of_their_own();
    return failures;
}
