/* Convolutions as multiply-adds of long vectors.

   With padding k / 2 and stride s, a padded plane is cut into s x s phases: phase (a, b), a and b < s, holds the pixels
   (s u + a, s v + b). An output pixel (r, c) needs of phase (a % s, b % s) the pixel (r + a / s, c + b / s), for each
   tap (a, b) of the kernel. Where output rows are laid out as long as phase rows, that is a fixed distance for each
   tap, so that a tap is one multiply-add of two long vectors, whatever the stride and however narrow the plane.

   What pads a row at its end pads the next one at its start, and what pads a plane below pads the next image's above:
   small planes of several images follow each other in one vector. Outputs in the padding mean nothing and are left
   behind. */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lanes.h"

enum {
    SLACK = 4 * LANES, /* floats beyond the end that whole vectors may reach */
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
    int image;         /* floats from one of them to the next */
    int margin;        /* what is read of the padding before the first and after the last */
    int phase;         /* floats from one phase to the next */
} Geometry;

/* `long_enough`: so many floats as the vectors should have at least. */
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

/* Floats of so many images, padding and all. */
INLINE int pixels_of(const Geometry *g, int images) { return images * g->image; }

/* Where each tap's pixels are in the phases of a plane. */
INLINE void tap_offsets(int *offsets, const Geometry *g, int kernel, int stride) {
    for (int a = 0; a < kernel; a++)
        for (int b = 0; b < kernel; b++) {
            const int phase = a % stride * stride + b % stride;
            offsets[a * kernel + b] = phase * g->phase + a / stride * g->columns + b / stride;
        }
}

/* The taps (a + stride u, b + stride v) of a kernel, of which an input pixel of phase (a, b) is made: their numbers,
   and where their pixels are in dy with a margin before it. Returns how many there are. */
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

/* Where the pixels x, x + stride, ... of row y of a plane are in its phases: floats from their start. */
INLINE int place_of(const Geometry *g, int y, int x, int stride) {
    const int row = y + g->padding, column = x + g->padding, phase = row % stride * stride + column % stride;
    return phase * g->phase + row / stride * g->columns + column / stride;
}

/* Cut a plane into phases; the padding is zero from the start, and never written. */
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

/* Output planes, to rows with padding after them and back. */
INLINE void lay_out(float *rows, const float *plane, const Geometry *g) {
    for (int r = 0; r < g->out_height; r++) copy(rows + r * g->columns, plane + r * g->out_width, g->out_width);
}

INLINE void take_up(float *plane, const float *rows, const Geometry *g) {
    for (int r = 0; r < g->out_height; r++) copy(plane + r * g->out_width, rows + r * g->columns, g->out_width);
}

/* Zero what a group of more images has left behind in rows. */
INLINE void clear_rest(float *rows, const Geometry *g, int images) {
    if (images < g->together) memset(rows + images * g->image, 0, (g->together - images) * g->image * sizeof(float));
}

/* Return what function(..., geometry, kernel, stride) returns, compiled for the common sizes of a kernel. */
#define DISPATCH(function, ...)                                      \
    if (g.kernel > MAX_KERNEL) return 1;                             \
    switch (g.kernel) {                                              \
        case 1: return function(__VA_ARGS__, &g, 1, stride);         \
        case 3: return function(__VA_ARGS__, &g, 3, stride);         \
        case 5: return function(__VA_ARGS__, &g, 5, stride);         \
        default: return function(__VA_ARGS__, &g, g.kernel, stride); \
    }
