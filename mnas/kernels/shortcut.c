/* The layers of shortcuts: average pooling, and channels that are cut off or added. */

#include <string.h>

#include "layers.h"

/* The rows (or columns) of x that an output row averages: TensorFlow pads less at the start than at the end. */
typedef struct {
    int first, end;
} Span;

static Span span_of(int out, int size, int out_size, Shape s) {
    const int padding = (out_size - 1) * s.stride + s.kernel - size;
    const int start = out * s.stride - (padding > 0 ? padding / 2 : 0);
    return (Span){start < 0 ? 0 : start, at_most(size, start + s.kernel)};
}

void pool(const Tensor *x, const Tensor *y, Shape shape) {
    for (int block = 0; block < blocks_of(x->channels); block++) {
        const float *in = x->data + block * x->block;
        float *out = y->data + block * y->block;
        for (int n = 0; n < x->images; n++, in += x->height * x->width * LANES)
            for (int r = 0; r < y->height; r++)
                for (int c = 0; c < y->width; c++, out += LANES) {
                    const Span rows = span_of(r, x->height, y->height, shape);
                    const Span columns = span_of(c, x->width, y->width, shape);
                    Lanes sum = {0};
                    for (int a = rows.first; a < rows.end; a++)
                        for (int b = columns.first; b < columns.end; b++) sum += load(in + (a * x->width + b) * LANES);
                    store(out, sum / (float)((rows.end - rows.first) * (columns.end - columns.first)));
                }
    }
}

void differentiate_pool(const Tensor *dy, const Tensor *dx, Shape shape) {
    for (int block = 0; block < blocks_of(dx->channels); block++) {
        const float *in = dy->data + block * dy->block;
        float *out = dx->data + block * dx->block;
        memset(out, 0, pixels_of(dx) * LANES * sizeof(float));
        for (int n = 0; n < dx->images; n++, out += dx->height * dx->width * LANES)
            for (int r = 0; r < dy->height; r++)
                for (int c = 0; c < dy->width; c++, in += LANES) {
                    const Span rows = span_of(r, dx->height, dy->height, shape);
                    const Span columns = span_of(c, dx->width, dy->width, shape);
                    const Lanes share = load(in) / (float)((rows.end - rows.first) * (columns.end - columns.first));
                    for (int a = rows.first; a < rows.end; a++)
                        for (int b = columns.first; b < columns.end; b++) {
                            float *pixel = out + (a * dx->width + b) * LANES;
                            store(pixel, load(pixel) + share);
                        }
                }
    }
}

void fit(const Tensor *x, const Tensor *y) {
    const size_t pixels = pixels_of(x);
    for (int block = 0; block < blocks_of(y->channels); block++) {
        const int kept = at_most(x->channels, y->channels) - block * LANES;
        float *out = y->data + block * y->block;
        if (kept <= 0) {
            memset(out, 0, pixels * LANES * sizeof(float));
            continue;
        }
        const float *in = x->data + block * x->block;
        for (size_t p = 0; p < pixels; p++) store(out + p * LANES, load_first(in + p * LANES, kept));
    }
}
