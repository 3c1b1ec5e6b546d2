/* Depthwise convolution and its gradients, one block of channels after the other. */

#include <string.h>

#include "window.h"

enum { PIXELS = 6 /* whose sums are in registers */ };

/* Places of pixels and of those that are multiplied with them, the same for all blocks of channels. */
typedef struct {
    int count, *from, *to;
} Pairs;

static int pairs_floats(int pixels) { return 2 * (pixels + MOST_AT_ONCE); }

static Pairs list_pairs(int *memory, const Part *part) {
    const int count = pixels_of_grid(&part->grid);
    const Pairs pairs = {count, memory, memory + count + MOST_AT_ONCE};
    list_places(pairs.from, &part->in, &part->grid, 0, count);
    list_places(pairs.to, &part->out, &part->grid, 0, count);
    return pairs;
}

/* The weights of a block of channels, a vector for each of the taps. */
static void pack(Lanes *packed, const float *weight, int first, int channels, int all_taps, const Taps *taps) {
    for (int t = 0; t < taps->count; t++)
        for (int c = 0; c < LANES; c++)
            packed[t][c] = first + c < channels ? weight[(first + c) * all_taps + taps->numbers[t]] : 0;
}

/* out = sum over taps t of in[offsets[t]] weights[t], for all pairs of places. */
static void correlate(float *out, const float *in, const Pairs *pairs, const Taps *taps, const Lanes *weights) {
    for (int first = 0; first < pairs->count; first += PIXELS) {
        Lanes sums[PIXELS] = {{0}};
        const float *from[PIXELS];
        for (int p = 0; p < PIXELS; p++) from[p] = in + pairs->from[first + p];
        for (int t = 0; t < taps->count; t++)
            for (int p = 0; p < PIXELS; p++) sums[p] += weights[t] * load(from[p] + taps->offsets[t]);
        for (int p = 0; p < PIXELS; p++) store(out + pairs->to[first + p], sums[p]);
    }
}

/* sums[t] += sum over all pairs of dy x[offsets[t]]. */
INLINE void multiply_taps(Lanes *sums, const float *dy, const float *x, const Pairs *pairs, const int *offsets,
                          int taps) {
    Lanes own[MOST_AT_ONCE] = {{0}};
    for (int p = 0; p < pairs->count; p++) {
        const Lanes slope = load(dy + pairs->to[p]);
        for (int t = 0; t < taps; t++) own[t] += slope * load(x + pairs->from[p] + offsets[t]);
    }
    for (int t = 0; t < taps; t++) sums[t] += own[t];
}

/* The same for all 1, 9, 25 or 49 taps, as many at a time as fit the registers. */
static void multiply(Lanes *sums, const float *dy, const float *x, const Pairs *pairs, const Taps *taps) {
    int t = 0;
    for (; taps->count - t >= 10; t += 10) multiply_taps(sums + t, dy, x, pairs, taps->offsets + t, 10);
    if (taps->count - t == 9) multiply_taps(sums + t, dy, x, pairs, taps->offsets + t, 9);
    if (taps->count - t == 5) multiply_taps(sums + t, dy, x, pairs, taps->offsets + t, 5);
    if (taps->count - t == 1) multiply_taps(sums + t, dy, x, pairs, taps->offsets + t, 1);
}

int convolve_depthwise(const Tensor *x, const float *weight, const Tensor *y, Shape shape) {
    const Geometry g = geometry_of(x, y, shape);
    const int all_taps = shape.kernel * shape.kernel;
    const Border border = border_of_x(&g, x->images, 1, true);
    float *copy = calloc(border.floats + pairs_floats(border.together * g.out_height * g.out_width), sizeof(float));
    if (copy == NULL) return 1;
    for (int image = 0; image < x->images; image += border.together) {
        const int images = at_most(border.together, x->images - image);
        const Part whole = whole_of(&g, images, window_of(y, image), within(&border, copy));
        const Pairs pairs = list_pairs((int *)(copy + border.floats), &whole);
        for (int block = 0; block < blocks_of(x->channels); block++) {
            Lanes weights[MAX_TAPS];
            pack(weights, weight, block * LANES, x->channels, all_taps, &whole.taps);
            surround(&border, copy, x, image, images, block, 1);
            correlate(whole.out.data + block * whole.out.block, whole.in.data, &pairs, &whole.taps, weights);
        }
    }
    free(copy);
    return 0;
}

int differentiate_depthwise(const Tensor *x, const float *weight, const Tensor *dy, const Tensor *dx, float *dweight,
                            Shape shape) {
    const Geometry g = geometry_of(x, dy, shape);
    const int all_taps = shape.kernel * shape.kernel, blocks = blocks_of(x->channels), phases = g.stride * g.stride;
    const Border border = border_of_x(&g, x->images, 2, true);
    Border border_dy = border_of_dy(&g, x->images, 1, true);
    border_dy.together = border.together; /* it has room for more, since x has the room of two blocks */
    const size_t of_sums = (size_t)blocks * MAX_TAPS * LANES;
    const int of_pairs = pairs_floats(border.together * g.height * g.width);
    float *copy = calloc(border.floats + border_dy.floats + of_sums + (size_t)(1 + phases) * of_pairs, sizeof(float));
    if (copy == NULL) return 1;
    float *copy_dy = copy + border.floats;
    Lanes *sums = (Lanes *)(copy_dy + border_dy.floats);
    int *memory = (int *)(copy_dy + border_dy.floats + of_sums);
    Part whole;
    for (int image = 0; image < x->images; image += border.together) {
        const int images = at_most(border.together, x->images - image);
        whole = whole_of(&g, images, window_of(dy, image), within(&border, copy));
        const Pairs pairs = list_pairs(memory, &whole);
        Part back[MAX_PHASES];
        Pairs back_pairs[MAX_PHASES];
        for (int i = 0; i < phases && dx != NULL; i++) {
            const Window in = within(&border_dy, copy_dy);
            back[i] = phase_of(&g, i / g.stride, i % g.stride, images, window_of(dx, image), in);
            back_pairs[i] = list_pairs(memory + (1 + i) * of_pairs, &back[i]);
        }
        for (int block = 0; block < blocks; block++) {
            surround(&border, copy, x, image, images, block, 1);
            multiply(sums + block * MAX_TAPS, whole.out.data + block * whole.out.block, whole.in.data, &pairs,
                     &whole.taps);
            if (dx == NULL) continue;
            surround(&border_dy, copy_dy, dy, image, images, block, 1);
            for (int i = 0; i < phases; i++) {
                Lanes weights[MAX_TAPS];
                pack(weights, weight, block * LANES, x->channels, all_taps, &back[i].taps);
                correlate(back[i].out.data + block * back[i].out.block, back[i].in.data, &back_pairs[i],
                          &back[i].taps, weights);
            }
        }
    }
    memset(dweight, 0, (size_t)x->channels * all_taps * sizeof(float));
    for (int c = 0; c < x->channels; c++)
        for (int t = 0; t < whole.taps.count; t++)
            dweight[c * all_taps + whole.taps.numbers[t]] = sums[c / LANES * MAX_TAPS + t][c % LANES];
    free(copy);
    return 0;
}
