/* ONNX Runtime as it is deployed: CPU, one thread, sequential execution, all graph optimisations. */
#ifndef MNAS_ENGINE_H
#define MNAS_ENGINE_H

#include <stddef.h>

/* A network with its inputs, ready to run. */
typedef struct Network Network;

/* The stage in which a network fails: "load", "inputs" or "run" for a candidate, "reference" for the reference
 * network. A file that cannot be read is "io" for both. */
typedef enum { CANDIDATE, REFERENCE } Role;

/* Load the library; return the time that it took, in ms. Fail in "dlopen" or "api". */
double engine_open(const char *library);

/* The version that the library states. */
const char *engine_version(void);

/* Make a session of the ONNX file, and the protocol's fixed inputs. */
Network *network_load(const char *path, Role role);

/* Time of making the session from the file's bytes, graph optimisation included. */
double network_load_ms(const Network *network);

/* What an output is compared by: the sum of its absolute values; then, for each output that holds numbers, OUTPUT_SUMS
 * sums over its finite elements and a weighted count of the others (see latency/measurement/output_check.py). */
enum { OUTPUT_SIGNS = 8, OUTPUT_SUMS = OUTPUT_SIGNS + 2 };
typedef struct {
    double checksum;
    double *sums;
    size_t count; /* Of all sums: OUTPUT_SUMS for each output. */
} OutputDigest;

/* Run the first inference; return its time in ms. */
double network_first_run(Network *network, OutputDigest *digest);

/* Run one inference and drop the outputs, which a timed run includes. */
void network_run(Network *network);

#endif
