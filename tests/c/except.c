/* Exceptions: who catches what, in which order, and that no TRY stays behind. Compiled as C and as C++. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "except.h"

static char story[64];

static void tell(const char *what)
{
    strcat(story, what);
}

static int told(const char *expected)
{
    int same = strcmp(story, expected) == 0;

    if (!same)
        printf("told %s, expected %s\n", story, expected);
    story[0] = '\0';
    return same && *sp_except_top() == NULL;
}

static void who_catches(void)
{
    static int which;

    TRY tell("a"); END_TRY;
    CHECK(told("a"));

    TRY { tell("a"); } EXCEPT(Socket_Failed) { tell("b"); } ELSE { tell("c"); } FINALLY { tell("d"); } END_TRY;
    CHECK(told("ad"));

    for (which = 0; which < 3; which++) {
        TRY {
            int begins = 1;
            raise_elsewhere(which);
            CHECK(begins == 2);
        } EXCEPT(Socket_Failed) {
            CHECK(which == 0 && strcmp(Except_frame.exception->reason, "socket operation failed") == 0);
            CHECK(strstr(Except_frame.file, "except_elsewhere.c") != NULL && Except_frame.line > 0);
            tell("s");
        } EXCEPT(SocketPool_Failed) {
            CHECK(which == 1);
            tell("p");
        } ELSE {
            CHECK(which == 2 && Except_frame.exception == address_elsewhere(2));
            tell("e");
        } END_TRY;
    }
    CHECK(told("spe"));
    CHECK(address_elsewhere(0) == &Socket_Failed && address_elsewhere(1) == &SocketPool_Failed);

    /* A part may begin with a declaration, and needs no braces. */
    TRY
        int number = 1;
        int other = number + 1;
        if (other == 2)
            RAISE(Full);
        tell("not");
    EXCEPT(Socket_Failed)
        int wrong = 1;
        tell(wrong ? "x" : "y");
    EXCEPT(Full)
        int right = 2;
        tell(right == 2 ? "f" : "n");
    FINALLY
        int last = 3;
        tell(last == 3 ? "l" : "n");
    END_TRY;
    CHECK(told("fl"));

    /* A copy is caught as what it is a copy of. */
    TRY {
        Except_T copy = Socket_Closed;
        static Except_T kept;
        copy.reason = "told differently";
        kept = copy;
        RAISE(kept);
    } EXCEPT(Socket_Failed) {
        tell("x");
    } EXCEPT(Socket_Closed) {
        tell(strcmp(Except_frame.exception->reason, "told differently") == 0 ? "c" : "n");
    } END_TRY;
    CHECK(told("c"));

    /* One without a type is caught by its address, and by no other without a type. */
    TRY {
        static const Except_T nameless = {NULL, NULL}, other = {NULL, NULL};
        TRY {
            RAISE(nameless);
        } EXCEPT(other) {
            tell("x");
        } EXCEPT(nameless) {
            tell("n");
        } END_TRY;
    } END_TRY;
    CHECK(told("n"));
}

static void one_in_another(void)
{
    TRY {
        TRY {
            TRY {
                RAISE(Full);
            } EXCEPT(Socket_Failed) {
                tell("x");
            } FINALLY {
                tell("1");
            } END_TRY;
            tell("x");
        } EXCEPT(Full) {
            tell("2");
            RERAISE;
        } FINALLY {
            tell("x");
        } END_TRY;
        tell("x");
    } EXCEPT(Full) {
        CHECK(strstr(Except_frame.file, "except.c") != NULL);
        tell("3");
    } FINALLY {
        tell("4");
    } END_TRY;
    CHECK(told("1234"));

    /* A handler that raises something else, and a callee that had a TRY of its own. */
    TRY {
        raise_after_its_own_try();
    } EXCEPT(Socket_Failed) {
        tell("x");
    } EXCEPT(SocketPool_Failed) {
        tell("p");
    } END_TRY;
    CHECK(told("p"));

    TRY {
        TRY {
            tell("a");
        } FINALLY {
            tell("b");
            RAISE(Full);
        } END_TRY;
    } ELSE {
        TRY {
            RAISE(Socket_Closed);
        } ELSE {
            tell("c");
        } END_TRY;
        tell("d");
    } END_TRY;
    CHECK(told("abcd"));
}

