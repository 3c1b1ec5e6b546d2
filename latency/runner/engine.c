#include "engine.h"

#include <dlfcn.h>
#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "report.h"

/* The oldest table of functions that is enough: every library from 1.17 on has it. */
enum { API_VERSION = 17 };

/* More elements than any input of an image network has; an absurd shape must not take all of the phone's memory. */
#define MAX_INPUT_ELEMENTS ((size_t)1 << 28)

struct Network {
    Role role;
    OrtSession *session;
    double load_ms;
    size_t input_count, output_count;
    const char **input_names, **output_names;
    OrtValue **inputs, **outputs;
};

static const OrtApi *api;
static const char *version;
static OrtEnv *environment;
static OrtSessionOptions *options;
static OrtAllocator *allocator;
static OrtMemoryInfo *cpu_memory;

static void check(OrtStatus *status, const char *stage) {
    if (status != NULL) {
        fail(stage, "%s", api->GetErrorMessage(status));
    }
}

static const char *stage_of(Role role, const char *stage) { return role == REFERENCE ? "reference" : stage; }

double engine_open(const char *library) {
    double started_ms = wall_clock_ms();
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fail("dlopen", "%s", dlerror());
    }
    double load_lib_ms = wall_clock_ms() - started_ms;
    const OrtApiBase *(*get_base)(void);
    void *symbol = dlsym(handle, "OrtGetApiBase");
    if (symbol == NULL) {
        fail("api", "%s has no OrtGetApiBase; it is not ONNX Runtime", library);
    }
    memcpy(&get_base, &symbol, sizeof get_base); /* ISO C has no cast from an object to a function. */
    version = get_base()->GetVersionString();
    api = get_base()->GetApi(API_VERSION);
    if (api == NULL) {
        fail("api", "ONNX Runtime %s does not give API version %d; use 1.%d or newer", version, API_VERSION,
             API_VERSION);
    }
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "mnas", &environment), "api");
    check(api->CreateSessionOptions(&options), "api");
    check(api->SetIntraOpNumThreads(options, 1), "api");
    check(api->SetInterOpNumThreads(options, 1), "api");
    check(api->SetSessionExecutionMode(options, ORT_SEQUENTIAL), "api");
    check(api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL), "api");
    check(api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_ERROR), "api");
    check(api->GetAllocatorWithDefaultOptions(&allocator), "api");
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &cpu_memory), "api");
    return load_lib_ms;
}

const char *engine_version(void) { return version; }

static const char *element_name(ONNXTensorElementDataType type) {
    static const char *const names[] = {
        "undefined", "float",  "uint8",  "int8",   "uint16",    "int16",      "int32",   "int64",
        "string",    "bool",   "float16", "double", "uint32",    "uint64",     "complex64", "complex128",
        "bfloat16",
    };
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

/* The protocol's input: float32 in [-1, 1), a multiplicative (Knuth) hash of the element's index. The same numbers
 * as `fixed_input` in latency/host/runner.py. */
static float *fixed_input(size_t count, size_t position) {
    float *values = allocate(count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        uint32_t hashed = ((uint32_t)i + (uint32_t)position + 1) * UINT32_C(2654435761);
        values[i] = (float)(hashed / 2147483648.0 - 1.0);
    }
    return values;
}

static OrtValue *make_input(const Network *network, size_t position) {
    const char *stage = stage_of(network->role, "inputs");
    const char *name = network->input_names[position];
    OrtTypeInfo *type;
    const OrtTensorTypeAndShapeInfo *tensor;
    check(api->SessionGetInputTypeInfo(network->session, position, &type), stage);
    check(api->CastTypeInfoToTensorInfo(type, &tensor), stage);
    if (tensor == NULL) {
        fail(stage, "input '%s' is no tensor; only tensor(float) can be timed", name);
    }
    ONNXTensorElementDataType element;
    check(api->GetTensorElementType(tensor, &element), stage);
    if (element != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        fail(stage, "input '%s' is tensor(%s); only tensor(float) can be timed", name, element_name(element));
    }
    size_t rank;
    check(api->GetDimensionsCount(tensor, &rank), stage);
    int64_t *shape = allocate(rank + 1, sizeof *shape);
    check(api->GetDimensions(tensor, shape, rank), stage);
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] < 0 && i == 0) {
            shape[i] = 1; /* The batch. */
        }
        if (shape[i] < 1) {
            fail(stage, "input '%s': its dimension %zu is %s", name, i,
                 shape[i] < 0 ? "not fixed; give its shape" : "0, so it has no elements");
        }
        if ((uint64_t)shape[i] > MAX_INPUT_ELEMENTS / count) {
            fail(stage, "input '%s' has more than %zu elements", name, MAX_INPUT_ELEMENTS);
        }
        count *= (size_t)shape[i];
    }
    OrtValue *value = NULL;
    check(api->CreateTensorWithDataAsOrtValue(cpu_memory, fixed_input(count, position), count * sizeof(float), shape,
                                              rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value),
          stage);
    free(shape);
    api->ReleaseTypeInfo(type);
    return value;
}

static unsigned char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    long end = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        end = ftell(file);
    }
    if (end < 0 || fseek(file, 0, SEEK_SET) != 0) {
        fail("io", "cannot read %s", path);
    }
    *size = (size_t)end;
    unsigned char *bytes = allocate(*size + 1, 1);
    if (fread(bytes, 1, *size, file) != *size) {
        fail("io", "%s ends before its %zu bytes", path, *size);
    }
    fclose(file);
    return bytes;
}

