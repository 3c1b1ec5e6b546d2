/* Convolution over all channels, and its gradients: products of small matrices whose sums stay in registers. */

#include <string.h>

#include "window.h"

/* Sixteen registers have room for twelve sums and their factors. */
enum {
    PAIR = 2,
    PIXELS_OF_PAIR = 6, /* pixels at a time for two blocks of outputs */
    PIXELS_OF_ONE = 12, /* and for one block */
    TOGETHER = 240,     /* pixels that stay in a cache until all outputs have been computed; a multiple of both */
};

/* out[block] = sum over taps t and channels c of in[offsets[t]][c] weights[t][c][block]. */
INLINE void correlate_pixels(float *out, size_t out_block, const int *out_places, const float *in, size_t in_block,
                             const int *in_places, int channels, const Taps *taps, const float *weights, int pixels,
                             int blocks) {
    Lanes sums[PIXELS_OF_ONE][PAIR] = {{{0}}};
    const float *from[PIXELS_OF_ONE];
    for (int p = 0; p < pixels; p++) from[p] = in + in_places[p];
    for (int t = 0; t < taps->count; t++)
        for (int first = 0; first < channels; first += LANES) {
            const ptrdiff_t offset = taps->offsets[t] + (ptrdiff_t)(first / LANES * in_block);
            const int count = at_most(LANES, channels - first);
            for (int c = 0; c < count; c++, weights += blocks * LANES) {
                Lanes factors[PAIR];
                for (int b = 0; b < blocks; b++) factors[b] = load(weights + b * LANES);
                for (int p = 0; p < pixels; p++)
                    for (int b = 0; b < blocks; b++) sums[p][b] += from[p][offset + c] * factors[b];
            }
        }
    for (int p = 0; p < pixels; p++)
        for (int b = 0; b < blocks; b++) store(out + b * out_block + out_places[p], sums[p][b]);
}

/* The same for all pixels of a part and all blocks of outputs. */
static void correlate(const Part *part, int out_channels, int channels, const float *weights) {
    const Window out = part->out, in = part->in;
    const int pixels = pixels_of_grid(&part->grid), blocks = blocks_of(out_channels);
    const size_t of_block = (size_t)part->taps.count * channels * LANES;
    for (int first = 0; first < pixels; first += TOGETHER) {
        int in_places[TOGETHER], out_places[TOGETHER];
        const int count = at_most(TOGETHER, pixels - first);
        list_places(in_places, &in, &part->grid, first, count);
        list_places(out_places, &out, &part->grid, first, count);
        int block = 0;
        for (; block + PAIR <= blocks; block += PAIR)
            for (int p = 0; p < count; p += PIXELS_OF_PAIR)
                correlate_pixels(out.data + block * out.block, out.block, out_places + p, in.data, in.block,
                                 in_places + p, channels, &part->taps, weights + block * of_block, PIXELS_OF_PAIR,
                                 PAIR);
        for (; block < blocks; block++)
            for (int p = 0; p < count; p += PIXELS_OF_ONE)
                correlate_pixels(out.data + block * out.block, out.block, out_places + p, in.data, in.block,
                                 in_places + p, channels, &part->taps, weights + block * of_block, PIXELS_OF_ONE, 1);
    }
}

/* Pack weights as [pairs of output blocks][taps][inputs][outputs]; outputs missing in the last block are zero.
   `output_step` and `input_step` are the distances between channels. */
static void pack(float *packed, const float *weight, int outputs, int output_step, int inputs, int input_step,
                 const Taps *taps) {
    for (int block = 0, blocks; block < blocks_of(outputs); block += blocks) {
        blocks = at_most(PAIR, blocks_of(outputs) - block);
        for (int t = 0; t < taps->count; t++)
            for (int c = 0; c < inputs; c++)
                for (int o = block * LANES; o < (block + blocks) * LANES; o++)
                    *packed++ = o < outputs ? weight[o * output_step + c * input_step + taps->numbers[t]] : 0;
    }
}

static size_t packed_floats(int outputs, int inputs, int taps) {
    return (size_t)blocks_of(outputs) * LANES * inputs * taps;
}

