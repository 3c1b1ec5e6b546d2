/* Convolutions as multiply-adds at pixels that are listed by their places.

   An output pixel needs, for each tap of the kernel, the input pixel at a fixed distance from the first. With a border
   of zeros around the images that is true for each stride and at each edge. So a convolution lists the places of some
   output pixels and of their first input pixels, and a few of them at a time are multiplied by all taps, with sums that
   stay in registers. These few may be of several rows and images: small planes cost no more than large ones. */

#pragma once

#include <stdbool.h>
#include <stdlib.h>

#include "layers.h"

enum {
    MAX_KERNEL = 7,
    MAX_TAPS = MAX_KERNEL * MAX_KERNEL,
    MAX_PHASES = 4,           /* of stride 2 */
    MOST_AT_ONCE = 12,        /* pixels whose sums are in registers */
    BORDERED_FLOATS = 1 << 16 /* that stay in the second cache */
};

/* Where the pixels of some images are: the first one, and the distances from one to the next on each axis. */
typedef struct {
    float *data;
    size_t block;
    int image, row, column;
} Window;

typedef struct {
    int images, rows, columns;
} Grid;

static inline int pixels_of_grid(const Grid *grid) { return grid->images * grid->rows * grid->columns; }

/* List the places of `count` pixels of a grid from number `first` on, relative to the window's first. The last one is
   repeated up to a multiple of MOST_AT_ONCE. */
static inline void list_places(int *places, const Window *w, const Grid *grid, int first, int count) {
    int c = first % grid->columns, r = first / grid->columns % grid->rows, n = first / grid->columns / grid->rows;
    int i = 0;
    while (i < count) {
        const int run = at_most(grid->columns - c, count - i), start = n * w->image + r * w->row + c * w->column;
        for (int p = 0; p < run; p++) places[i + p] = start + p * w->column;
        i += run;
        c = 0;
        if (++r == grid->rows) r = 0, n++;
    }
    for (; i % MOST_AT_ONCE != 0; i++) places[i] = places[count - 1];
}

/* Some taps of a kernel: their numbers, and the distances of their pixels from the one that all are relative to. */
typedef struct {
    int count, numbers[MAX_TAPS], offsets[MAX_TAPS];
} Taps;

static inline void add_tap(Taps *taps, int number, int offset) {
    taps->numbers[taps->count] = number;
    taps->offsets[taps->count++] = offset;
}

/* A convolution of planes. */
typedef struct {
    int kernel;  /* without the outer taps that only meet padding, because planes are smaller than the kernel */
    int skipped; /* such taps at each side */
    int full_kernel, stride, padding;
    int height, width, out_height, out_width;
} Geometry;

static inline Geometry geometry_of(const Tensor *x, const Tensor *y, Shape shape) {
    Geometry g = {.full_kernel = shape.kernel, .stride = shape.stride, .height = x->height, .width = x->width,
                  .out_height = y->height, .out_width = y->width};
    const int largest = x->height > x->width ? x->height : x->width;
    g.padding = at_most(largest - 1, shape.kernel / 2);
    g.skipped = shape.kernel / 2 - g.padding;
    g.kernel = 2 * g.padding + 1;
    return g;
}

static inline Window strided(Window w, int stride) {
    w.row *= stride;
    w.column *= stride;
    return w;
}

/* The window of a whole tensor from an image on. */
static inline Window window_of(const Tensor *t, int image) {
    const int row = t->width * LANES, plane = t->height * row;
    return (Window){t->data + (size_t)image * plane, t->block, plane, row, LANES};
}

/* A border of zeros around images, for as many images at a time as stay in a cache. Without one, all images are used
   where they are. */
typedef struct {
    bool needed;
    int before, rows, columns; /* pixels before an image, and those of an image with its border */
    int together;              /* images at a time */
    size_t block, floats;      /* of the copy: from one block to the next, and in all */
} Border;

