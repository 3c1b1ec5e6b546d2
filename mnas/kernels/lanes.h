/* Eight floats at a time. Written out, since a compiler leaves loops that are shorter than its unrolled vectors, those
   over the small planes at a network's end, to scalars. */

#pragma once

#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8 };

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }

INLINE void store(float *to, Lanes lanes) { *(Lanes *)to = lanes; }

/* The first `count` lanes, fewer than eight: of memory, of lanes (the others are zero), and into memory. */

INLINE Mask mask_of_first(int count) {
    static const int32_t ones_and_zeros[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return *(const Mask *)(ones_and_zeros + LANES - count);
}

INLINE Lanes load_first(const float *from, int count) {
    return (Lanes)_mm256_maskload_ps(from, (__m256i)mask_of_first(count));
}

INLINE Lanes first_of(Lanes lanes, int count) { return (Lanes)((Mask)lanes & mask_of_first(count)); }

/* In parts: AMD's masked store takes longer than all that comes before it. */
INLINE void store_first(float *to, Lanes lanes, int count) {
    __m128 part = _mm256_castps256_ps128((__m256)lanes);
    if (count & 4) {
        _mm_storeu_ps(to, part);
        part = _mm256_extractf128_ps((__m256)lanes, 1);
        to += 4;
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)to, part);
        part = _mm_movehl_ps(part, part);
        to += 2;
    }
    if (count & 1) _mm_store_ss(to, part);
}

INLINE Lanes choose(Mask mask, Lanes yes, Lanes no) { return (Lanes)((mask & (Mask)yes) | (~mask & (Mask)no)); }

INLINE float sum_of(Lanes lanes) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

/* Copy a few floats; a call of memcpy takes longer than the copy. */
INLINE void copy(float *to, const float *from, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
    if (i < count) store_first(to + i, load_first(from + i, count - i), count - i);
}