Network *network_load(const char *path, Role role) {
    const char *stage = stage_of(role, "load");
    Network *network = allocate(1, sizeof *network);
    network->role = role;
    size_t size;
    unsigned char *bytes = read_file(path, &size);
    double started_ms = wall_clock_ms();
    check(api->CreateSessionFromArray(environment, bytes, size, options, &network->session), stage);
    network->load_ms = wall_clock_ms() - started_ms;
    free(bytes);
    check(api->SessionGetInputCount(network->session, &network->input_count), stage);
    check(api->SessionGetOutputCount(network->session, &network->output_count), stage);
    network->input_names = allocate(network->input_count + 1, sizeof *network->input_names);
    network->output_names = allocate(network->output_count + 1, sizeof *network->output_names);
    network->inputs = allocate(network->input_count + 1, sizeof *network->inputs);
    network->outputs = allocate(network->output_count + 1, sizeof *network->outputs);
    for (size_t i = 0; i < network->input_count; i++) {
        check(api->SessionGetInputName(network->session, i, allocator, (char **)&network->input_names[i]), stage);
        network->inputs[i] = make_input(network, i);
    }
    for (size_t i = 0; i < network->output_count; i++) {
        check(api->SessionGetOutputName(network->session, i, allocator, (char **)&network->output_names[i]), stage);
    }
    return network;
}

double network_load_ms(const Network *network) { return network->load_ms; }

/* Run once; the results go to network->outputs, which must be all NULL. */
static void infer(Network *network, const char *stage) {
    check(api->Run(network->session, NULL, network->input_names, (const OrtValue *const *)network->inputs,
                   network->input_count, network->output_names, network->output_count, network->outputs),
          stage);
}

static void release_outputs(Network *network) {
    for (size_t i = 0; i < network->output_count; i++) {
        api->ReleaseValue(network->outputs[i]);
        network->outputs[i] = NULL;
    }
}

static double half_to_double(uint16_t half) {
    int exponent = (half >> 10) & 0x1f;
    double fraction = half & 0x3ff;
    if (exponent == 0x1f) {
        return fraction == 0 ? INFINITY : NAN;
    }
    return exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
}

/* Add one element to the sums of its output: its square, itself with a sign of its place for each of OUTPUT_SIGNS
 * sums, and its place if it is not finite. The same hash as in latency/measurement/output_check.py. */
static void add_element(double value, size_t place, OutputDigest *digest, double *sums) {
    uint32_t hash = (uint32_t)place + 1;
    hash = (hash ^ (hash >> 16)) * UINT32_C(0x85ebca6b);
    hash = (hash ^ (hash >> 13)) * UINT32_C(0xc2b2ae35);
    hash ^= hash >> 16;
    digest->checksum += fabs(value);
    if (!isfinite(value)) {
        double kind = isnan(value) ? 1 : value > 0 ? 2 : 3;
        sums[OUTPUT_SUMS - 1] += kind * (1 + (double)(hash & 0xffff));
        return;
    }
    sums[0] += value * value;
    for (int i = 0; i < OUTPUT_SIGNS; i++) {
        sums[1 + i] += hash >> (31 - i) & 1 ? value : -value;
    }
}

/* Add the elements of an output; return false for a type that is not a number. */
static bool add_output(const void *values, size_t count, ONNXTensorElementDataType type, OutputDigest *digest,
                       double *sums) {
#define ADD_AS(element_type)                                                      \
    for (size_t i = 0; i < count; i++) {                                          \
        add_element((double)((const element_type *)values)[i], i, digest, sums); \
    }                                                                             \
    return true
    switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
        ADD_AS(float);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
        ADD_AS(double);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
        ADD_AS(int8_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
        ADD_AS(int16_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
        ADD_AS(int32_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
        ADD_AS(int64_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
        ADD_AS(uint8_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
        ADD_AS(uint16_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
        ADD_AS(uint32_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
        ADD_AS(uint64_t);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
        for (size_t i = 0; i < count; i++) {
            add_element(half_to_double(((const uint16_t *)values)[i]), i, digest, sums);
        }
        return true;
    default:
        return false;
    }
#undef ADD_AS
}

double network_first_run(Network *network, OutputDigest *digest) {
    double started_ms = wall_clock_ms();
    infer(network, stage_of(network->role, "run"));
    double first_run_ms = wall_clock_ms() - started_ms;
    digest->checksum = 0;
    digest->count = 0;
    digest->sums = allocate(network->output_count + 1, OUTPUT_SUMS * sizeof *digest->sums);
    for (size_t i = 0; i < network->output_count; i++) {
        int has_value, is_tensor;
        if (network->outputs[i] == NULL) {
            continue; /* An optional output without a value. */
        }
        check(api->HasValue(network->outputs[i], &has_value), "api");
        if (!has_value) {
            continue;
        }
        check(api->IsTensor(network->outputs[i], &is_tensor), "api");
        if (!is_tensor) {
            continue;
        }
        OrtTensorTypeAndShapeInfo *info;
        ONNXTensorElementDataType type;
        size_t count;
        void *values;
        check(api->GetTensorTypeAndShape(network->outputs[i], &info), "api");
        check(api->GetTensorElementType(info, &type), "api");
        check(api->GetTensorShapeElementCount(info, &count), "api");
        check(api->GetTensorMutableData(network->outputs[i], &values), "api");
        if (add_output(values, count, type, digest, digest->sums + digest->count)) {
            digest->count += OUTPUT_SUMS;
        }
        api->ReleaseTensorTypeAndShapeInfo(info);
    }
    release_outputs(network);
    return first_run_ms;
}

void network_run(Network *network) {
    infer(network, "api"); /* The first inference succeeded: a failure now is the phone's or the engine's. */
    release_outputs(network);
}