static inline Border border_of(bool needed, int before, int rows, int columns, int images, int blocks) {
    if (!needed) return (Border){.rows = rows, .columns = columns, .together = images};
    const int fitting = BORDERED_FLOATS / (blocks * rows * columns * LANES), some = fitting < 1 ? 1 : fitting;
    Border b = {true, before, rows, columns, at_most(images, some), 0, 0};
    b.block = (size_t)b.together * rows * columns * LANES + CACHE_LINE;
    b.floats = blocks * b.block;
    return b;
}

/* Where the images are within their border. */
static inline Window within(const Border *b, float *copy) {
    const int row = b->columns * LANES;
    return (Window){copy + b->before * (row + LANES), b->block, b->rows * row, row, LANES};
}

/* Copy blocks of images into their border, which is zero before and is never written; nothing if they need none.
   Returns where the images are then. */
static inline Window surround(const Border *b, float *copy, const Tensor *t, int image, int images, int block,
                              int blocks) {
    const Window from = window_of(t, image);
    if (!b->needed) return from;
    const Window to = within(b, copy);
    for (int i = 0; i < blocks; i++)
        for (int n = 0; n < images; n++)
            for (int r = 0; r < t->height; r++) {
                const float *in = from.data + (block + i) * from.block + (size_t)n * from.image + r * from.row;
                float *out = to.data + i * to.block + (size_t)n * to.image + r * to.row;
                for (int c = 0; c < t->width; c++) store(out + c * LANES, load(in + c * LANES));
            }
    return to;
}

/* The borders of x and dy. */
static inline Border border_of_x(const Geometry *g, int images, int blocks, bool needed) {
    const int rows = g->height + 2 * g->padding, columns = g->width + 2 * g->padding;
    return border_of(needed, g->padding, rows, columns, images, blocks);
}

static inline Border border_of_dy(const Geometry *g, int images, int blocks, bool needed) {
    const int before = (g->kernel - 1) / g->stride;
    const int rows = before + (g->height - 1 + g->padding) / g->stride + 1;
    const int columns = before + (g->width - 1 + g->padding) / g->stride + 1;
    return border_of(needed, before, rows, columns, images, blocks);
}

/* A part of a convolution: output pixels, and for each of them the input pixel that all taps are relative to. */
typedef struct {
    Grid grid;
    Window out, in;
    Taps taps;
} Part;

/* All of a convolution. */
static inline Part whole_of(const Geometry *g, int images, Window y, Window x) {
    Part whole = {.grid = {images, g->out_height, g->out_width}, .out = y, .in = strided(x, g->stride)};
    for (int a = 0; a < g->kernel; a++)
        for (int b = 0; b < g->kernel; b++) {
            const int number = (a + g->skipped) * g->full_kernel + b + g->skipped;
            add_tap(&whole.taps, number, (a - g->padding) * x.row + (b - g->padding) * x.column);
        }
    return whole;
}

/* A part of the gradient dx: the pixels (y, x) with (y + padding) % stride = a, and b likewise. Each of them gets from
   dy by the taps (a + u stride, b + v stride). */
static inline Part phase_of(const Geometry *g, int a, int b, int images, Window dx, Window dy) {
    const int s = g->stride, y = (a + s * g->padding - g->padding) % s, x = (b + s * g->padding - g->padding) % s;
    Part phase = {.grid = {images, (g->height - y + s - 1) / s, (g->width - x + s - 1) / s},
                  .out = strided(dx, s), .in = dy};
    phase.out.data += y * dx.row + x * dx.column;
    phase.in.data += (y + g->padding) / s * dy.row + (x + g->padding) / s * dy.column;
    for (int u = 0; a + u * s < g->kernel; u++)
        for (int v = 0; b + v * s < g->kernel; v++) {
            const int number = (a + u * s + g->skipped) * g->full_kernel + b + v * s + g->skipped;
            add_tap(&phase.taps, number, -u * dy.row - v * dy.column);
        }
    return phase;
}