static int returns(int how)
{
    TRY {
        if (how == 0)
            RETURN 10;
        if (how == 1)
            return 11;
        if (how == 2)
            RAISE(Full);
        tell("w");
    } EXCEPT(Full) {
        RETURN 12;
    } FINALLY {
        tell("f");
    } END_TRY;
    return 13;
}

static int raises(void)
{
    RAISE(Full);
    return 0;
}

/* What is returned is worked out outside of the TRY. */
static int returns_what_raises(void)
{
    TRY {
        RETURN raises();
    } EXCEPT(Full) {
        tell("x");
    } END_TRY;
    return 1;
}

static void returns_nothing(void)
{
    TRY {
        RETURN;
    } FINALLY {
        tell("x");
    } END_TRY;
    tell("x");
}

static void ways_out(void)
{
    static int n;

    CHECK(returns(0) == 10 && told(""));
    CHECK(returns(1) == 11 && told(""));
    CHECK(returns(2) == 12 && told(""));
    CHECK(returns(3) == 13 && told("wf"));
    returns_nothing();
    CHECK(told(""));
    TRY {
        returns_what_raises();
    } EXCEPT(Full) {
        tell("o");
    } END_TRY;
    CHECK(told("o"));

    for (n = 0; n < 3; n++) {
        TRY {
            if (n == 0)
                break;
            if (n == 1)
                goto out;
            tell("x");
        } END_TRY;
    }
out:
    CHECK(n == 1 && told(""));
}

/* The guide's pattern: without `volatile`, what EXCEPT sees of `conn` is anybody's guess. */
static void what_was_changed_is_seen(void)
{
    char *volatile conn = NULL;
    volatile int count = 0;

    TRY {
        conn = story;
        count = count + 1;
        raise_elsewhere(0);
        count = count + 1;
    } EXCEPT(Socket_Failed) {
        CHECK(conn == story && count == 1);
        count = count + 10;
    } FINALLY {
        count = count + 100;
    } END_TRY;
    CHECK(count == 111 && *sp_except_top() == NULL);
}

static int deep(int levels)
{
    if (levels > 0)
        return deep(levels - 1) + 1;
    raise_elsewhere(2);
    return 0;
}

static void *thread(void *failed)
{
    volatile int caught = 0;
    int round;

    CHECK(*sp_except_top() == NULL);
    for (round = 0; round < 1000; round++) {
        TRY {
            TRY {
                if (deep(round % 50) >= 0)
                    caught = caught + 1000000;
            } EXCEPT(Socket_Failed) {
                caught = caught + 1000000;
            } END_TRY;
        } EXCEPT(Full) {
            caught = caught + 1;
        } END_TRY;
    }
    *(int *)failed = caught != 1000 || *sp_except_top() != NULL;
    return NULL;
}

static void every_thread_has_its_own(void)
{
    pthread_t threads[8];
    int failed[8], n;

    TRY {
        for (n = 0; n < 8; n++)
            CHECK(pthread_create(&threads[n], NULL, thread, &failed[n]) == 0);
        for (n = 0; n < 8; n++) {
            pthread_join(threads[n], NULL);
            CHECK(failed[n] == 0);
        }
    } ELSE {
        tell("x");
    } END_TRY;
    CHECK(told(""));
}

#ifdef __cplusplus
struct Counted {
    static int alive;
    Counted() { alive++; }
    ~Counted() { alive--; }
};
int Counted::alive = 0;

static void cpp_exceptions_pass(void)
{
    try {
        TRY {
            Counted counted;
            throw 7;
        } EXCEPT(Full) {
            tell("x");
        } END_TRY;
    } catch (int seven) {
        tell(seven == 7 ? "7" : "x");
    }
    CHECK(told("7") && Counted::alive == 0);
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1) {
        switch (atoi(argv[1])) {
        case 0:
            RAISE(Full);
        case 1:
            TRY {
                RAISE(Full);
            } EXCEPT(Socket_Failed) {
                puts("caught");
            } FINALLY {
                fputs("finally\n", stderr);
            } END_TRY;
            break;
        default:
            Except_raise(NULL, "nowhere", 1);
        }
    }
    who_catches();
    one_in_another();
    ways_out();
    what_was_changed_is_seen();
    every_thread_has_its_own();
#ifdef __cplusplus
    cpp_exceptions_pass();
#endif
    return failures != 0;
}
