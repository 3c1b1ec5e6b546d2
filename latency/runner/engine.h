/* ONNX Runtime as it is deployed: CPU, one thread, sequential execution, all graph optimisations. */
#ifndef MNAS_ENGINE_H
#define MNAS_ENGINE_H

/* A network with its inputs, ready to run. */
typedef struct Network Network;

/* Whose failure it is when a network fails: a candidate fails in "load", "inputs" or "run", the reference network
 * in "reference". A file that cannot be read is "io" for both. */
typedef enum { CANDIDATE, REFERENCE } Role;

/* Load the library; returns the time it took in ms. Fails in "dlopen" or "api". */
double engine_open(const char *library);

/* The version that the library gives itself. */
const char *engine_version(void);

/* Make a session of the ONNX file, and the protocol's fixed inputs. */
Network *network_load(const char *path, Role role);

/* Time of making the session from the file's bytes, graph optimisation included. */
double network_load_ms(const Network *network);

/* The first inference: returns its time in ms; `checksum` is the sum of the absolute outputs. */
double network_first_run(Network *network, double *checksum);

/* One inference; the outputs are dropped, as a timed run includes it. */
void network_run(Network *network);

#endif
