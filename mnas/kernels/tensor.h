/* Tensors whose lanes are channels.

   A tensor (N, C, H, W) is stored as blocks of eight channels, and a block as one vector for each pixel: image after
   image, row after row. So a vector operation works on eight channels of a pixel, whatever the size of the planes, and
   there are no incomplete vectors: channels that are missing in the last block are zero. */

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lanes.h"

enum { CACHE_LINE = 16 /* floats */ };

typedef struct {
    float *data;
    size_t block; /* floats from one block to the next */
    int images, channels, height, width;
} Tensor;

static inline int at_most(int bound, int value) { return value < bound ? value : bound; }

static inline int blocks_of(int channels) { return (channels + LANES - 1) / LANES; }

static inline size_t pixels_of(const Tensor *t) { return (size_t)t->images * t->height * t->width; }

/* The floats of all blocks. One cache line lies after each block: planes often have 2^n pixels, and without it the same
   pixel of all channels would share a few lines of the first cache. */
static inline size_t floats_of(int images, int channels, int height, int width) {
    return blocks_of(channels) * ((size_t)images * height * width * LANES + CACHE_LINE);
}

static inline Tensor tensor_of(float *data, int images, int channels, int height, int width) {
    return (Tensor){data, floats_of(images, 1, height, width), images, channels, height, width};
}

/* The same shape, stored elsewhere. */
static inline Tensor stored_at(float *data, const Tensor *shape) {
    Tensor t = *shape;
    t.data = data;
    return t;
}
