/* Batch norm in training with the activation after it, and their gradients. A block of channels is read twice forward
   and twice backward. The activation is a clamp. */

#include <math.h>
#include <string.h>

#include "layers.h"

enum {
    SUMMED = 512, /* pixels that are added up before their sum is added to a total in double precision */
    CHAINS = 4    /* sums that do not wait for each other */
};

typedef double Totals[LANES];

static void add_up(Totals totals, Lanes sums) {
    for (int c = 0; c < LANES; c++) totals[c] += sums[c];
}

/* The norm of a block: y = x scale + shift, clamped. */
typedef struct {
    Lanes mean, inverse_deviation, scale, shift;
} Norm;

static Norm norm_of(const float *saved, Lanes gamma, Lanes beta) {
    Norm n = {.mean = load(saved), .inverse_deviation = load(saved + LANES)};
    n.scale = gamma * n.inverse_deviation;
    n.shift = beta - n.mean * n.scale;
    return n;
}

/* Mean and variance of `pixels` vectors. Deviations are from the first vector, so that a large mean costs no digits. */
static void measure(const float *x, size_t pixels, Totals mean, Totals variance) {
    Totals sum = {0}, squares = {0};
    const Lanes origin = load(x);
    for (size_t first = 0; first < pixels; first += SUMMED) {
        const size_t end = first + SUMMED < pixels ? first + SUMMED : pixels;
        Lanes sums[CHAINS] = {{0}}, square_sums[CHAINS] = {{0}};
        for (size_t p = first; p < end; p++) {
            const Lanes deviation = load(x + p * LANES) - origin;
            sums[p % CHAINS] += deviation;
            square_sums[p % CHAINS] += deviation * deviation;
        }
        for (int i = 0; i < CHAINS; i++) add_up(sum, sums[i]), add_up(squares, square_sums[i]);
    }
    for (int c = 0; c < LANES; c++) {
        const double from_origin = sum[c] / pixels;
        mean[c] = origin[c] + from_origin;
        variance[c] = squares[c] / pixels - from_origin * from_origin;
        if (variance[c] < 0) variance[c] = 0;
    }
}

void normalize(const Tensor *x, const float *gamma, const float *beta, float *statistics, const Rule *rule,
               const Tensor *y, float *saved) {
    const size_t pixels = pixels_of(x);
    float *moving_mean = statistics, *moving_variance = statistics + x->channels;
    const Lanes low = rule->low - (Lanes){0}, high = rule->high - (Lanes){0};
    for (int block = 0; block < blocks_of(x->channels); block++, saved += 2 * LANES) {
        const float *from = x->data + block * x->block;
        float *to = y->data + block * y->block;
        const int first = block * LANES, channels = at_most(LANES, x->channels - first);
        Totals mean, variance;
        measure(from, pixels, mean, variance);
        for (int c = 0; c < LANES; c++) {
            saved[c] = mean[c];
            saved[LANES + c] = 1.0f / sqrtf((float)variance[c] + rule->epsilon);
        }
        for (int c = 0; c < channels; c++) {
            const float unbiased = pixels > 1 ? variance[c] * pixels / (pixels - 1) : variance[c];
            moving_mean[first + c] += rule->new_share * ((float)mean[c] - moving_mean[first + c]);
            moving_variance[first + c] += rule->new_share * (unbiased - moving_variance[first + c]);
        }
        const Norm n = norm_of(saved, load_first(gamma + first, channels), load_first(beta + first, channels));
        for (size_t p = 0; p < pixels; p++) {
            Lanes z = load(from + p * LANES) * n.scale + n.shift;
            z = choose(z < low, low, z);
            store(to + p * LANES, choose(z > high, high, z));
        }
    }
}

/* dz: the gradient before the activation. */
INLINE Lanes dz_of(Lanes x, Lanes dy, const Norm *n, Lanes low, Lanes high) {
    const Lanes z = x * n->scale + n->shift;
    return choose((z > low) & (z < high), dy, (Lanes){0});
}

void differentiate_norm(const Tensor *x, const float *gamma, const float *beta, const float *saved, const Rule *rule,
                        const Tensor *dy, float *dgamma, float *dbeta) {
    const size_t pixels = pixels_of(x);
    const Lanes low = rule->low - (Lanes){0}, high = rule->high - (Lanes){0};
    for (int block = 0; block < blocks_of(x->channels); block++, saved += 2 * LANES) {
        const float *from = x->data + block * x->block;
        float *slopes = dy->data + block * dy->block;
        const int first_channel = block * LANES, channels = at_most(LANES, x->channels - first_channel);
        const Norm n =
            norm_of(saved, load_first(gamma + first_channel, channels), load_first(beta + first_channel, channels));
        Totals total_dz = {0}, total_dz_x = {0};
        for (size_t first = 0; first < pixels; first += SUMMED) {
            const size_t end = first + SUMMED < pixels ? first + SUMMED : pixels;
            Lanes sums[CHAINS] = {{0}}, sums_x[CHAINS] = {{0}};
            for (size_t p = first; p < end; p++) {
                const Lanes x_p = load(from + p * LANES), dz = dz_of(x_p, load(slopes + p * LANES), &n, low, high);
                sums[p % CHAINS] += dz;
                sums_x[p % CHAINS] += dz * (x_p - n.mean);
            }
            for (int i = 0; i < CHAINS; i++) add_up(total_dz, sums[i]), add_up(total_dz_x, sums_x[i]);
        }
        Lanes mean_dz, slope;
        for (int c = 0; c < LANES; c++) {
            mean_dz[c] = total_dz[c] / pixels;
            slope[c] = total_dz_x[c] / pixels * n.inverse_deviation[c] * n.inverse_deviation[c];
        }
        for (int c = 0; c < channels; c++) {
            dbeta[first_channel + c] = total_dz[c];
            dgamma[first_channel + c] = total_dz_x[c] * n.inverse_deviation[c];
        }
        for (size_t p = 0; p < pixels; p++) {
            const Lanes x_p = load(from + p * LANES), dz = dz_of(x_p, load(slopes + p * LANES), &n, low, high);
            store(slopes + p * LANES, n.scale * (dz - mean_dz - (x_p - n.mean) * slope));
        }
    }
}
