/* Convolutions as multiply-adds of long vectors.

   With padding k / 2 and stride s, a padded plane is cut into s x s phases: phase (a, b), a and b < s, holds the pixels
   (s u + a, s v + b). An output pixel (r, c) needs of phase (a % s, b % s) the pixel (r + a / s, c + b / s), for each
   tap (a, b) of the kernel. If output rows are stored as long as phase rows, that is a fixed distance for each tap. So
   a tap is one multiply-add of two long vectors, for every stride and for narrow planes too.

   The padding at the end of a row is also the padding at the start of the next row, and the padding below a plane is
   also the padding above the next image's. So small planes of several images follow each other in one vector. Outputs
   in the padding have no meaning and are not copied out. */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lanes.h"

enum {
    SLACK = 4 * LANES, /* floats beyond the end that whole vectors may access */
    MAX_KERNEL = 7,
    MAX_TAPS = MAX_KERNEL * MAX_KERNEL,
    MAX_STRIDE = 2,
    MAX_PHASES = MAX_STRIDE * MAX_STRIDE
};

typedef struct {
    int images, in_channels, out_channels, height, width, out_height, out_width;
    int kernel, stride, padding;
    int reach;         /* phase pixels that an output pixel needs beyond its own, on each axis */
    int rows, columns; /* of a phase, with the padding after them */
    int together;      /* images whose planes follow each other */
    int image;         /* floats from one of these images to the next */
    int margin;        /* floats of padding that are read before the first image and after the last */
    int phase;         /* floats from one phase to the next */
} Geometry;

/* `long_enough`: the number of floats that a vector should have at least. */
INLINE Geometry geometry_of(const int64_t *x, const int64_t *weight, const int64_t *y, int stride, int long_enough) {
    Geometry g = {.images = x[0], .in_channels = x[1], .out_channels = y[1], .height = x[2], .width = x[3],
                  .out_height = y[2], .out_width = y[3], .kernel = weight[2], .stride = stride};
    g.padding = g.kernel / 2;
    g.reach = (g.kernel - 1) / stride;
    g.rows = g.out_height + (g.reach + 1) / 2;
    g.columns = g.out_width + (g.reach + 1) / 2;
    g.image = g.rows * g.columns;
    g.together = (long_enough + g.image - 1) / g.image;
    if (g.together > g.images) g.together = g.images;
    g.margin = g.reach * (g.columns + 1);
    g.phase = g.together * g.image + 2 * g.margin + SLACK;
    return g;
}

static inline int at_most(int bound, int value) { return value < bound ? value : bound; }

/* Floats of a number of images, including padding. */
INLINE int pixels_of(const Geometry *g, int images) { return images * g->image; }

/* The offset of each tap's pixels in the phases of a plane. */
INLINE void tap_offsets(int *offsets, const Geometry *g, int kernel, int stride) {
    for (int a = 0; a < kernel; a++)
        for (int b = 0; b < kernel; b++) {
            const int phase = a % stride * stride + b % stride;
            offsets[a * kernel + b] = phase * g->phase + a / stride * g->columns + b / stride;
        }
}

/* The taps (a + stride u, b + stride v) of a kernel that contribute to the gradient of an input pixel of phase (a, b):
   their numbers, and the offsets of their pixels in dy with a margin before it. Returns their number. */
INLINE int taps_back(int *taps, int *offsets, const Geometry *g, int a, int b, int kernel, int stride) {
    int count = 0;
    for (int u = 0; a + u * stride < kernel; u++)
        for (int v = 0; b + v * stride < kernel; v++) {
            taps[count] = (a + u * stride) * kernel + b + v * stride;
            offsets[count++] = g->margin - u * g->columns - v;
        }
    return count;
}

INLINE int count_back(int a, int b, int kernel, int stride) {
    return ((kernel - a + stride - 1) / stride) * ((kernel - b + stride - 1) / stride);
}

/* The offset, in floats, of the pixels x, x + stride, ... of row y of a plane in its phases. */
INLINE int place_of(const Geometry *g, int y, int x, int stride) {
    const int row = y + g->padding, column = x + g->padding, phase = row % stride * stride + column % stride;
    return phase * g->phase + row / stride * g->columns + column / stride;
}

/* Cut a plane into phases; the padding is zero before and is never written. */
INLINE void cut(float *phases, const float *plane, const Geometry *g, int stride) {
    for (int y = 0; y < g->height; y++) {
        const float *row = plane + y * g->width;
        if (stride == 1) {
            copy(phases + place_of(g, y, 0, 1), row, g->width);
        } else {
            copy_every_second(phases + place_of(g, y, 0, 2), row, (g->width + 1) / 2);
            copy_every_second(phases + place_of(g, y, 1, 2), row + 1, g->width / 2);
        }
    }
}

/* Put the phases of a plane together again. */
INLINE void paste(float *plane, const float *phases, const Geometry *g, int stride) {
    for (int y = 0; y < g->height; y++) {
        float *row = plane + y * g->width;
        if (stride == 1) {
            copy(row, phases + place_of(g, y, 0, 1), g->width);
        } else {
            alternate(row, phases + place_of(g, y, 0, 2), phases + place_of(g, y, 1, 2), g->width);
        }
    }
}

/* Copy an output plane to rows with padding after them (lay_out), and back (take_up). */
INLINE void lay_out(float *rows, const float *plane, const Geometry *g) {
    for (int r = 0; r < g->out_height; r++) copy(rows + r * g->columns, plane + r * g->out_width, g->out_width);
}

INLINE void take_up(float *plane, const float *rows, const Geometry *g) {
    for (int r = 0; r < g->out_height; r++) copy(plane + r * g->out_width, rows + r * g->columns, g->out_width);
}

/* Zero the rows that are left from a larger group of images. */
INLINE void clear_rest(float *rows, const Geometry *g, int images) {
    if (images < g->together) memset(rows + images * g->image, 0, (g->together - images) * g->image * sizeof(float));
}

/* Return function(..., geometry, kernel, stride), compiled for the common sizes of a kernel. */
#define DISPATCH(function, ...)                                      \
    if (g.kernel > MAX_KERNEL) return 1;                             \
    switch (g.kernel) {                                              \
        case 1: return function(__VA_ARGS__, &g, 1, stride);         \
        case 3: return function(__VA_ARGS__, &g, 3, stride);         \
        case 5: return function(__VA_ARGS__, &g, 5, stride);         \
        default: return function(__VA_ARGS__, &g, g.kernel, stride); \
    }
