/* The device around the engine: the core, its clocks and temperature, and what else keeps the machine busy.
 * What cannot be read (Android hides much of it from the shell) is NAN. */
#ifndef MNAS_DEVICE_H
#define MNAS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

enum { MAX_CORES = 1024 };

/* Let this process run on `core` only. Fail in stage "affinity" if the kernel refuses. */
void pin_to_core(int core);

/* List the cores that this process may run on now, at most MAX_CORES; return how many. */
size_t read_affinity(double cores[MAX_CORES]);

/* Return the core that the caller runs on at this moment. */
int current_core(void);

/* Clocks: elapsed time, and the CPU time that the calling thread was given, in milliseconds. */
double wall_clock_ms(void);
double cpu_clock_ms(void);
void sleep_ms(double duration_ms);

/* How often the scheduler took the core away from the calling thread, since the thread's start. */
long involuntary_switches(void);

/* The largest memory that this process has used, in kB. */
long max_rss_kb(void);

/* The other threads that run or could run now, as a share of the cores. Takes some microseconds. */
double others_busy(void);

/* What /proc/stat says: the threads that run or could run now, and the times of each core since boot, in ticks. A core
 * that is not listed (switched off) has the total 0. */
typedef struct {
    double runnable;
    double busy[MAX_CORES], total[MAX_CORES];
} CoreTimes;

/* Read /proc/stat; return false if it cannot be read. */
bool read_core_times(CoreTimes *times);

/* The share of the machine's cores that other work kept busy between two readings: by the times of the other cores, or
 * by the runnable threads if the readings are too close for ticks. */
double others_busy_between(const CoreTimes *before, const CoreTimes *after, int core);

/* The core's clock now, and the highest that it can have, in kHz. */
double frequency_khz(int core);
double highest_frequency_khz(int core);

/* The core's frequency governor, in `governor`; false if it cannot be read. */
bool read_governor(int core, char *governor, size_t size);

/* The hottest of the processor's temperatures, in degrees Celsius. */
double temperature_c(void);

#endif
