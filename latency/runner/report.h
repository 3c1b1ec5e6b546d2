/* The runner's answer: one line of JSON on standard output, complete or not at all. */
#ifndef MNAS_REPORT_H
#define MNAS_REPORT_H

#include <stdbool.h>
#include <stddef.h>

/* Keep standard output for the report: what a library prints there goes to standard error. */
void report_open(void);

/* Fields, in the order of the calls. A number that is not finite is written as null: it could not be read. */
void report_text(const char *name, const char *value); /* NULL: null */
void report_bool(const char *name, bool value);
void report_integer(const char *name, long long value);
void report_number(const char *name, double value);
void report_numbers(const char *name, const double *values, size_t count);

/* Write the line and end the process with status 0. */
_Noreturn void report_success(void);

/* Write a failure instead of what was reported so far, and end the process with status 3. */
_Noreturn void fail(const char *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Return zeroed memory, or fail. */
void *allocate(size_t count, size_t size);

#endif