/* A convolution of single pixels is the same for planes of any form: of all pixels in one row. */
static Tensor in_one_row(const Tensor *t) {
    Tensor row = *t;
    row.width = pixels_of(t);
    row.images = row.height = 1;
    return row;
}

int convolve(const Tensor *x, const float *weight, const Tensor *y, Shape shape) {
    if (shape.kernel == 1 && shape.stride == 1 && x->images * x->height > 1) {
        const Tensor x_row = in_one_row(x), y_row = in_one_row(y);
        return convolve(&x_row, weight, &y_row, shape);
    }
    const Geometry g = geometry_of(x, y, shape);
    const int blocks = blocks_of(x->channels), all_taps = shape.kernel * shape.kernel;
    const Border border = border_of_x(&g, x->images, blocks, g.kernel > 1);
    const size_t weights = packed_floats(y->channels, x->channels, g.kernel * g.kernel);
    float *packed = calloc(weights + border.floats, sizeof(float));
    if (packed == NULL) return 1;
    for (int image = 0; image < x->images; image += border.together) {
        const int images = at_most(border.together, x->images - image);
        const Window in = surround(&border, packed + weights, x, image, images, 0, blocks);
        const Part whole = whole_of(&g, images, window_of(y, image), in);
        if (image == 0) pack(packed, weight, y->channels, x->channels * all_taps, x->channels, all_taps, &whole.taps);
        correlate(&whole, y->channels, x->channels, packed);
    }
    free(packed);
    return 0;
}

/* dx: a convolution of dy with inputs and outputs exchanged, for each phase. */
static int differentiate_input(const Geometry *g, const float *weight, const Tensor *dy, const Tensor *dx) {
    const int all_taps = g->full_kernel * g->full_kernel, blocks = blocks_of(dy->channels);
    const Border border = border_of_dy(g, dy->images, blocks, g->kernel > 1 || g->stride > 1);
    const size_t weights = packed_floats(dx->channels, dy->channels, g->kernel * g->kernel);
    float *packed = calloc(weights + border.floats, sizeof(float));
    if (packed == NULL) return 1;
    for (int image = 0; image < dy->images; image += border.together) {
        const int images = at_most(border.together, dy->images - image);
        const Window in = surround(&border, packed + weights, dy, image, images, 0, blocks);
        float *own = packed; /* the weights of a phase */
        for (int i = 0; i < g->stride * g->stride; i++) {
            const Part phase = phase_of(g, i / g->stride, i % g->stride, images, window_of(dx, image), in);
            if (image == 0)
                pack(own, weight, dx->channels, all_taps, dy->channels, dx->channels * all_taps, &phase.taps);
            correlate(&phase, dx->channels, dy->channels, own);
            own += packed_floats(dx->channels, dy->channels, phase.taps.count);
        }
    }
    free(packed);
    return 0;
}

/* sums[output][block] += sum over pixels of dy[output] x[block], for `outputs` channels of dy from number `first` on.
   If there are fewer, the last one is repeated, and its products are not used. */
INLINE void multiply_pixels(float *sums, int sums_of_output, const Window *dy, const int *dy_places, int first,
                            int channels, const float *x, size_t x_block, const int *x_places, int pixels, int outputs,
                            int blocks) {
    Lanes own[LANES][PAIR] = {{{0}}};
    const float *slopes[LANES];
    for (int o = 0; o < outputs; o++) {
        const int channel = at_most(channels - 1, first + o);
        slopes[o] = dy->data + channel / LANES * dy->block + channel % LANES;
    }
    for (int p = 0; p < pixels; p++) {
        Lanes factors[PAIR];
        for (int b = 0; b < blocks; b++) factors[b] = load(x + b * x_block + x_places[p]);
        for (int o = 0; o < outputs; o++)
            for (int b = 0; b < blocks; b++) own[o][b] += slopes[o][dy_places[p]] * factors[b];
    }
    for (int o = 0; o < outputs && first + o < channels; o++)
        for (int b = 0; b < blocks; b++) {
            float *sum = sums + (first + o) * sums_of_output + b * LANES;
            store(sum, load(sum) + own[o][b]);
        }
}

