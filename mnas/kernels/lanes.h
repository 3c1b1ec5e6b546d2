/* Vectors of eight floats. Written by hand, because a compiler uses scalars for loops that are shorter than its
   unrolled vectors, such as those over the small planes near the end of a network. */

#pragma once

#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8 };

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }

INLINE void store(float *to, Lanes lanes) { *(Lanes *)to = lanes; }

/* The first `count` lanes (fewer than eight): load them from memory, keep them of lanes (the others become zero), and
   store them into memory. */

INLINE Mask mask_of_first(int count) {
    static const int32_t ones_and_zeros[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return *(const Mask *)(ones_and_zeros + LANES - count);
}

INLINE Lanes load_first(const float *from, int count) {
    return (Lanes)_mm256_maskload_ps(from, (__m256i)mask_of_first(count));
}

INLINE Lanes first_of(Lanes lanes, int count) { return (Lanes)((Mask)lanes & mask_of_first(count)); }

/* Stores in parts: AMD's masked store takes longer than all instructions before it. */
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

/* Copy a few floats; a call of memcpy takes longer than the copy itself. */
INLINE void copy(float *to, const float *from, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, load(from + i));
    if (i < count) store_first(to + i, load_first(from + i, count - i), count - i);
}

/* to[i] = from[2 i] */
INLINE void copy_every_second(float *to, const float *from, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        /* The second vector starts at an odd float, so that nothing is read beyond the last one. */
        const __m256 first = (__m256)load(from + 2 * i), second = (__m256)load(from + 2 * i + LANES - 1);
        const __m256d pairs = (__m256d)_mm256_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 2, 0));
        store(to + i, (Lanes)_mm256_permute4x64_pd(pairs, _MM_SHUFFLE(3, 1, 2, 0)));
    }
    for (; i < count; i++) to[i] = from[2 * i];
}

/* to = even[0], odd[0], even[1], odd[1], ... */
INLINE void alternate(float *to, const float *even, const float *odd, int count) {
    int i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        const __m256 evens = (__m256)load(even + i / 2), odds = (__m256)load(odd + i / 2);
        const __m256 low = _mm256_unpacklo_ps(evens, odds), high = _mm256_unpackhi_ps(evens, odds);
        store(to + i, (Lanes)_mm256_permute2f128_ps(low, high, 0x20));
        store(to + i + LANES, (Lanes)_mm256_permute2f128_ps(low, high, 0x31));
    }
    for (; i < count; i++) to[i] = i % 2 ? odd[i / 2] : even[i / 2];
}
