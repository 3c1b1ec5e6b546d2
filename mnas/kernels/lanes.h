/* Vectors of eight floats, by the extensions of GCC and Clang that exist on every processor. */

#pragma once

#include <stdint.h>

enum { LANES = 8 };

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }

INLINE void store(float *to, Lanes lanes) { *(Lanes *)to = lanes; }

INLINE Lanes choose(Mask mask, Lanes yes, Lanes no) { return (Lanes)((mask & (Mask)yes) | (~mask & (Mask)no)); }

/* The first `count` floats, at most eight; the other lanes are zero. */
INLINE Lanes load_first(const float *from, int count) {
    Lanes lanes = {0};
    for (int i = 0; i < count && i < LANES; i++) lanes[i] = from[i];
    return lanes;
}

INLINE void store_first(float *to, Lanes lanes, int count) {
    for (int i = 0; i < count && i < LANES; i++) to[i] = lanes[i];
}
