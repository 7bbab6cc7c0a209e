/* Exceptions for C, by setjmp and longjmp.
 *
 *     TRY {
 *         if (socket == NULL)
 *             RAISE(Socket_Failed);
 *     } EXCEPT(Socket_Failed) {
 *         log_error("%s", Socket_GetLastError());
 *     } ELSE {
 *         RERAISE;
 *     } FINALLY {
 *         ...
 *     } END_TRY;
 *
 * Braces are not needed, and a part may begin with declarations. Nothing of this library raises by itself.
 *
 * EXCEPT(e)  for an exception that is `e` (an object, not a copy of it), or a copy whose `type` is that of `e`. Several of
 *            them are asked one after the other, then ELSE, which takes any.
 * FINALLY    runs after a TRY that went well, after an EXCEPT or ELSE, and before an exception that nobody took goes on;
 *            not if an EXCEPT or ELSE raises, and not if the TRY is left by return, break or goto.
 * RERAISE    in an EXCEPT or ELSE: the same exception goes on to the next TRY outside.
 * RETURN x;  leaves the TRY, works `x` out and returns it. A plain return, break, continue or goto leaves it as well, and so
 *            does a C++ exception (in C code if it is compiled with -fexceptions). The TRY itself is what a break or
 *            continue in it leaves.
 *
 * In an EXCEPT, Except_frame.exception->reason, Except_frame.file and Except_frame.line tell of it.
 *
 * A local variable that is changed in a TRY and read in its EXCEPT or FINALLY must be volatile, as with any setjmp
 * (C11 7.13.2.1): `Connection_T volatile conn = NULL;`. In C++ RAISE runs no destructors of what it jumps over.
 *
 * What nobody catches is printed on stderr, and the process aborts. Each thread has its own TRYs. */
#ifndef SOCKETPOOL_CORE_EXCEPT_H
#define SOCKETPOOL_CORE_EXCEPT_H

#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <socketpool/socketpool.h>

/* A TRY that has been entered. */
struct Except_Frame {
    struct Except_Frame *prev;
    jmp_buf env;
    const char *volatile file;
    volatile int line;
    const Except_T *volatile exception;
    volatile int state;
};

/* Where a TRY is: in its body; looking for whoever takes the exception; in an EXCEPT; or it is over. */
enum { Except_entered = 0, Except_raised, Except_handled, Except_finalized };

/* Without the signal mask, which would take a system call. */
#if defined(__linux__) && !defined(__GLIBC__)
#define SP_EXCEPT_SETJMP(env) setjmp(env)
#else
#define SP_EXCEPT_SETJMP(env) _setjmp(env)
#endif

/* However a TRY is left, it does not stay the innermost. */
#if defined(__GNUC__)
#define SP_EXCEPT_LEFT __attribute__((cleanup(sp_except_leave)))
#define SP_EXCEPT_NORETURN __attribute__((noreturn))
#else
#define SP_EXCEPT_LEFT
#define SP_EXCEPT_NORETURN
#endif

static inline void sp_except_enter(struct Except_Frame *frame)
{
    struct Except_Frame **top = sp_except_top();

    frame->prev = *top;
    frame->file = NULL;
    frame->line = 0;
    frame->exception = NULL;
    frame->state = Except_entered;
    *top = frame;
}

static inline void sp_except_leave(struct Except_Frame *frame)
{
    if (frame->state == Except_entered) {
        frame->state = Except_finalized;
        *sp_except_top() = frame->prev;
    }
}

/* Whether the exception that came to a TRY is this one. Told by the type of both, since a program that is linked with the
 * shared library may have a copy of its objects at another address. */
static inline int sp_except_is(const struct Except_Frame *frame, const Except_T *wanted)
{
    const Except_T *raised = frame->exception;

    return raised == wanted || (raised->type != NULL && (raised->type == wanted || raised->type == wanted->type));
}

static inline SP_EXCEPT_NORETURN void Except_raise(const Except_T *exception, const char *file, int line)
{
    struct Except_Frame **top = sp_except_top();
    struct Except_Frame *frame = *top;

    if (exception == NULL) {
        fprintf(stderr, "FATAL: NULL was raised as an exception at %s:%d\naborting...\n", file, line);
        abort();
    }
    if (frame == NULL) {
        fprintf(stderr, "Uncaught exception: %s raised at %s:%d\naborting...\n",
                exception->reason != NULL ? exception->reason : "(no reason)", file, line);
        abort();
    }
    frame->exception = exception;
    frame->file = file;
    frame->line = line;
    frame->state = Except_raised;
    *top = frame->prev;
    longjmp(frame->env, 1);
}

#define TRY \
    do { \
        struct Except_Frame Except_frame SP_EXCEPT_LEFT; \
        sp_except_enter(&Except_frame); \
        if (SP_EXCEPT_SETJMP(Except_frame.env) == 0) {

#define EXCEPT(e) \
            sp_except_leave(&Except_frame); \
        } else if (sp_except_is(&Except_frame, &(e))) { \
            Except_frame.state = Except_handled;

#define ELSE \
            sp_except_leave(&Except_frame); \
        } else { \
            Except_frame.state = Except_handled;

#define FINALLY \
            sp_except_leave(&Except_frame); \
        } \
        {

#define END_TRY \
            sp_except_leave(&Except_frame); \
        } \
        if (Except_frame.state == Except_raised) \
            Except_raise(Except_frame.exception, Except_frame.file, Except_frame.line); \
    } while (0)

#define RAISE(e) Except_raise(&(e), __FILE__, __LINE__)
#define RERAISE Except_raise(Except_frame.exception, Except_frame.file, Except_frame.line)
#define RETURN switch (sp_except_leave(&Except_frame), 0) default: return

#endif
