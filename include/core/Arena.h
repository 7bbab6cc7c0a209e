/* Arenas: what is made in one lives as long as it does.
 *
 *     Arena_T Arena_new(void);
 *     void Arena_dispose(Arena_T *arena);
 *
 * An arena owns how long pools, buffers and protections live, not memory of yours. Where one is asked for, NULL is the
 * process. */
#ifndef SOCKETPOOL_CORE_ARENA_H
#define SOCKETPOOL_CORE_ARENA_H

#include <socketpool/socketpool.h>

#endif
