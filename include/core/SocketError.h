/* What went wrong in the last call of this thread that failed.
 *
 *     const char *Socket_GetLastError(void);         the function, the argument and the reason; never NULL
 *     int Socket_geterrno(void);                     the errno that belongs to it
 *     const char *Socket_safe_strerror(int errnum);  what an errno means, from any thread */
#ifndef SOCKETPOOL_CORE_SOCKETERROR_H
#define SOCKETPOOL_CORE_SOCKETERROR_H

#include <socketpool/socketpool.h>

#endif
