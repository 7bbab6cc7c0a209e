/* The other file: what is raised here is caught there. */
#include "except.h"

#ifdef __cplusplus
extern "C" const Except_T Full = {&Full, "full"};
#else
const Except_T Full = {&Full, "full"};
#endif

void raise_elsewhere(int which)
{
    switch (which) {
    case 0:
        RAISE(Socket_Failed);
    case 1:
        RAISE(SocketPool_Failed);
    case 2:
        RAISE(Full);
    default:
        break;
    }
}

const Except_T *address_elsewhere(int which)
{
    return which == 0 ? &Socket_Failed : which == 1 ? &SocketPool_Failed : &Full;
}

void raise_after_its_own_try(void)
{
    TRY
        raise_elsewhere(0);
    EXCEPT(Socket_Failed)
        raise_elsewhere(1);
    END_TRY;
}
