/* What the programs of the tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>

#include <socketpool/socketpool.h>

static int failures = 0;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, sp_last_error()); \
            failures++; \
        } \
    } while (0)

#endif