/* The same for all channels; as many sums as fit the registers at a time. */
static void multiply(float *sums, int sums_of_output, const Window *dy, const int *dy_places, int channels,
                     const float *x, size_t x_block, const int *x_places, int pixels, int blocks) {
    int block = 0;
    for (; block + PAIR <= blocks; block += PAIR, sums += PAIR * LANES, x += PAIR * x_block) {
        int o = 0;
        for (; o + 6 <= channels; o += 6)
            multiply_pixels(sums, sums_of_output, dy, dy_places, o, channels, x, x_block, x_places, pixels, 6, PAIR);
        for (; o < channels; o += 4)
            multiply_pixels(sums, sums_of_output, dy, dy_places, o, channels, x, x_block, x_places, pixels, 4, PAIR);
    }
    if (block < blocks)
        for (int o = 0; o < channels; o += LANES)
            multiply_pixels(sums, sums_of_output, dy, dy_places, o, channels, x, x_block, x_places, pixels, LANES, 1);
}

/* sums[tap] += the products of all channels at this tap, for the pixels of a part. */
static void multiply_part(float *sums, int sums_of_tap, int sums_of_output, const Part *part, int channels,
                          int blocks) {
    const int pixels = pixels_of_grid(&part->grid);
    for (int first = 0; first < pixels; first += TOGETHER) {
        int x_places[TOGETHER], dy_places[TOGETHER];
        const int count = at_most(TOGETHER, pixels - first);
        list_places(x_places, &part->in, &part->grid, first, count);
        list_places(dy_places, &part->out, &part->grid, first, count);
        for (int t = 0; t < part->taps.count; t++)
            multiply(sums + t * sums_of_tap, sums_of_output, &part->out, dy_places, channels,
                     part->in.data + part->taps.offsets[t], part->in.block, x_places, count, blocks);
    }
}

static int differentiate_weight(const Geometry *g, const Tensor *x, const Tensor *dy, float *dweight) {
    const int blocks = blocks_of(x->channels), all_taps = g->full_kernel * g->full_kernel;
    const Border border = border_of_x(g, x->images, blocks, g->kernel > 1);
    const int of_output = blocks * LANES, of_tap = dy->channels * of_output;
    const size_t all_sums = (size_t)g->kernel * g->kernel * of_tap;
    float *sums = calloc(all_sums + border.floats, sizeof(float));
    if (sums == NULL) return 1;
    memset(dweight, 0, (size_t)dy->channels * x->channels * all_taps * sizeof(float));
    Part whole;
    for (int image = 0; image < x->images; image += border.together) {
        const int images = at_most(border.together, x->images - image);
        const Window in = surround(&border, sums + all_sums, x, image, images, 0, blocks);
        whole = whole_of(g, images, window_of(dy, image), in);
        multiply_part(sums, of_tap, of_output, &whole, dy->channels, blocks);
    }
    for (int o = 0; o < dy->channels; o++)
        for (int c = 0; c < x->channels; c++)
            for (int t = 0; t < whole.taps.count; t++)
                dweight[((size_t)o * x->channels + c) * all_taps + whole.taps.numbers[t]] =
                    sums[t * of_tap + o * of_output + c];
    free(sums);
    return 0;
}

int differentiate_convolution(const Tensor *x, const float *weight, const Tensor *dy, const Tensor *dx, float *dweight,
                              Shape shape) {
    if (shape.kernel == 1 && shape.stride == 1 && x->images * x->height > 1) {
        const Tensor x_row = in_one_row(x), dy_row = in_one_row(dy), dx_row = in_one_row(dx ? dx : x);
        return differentiate_convolution(&x_row, weight, &dy_row, dx ? &dx_row : NULL, dweight, shape);
    }
    const Geometry g = geometry_of(x, dy, shape);
    if (dx && differentiate_input(&g, weight, dy, dx)) return 1;
    return differentiate_weight(&g, x, dy, dweight);
}
