/* Depthwise convolution and its gradients, one block of channels after the other. */

#include <string.h>

#include "window.h"

enum {
    PIXELS = 6,   /* whose sums are in registers */
    AT_ONCE = 10, /* taps whose sums are in registers in the gradient of the weights */
};

INLINE void correlate_pixels(float *out, const int *out_places, const float *in, const int *in_places, const Taps *taps,
                             const Lanes *weights) {
    Lanes sums[PIXELS] = {{0}};
    const float *from[PIXELS];
    for (int p = 0; p < PIXELS; p++) from[p] = in + in_places[p];
    for (int t = 0; t < taps->count; t++)
        for (int p = 0; p < PIXELS; p++) sums[p] += weights[t] * load(from[p] + taps->offsets[t]);
    for (int p = 0; p < PIXELS; p++) store(out + out_places[p], sums[p]);
}

/* The weights of a block of channels, a vector for each of the taps. */
static void pack(Lanes *packed, const float *weight, int first, int channels, int all_taps, const Taps *taps) {
    for (int t = 0; t < taps->count; t++)
        for (int c = 0; c < LANES; c++)
            packed[t][c] = first + c < channels ? weight[(first + c) * all_taps + taps->numbers[t]] : 0;
}

static void correlate(Window out, Window in, Grid grid, const Taps *taps, const Lanes *weights) {
    const int pixels = grid.images * grid.rows * grid.columns;
    for (int first = 0; first < pixels; first += TOGETHER) {
        int in_places[TOGETHER], out_places[TOGETHER];
        const int count = list_places(in_places, &in, &grid, first);
        list_places(out_places, &out, &grid, first);
        for (int p = 0; p < count; p += PIXELS)
            correlate_pixels(out.data, out_places + p, in.data, in_places + p, taps, weights);
    }
}

int convolve_depthwise(const Tensor *x, const float *weight, const Tensor *y, Shape shape) {
    const Geometry g = geometry_of(x, y, shape);
    const int together = images_together(x->images, 1, g.rows, g.columns);
    float *padded = calloc(padded_floats(together, g.rows, g.columns), sizeof(float));
    if (padded == NULL) return 1;
    const Taps taps = taps_of(&g, g.columns * LANES);
    for (int block = 0; block < blocks_of(x->channels); block++) {
        Lanes weights[MAX_TAPS];
        pack(weights, weight, block * LANES, x->channels, shape.kernel * shape.kernel, &taps);
        for (int image = 0; image < x->images; image += together) {
            const int images = at_most(together, x->images - image);
            Window in = pad(padded, x, together, image, images, block, 1, g.padding, g.rows, g.columns);
            in.row *= g.stride;
            in.column *= g.stride;
            Window out = window_of(y, image);
            out.data += block * out.block;
            correlate(out, in, (Grid){images, g.out_height, g.out_width}, &taps, weights);
        }
    }
    free(padded);
    return 0;
}

/* sums[t] += the product of dy and x at each tap, over the pixels. */
INLINE void multiply_pixels(Lanes *sums, const float *dy, const int *dy_places, const float *x, const int *x_places,
                            int pixels, const int *offsets, int taps) {
    Lanes own[AT_ONCE] = {{0}};
    for (int p = 0; p < pixels; p++) {
        const Lanes slope = load(dy + dy_places[p]);
        for (int t = 0; t < taps; t++) own[t] += slope * load(x + x_places[p] + offsets[t]);
    }
    for (int t = 0; t < taps; t++) sums[t] += own[t];
}

static void multiply(Lanes *sums, Window dy, Window x, Grid grid, const Taps *taps) {
    const int pixels = grid.images * grid.rows * grid.columns;
    for (int first = 0; first < pixels; first += TOGETHER) {
        int x_places[TOGETHER], dy_places[TOGETHER];
        const int count = list_places(x_places, &x, &grid, first);
        list_places(dy_places, &dy, &grid, first);
        int t = 0;
        for (; t + AT_ONCE <= taps->count; t += AT_ONCE)
            multiply_pixels(sums + t, dy.data, dy_places, x.data, x_places, count, taps->offsets + t, AT_ONCE);
        for (int at_once; t < taps->count; t += at_once) {
            at_once = taps->count - t >= 5 ? 5 : 1;
            if (at_once == 5) {
                multiply_pixels(sums + t, dy.data, dy_places, x.data, x_places, count, taps->offsets + t, 5);
            } else {
                multiply_pixels(sums + t, dy.data, dy_places, x.data, x_places, count, taps->offsets + t, 1);
            }
        }
    }
}

int differentiate_depthwise(const Tensor *x, const float *weight, const Tensor *dy, const Tensor *dx, float *dweight,
                            Shape shape) {
    const Geometry g = geometry_of(x, dy, shape);
    const int all_taps = shape.kernel * shape.kernel, together = images_together(x->images, 2, g.rows, g.columns);
    const size_t of_x = padded_floats(together, g.rows, g.columns);
    float *padded = calloc(of_x + padded_floats(together, g.back_rows, g.back_columns), sizeof(float));
    if (padded == NULL) return 1;
    const Taps taps = taps_of(&g, g.columns * LANES);
    memset(dweight, 0, (size_t)x->channels * all_taps * sizeof(float));
    for (int block = 0; block < blocks_of(x->channels); block++) {
        Lanes sums[MAX_TAPS] = {{0}};
        for (int image = 0; image < x->images; image += together) {
            const int images = at_most(together, x->images - image);
            Window in = pad(padded, x, together, image, images, block, 1, g.padding, g.rows, g.columns);
            in.row *= g.stride;
            in.column *= g.stride;
            Window out = window_of(dy, image);
            out.data += block * out.block;
            multiply(sums, out, in, (Grid){images, g.out_height, g.out_width}, &taps);
            if (dx == NULL) continue;
            const Window padded_dy =
                pad(padded + of_x, dy, together, image, images, block, 1, g.margin, g.back_rows, g.back_columns);
            Window back = window_of(dx, image);
            back.data += block * back.block;
            for (int a = 0; a < g.stride; a++)
                for (int b = 0; b < g.stride; b++) {
                    const Phase phase = phase_of(&g, a, b, images, back, padded_dy);
                    Lanes weights[MAX_TAPS];
                    pack(weights, weight, block * LANES, x->channels, all_taps, &phase.taps);
                    correlate(phase.dx, phase.dy, phase.grid, &phase.taps, weights);
                }
        }
        for (int t = 0; t < taps.count; t++)
            for (int c = 0; c < at_most(LANES, x->channels - block * LANES); c++)
                dweight[(block * LANES + c) * all_taps + taps.numbers[t]] = sums[t][c];
    }
    free(padded);
    return 0;
}
