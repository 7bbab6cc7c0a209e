/* Exceptions for C: TRY, EXCEPT, ELSE, FINALLY, END_TRY, RAISE, RERAISE, RETURN.
 *
 *     Connection_T volatile conn = NULL;
 *
 *     TRY {
 *         conn = SocketPool_add(pool, client);
 *         if (!conn)
 *             RAISE(Socket_Failed);
 *     } EXCEPT (Socket_Failed) {
 *         ...
 *     } FINALLY {
 *         ...
 *     } END_TRY;
 *
 * They are _setjmp and longjmp, without the signal mask. What a function changes after TRY and reads in EXCEPT, ELSE or
 * FINALLY must be volatile, or an optimising compiler may show its value of before.
 *
 * EXCEPT(e) takes the exceptions of which `e` is the kind, by its address; ELSE takes any; FINALLY runs after the body, after
 * a handler, and before an exception that nobody here takes goes on outward. A handler that raises goes outward at once.
 * RERAISE, in a handler, raises again what it handles. Leave a TRY by RETURN, not by return or goto: RETURN leaves the one TRY
 * that it stands in, and skips FINALLY. An exception that nobody takes ends the program with its text on stderr.
 *
 * Nothing here raises by itself. In a handler, Except_frame.exception->reason, .file and .line tell what was raised where. */

#ifndef SOCKETPOOL_CORE_EXCEPT_H
#define SOCKETPOOL_CORE_EXCEPT_H

#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "../socketpool/socketpool.h"

struct Except_Frame {
    struct Except_Frame *prev;
    jmp_buf env;
    const char *file;
    int line;
    const Except_T *exception;
};

enum { Except_entered = 0, Except_raised, Except_handled, Except_finalized };

static inline void Except_enter(struct Except_Frame *frame)
{
    struct Except_Frame **top = sp_except_top();

    frame->prev = *top;
    frame->file = NULL;
    frame->line = 0;
    frame->exception = NULL;
    *top = frame;
}

/* Leaves a frame that nothing was raised to. */
static inline void Except_leave(struct Except_Frame *frame)
{
    struct Except_Frame **top = sp_except_top();

    if (*top == frame)
        *top = frame->prev;
}

#ifdef __GNUC__
__attribute__((__noreturn__))
#endif
static inline void Except_raise(const Except_T *exception, const char *file, int line)
{
    struct Except_Frame **top = sp_except_top(), *frame = *top;

    if (exception == NULL || frame == NULL) {
        fprintf(stderr, "Uncaught exception: %s raised at %s:%d\naborting...\n",
                exception != NULL && exception->reason != NULL ? exception->reason : "(none)",
                file != NULL ? file : "?", line);
        abort();
    }
    frame->exception = exception;
    frame->file = file;
    frame->line = line;
    /* What a handler raises goes outward. */
    *top = frame->prev;
    longjmp(frame->env, Except_raised);
}

#define TRY \
    do { \
        volatile int Except_flag = Except_entered; \
        struct Except_Frame Except_frame; \
        Except_enter(&Except_frame); \
        if (_setjmp(Except_frame.env) != 0) \
            Except_flag = Except_raised; \
        if (Except_flag == Except_entered) {

#define EXCEPT(e) \
            if (Except_flag == Except_entered) \
                Except_leave(&Except_frame); \
        } else if (Except_flag == Except_raised && Except_frame.exception->type == &(e)) { \
            Except_flag = Except_handled;

#define ELSE \
            if (Except_flag == Except_entered) \
                Except_leave(&Except_frame); \
        } else { \
            Except_flag = Except_handled;

#define FINALLY \
            if (Except_flag == Except_entered) \
                Except_leave(&Except_frame); \
        } \
        { \
            if (Except_flag == Except_entered) \
                Except_flag = Except_finalized;

#define END_TRY \
            if (Except_flag == Except_entered) \
                Except_leave(&Except_frame); \
        } \
        if (Except_flag == Except_raised) \
            Except_raise(Except_frame.exception, Except_frame.file, Except_frame.line); \
    } while (0)

#define RAISE(e) Except_raise(&(e), __FILE__, __LINE__)
#define RERAISE Except_raise(Except_frame.exception, Except_frame.file, Except_frame.line)
#define RETURN for (Except_leave(&Except_frame);;) return

#endif
