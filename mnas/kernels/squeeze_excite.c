/* Squeeze-and-excitation and its gradients. MindSpore's operators for it are eight small ones forward and about fifteen
   backward. */

#include <math.h>
#include <string.h>

#include "layers.h"

static const float *plane_of(const Tensor *t, int image, int block) {
    return t->data + block * t->block + (size_t)image * t->height * t->width * LANES;
}

void squeeze_excite(const Tensor *x, const float *weights, int reduced, const Tensor *y, float *saved) {
    const int channels = x->channels, pixels = x->height * x->width;
    const float *w1 = weights, *b1 = w1 + reduced * channels, *w2 = b1 + reduced, *b2 = w2 + channels * reduced;
    float *mean = saved, *hidden = mean + x->images * channels, *scale = hidden + x->images * reduced;
    for (int n = 0; n < x->images; n++, mean += channels, hidden += reduced, scale += channels) {
        for (int c = 0; c < channels; c += LANES) {
            const float *plane = plane_of(x, n, c / LANES);
            Lanes sum = {0};
            for (int p = 0; p < pixels; p++) sum += load(plane + p * LANES);
            store_first(mean + c, sum / (float)pixels, channels - c);
        }
        for (int r = 0; r < reduced; r++) {
            float sum = b1[r];
            for (int c = 0; c < channels; c++) sum += w1[r * channels + c] * mean[c];
            hidden[r] = sum < 0 ? 0 : sum;
        }
        for (int c = 0; c < channels; c++) {
            float sum = b2[c];
            for (int r = 0; r < reduced; r++) sum += w2[c * reduced + r] * hidden[r];
            scale[c] = 1 / (1 + expf(-sum));
        }
        for (int c = 0; c < channels; c += LANES) {
            const float *plane = plane_of(x, n, c / LANES);
            float *to = (float *)plane_of(y, n, c / LANES);
            const Lanes factor = load_first(scale + c, channels - c);
            for (int p = 0; p < pixels; p++) store(to + p * LANES, load(plane + p * LANES) * factor);
        }
    }
}

void differentiate_squeeze_excite(const Tensor *x, const float *weights, int reduced, const float *saved,
                                  const Tensor *dy, float *dweights) {
    const int channels = x->channels, pixels = x->height * x->width;
    const float *w1 = weights, *w2 = w1 + reduced * channels + reduced;
    float *dw1 = dweights, *db1 = dw1 + reduced * channels, *dw2 = db1 + reduced, *db2 = dw2 + channels * reduced;
    const float *mean = saved, *hidden = mean + x->images * channels, *scale = hidden + x->images * reduced;
    memset(dweights, 0, (2 * (size_t)reduced * channels + reduced + channels) * sizeof(float));
    float slopes[channels + LANES], d_hidden[reduced], d_mean[channels];
    for (int n = 0; n < x->images; n++, mean += channels, hidden += reduced, scale += channels) {
        memset(d_hidden, 0, sizeof d_hidden);
        memset(d_mean, 0, sizeof d_mean);
        for (int c = 0; c < channels; c += LANES) {
            const float *plane = plane_of(x, n, c / LANES), *slope = plane_of(dy, n, c / LANES);
            Lanes sum = {0};
            for (int p = 0; p < pixels; p++) sum += load(plane + p * LANES) * load(slope + p * LANES);
            store(slopes + c, sum);
        }
        for (int c = 0; c < channels; c++) {
            const float slope = slopes[c] * scale[c] * (1 - scale[c]); /* of the sigmoid's argument */
            db2[c] += slope;
            for (int r = 0; r < reduced; r++) {
                dw2[c * reduced + r] += slope * hidden[r];
                d_hidden[r] += slope * w2[c * reduced + r];
            }
        }
        for (int r = 0; r < reduced; r++) {
            if (!(hidden[r] > 0)) continue;
            db1[r] += d_hidden[r];
            for (int c = 0; c < channels; c++) {
                dw1[r * channels + c] += d_hidden[r] * mean[c];
                d_mean[c] += d_hidden[r] * w1[r * channels + c];
            }
        }
        for (int c = 0; c < channels; c += LANES) {
            float *slope = (float *)plane_of(dy, n, c / LANES);
            const Lanes factor = load_first(scale + c, channels - c);
            const Lanes share = load_first(d_mean + c, channels - c) / (float)pixels;
            for (int p = 0; p < pixels; p++) store(slope + p * LANES, load(slope + p * LANES) * factor + share);
        }
    }
}
