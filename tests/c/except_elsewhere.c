/* Raises from another translation unit than the one that catches. */
#include "core/Except.h"

void raise_elsewhere(const Except_T *which);

void raise_elsewhere(const Except_T *which)
{
    Except_raise(which, __FILE__, __LINE__);
}
