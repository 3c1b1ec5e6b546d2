/* ONNX Runtime as it is deployed: CPU, one thread, sequential execution, all graph optimisations. */
#ifndef MNAS_ENGINE_H
#define MNAS_ENGINE_H

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

/* Run the first inference; return its time in ms. `checksum` is the sum of the absolute outputs. */
double network_first_run(Network *network, double *checksum);

/* Run one inference and drop the outputs, which a timed run includes. */
void network_run(Network *network);

#endif
