#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILURE_STATUS = 3, MAX_ERROR_LENGTH = 4000 };

static int output = STDOUT_FILENO;
static char *line;
static size_t length, capacity;

static void append(const char *text, size_t count) {
    if (length + count > capacity) {
        size_t wanted = 2 * (length + count);
        char *larger = realloc(line, wanted);
        if (larger == NULL) {
            _exit(FAILURE_STATUS); /* Without memory there is no answer to give. */
        }
        line = larger;
        capacity = wanted;
    }
    memcpy(line + length, text, count);
    length += count;
}

static void append_text(const char *text) { append(text, strlen(text)); }

/* Bytes that are not ASCII are written as if they were Latin-1, so that any text gives valid JSON. */
static void append_escaped(const char *text) {
    append("\"", 1);
    for (const unsigned char *byte = (const unsigned char *)text; *byte != '\0'; byte++) {
        if (*byte == '"' || *byte == '\\') {
            append("\\", 1);
            append((const char *)byte, 1);
        } else if (*byte >= 0x20 && *byte < 0x7f) {
            append((const char *)byte, 1);
        } else {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", *byte);
            append_text(escape);
        }
    }
    append("\"", 1);
}

static void append_number(double value) {
    char number[40];
    if (isfinite(value)) {
        snprintf(number, sizeof number, "%.12g", value);
        append_text(number);
    } else {
        append_text("null");
    }
}

static void append_name(const char *name) {
    append_text(",");
    append_escaped(name);
    append_text(":");
}

static void start(bool ok) {
    length = 0;
    append_text(ok ? "{\"schema\":1,\"ok\":true" : "{\"schema\":1,\"ok\":false");
}

static _Noreturn void finish(int status) {
    append_text("}\n");
    for (size_t written = 0; written < length;) {
        ssize_t count = write(output, line + written, length - written);
        if (count < 0 && errno != EINTR) {
            _exit(FAILURE_STATUS); /* The reader is gone. */
        }
        written += count > 0 ? (size_t)count : 0;
    }
    /* Not exit(): nothing is left to do, and the engine's destructors could only take time or crash. */
    _exit(status);
}

void report_open(void) {
    output = dup(STDOUT_FILENO);
    if (output < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        output = STDOUT_FILENO;
        fail("args", "cannot keep standard output for the report: %s", strerror(errno));
    }
    start(true);
}

void report_text(const char *name, const char *value) {
    append_name(name);
    if (value == NULL) {
        append_text("null");
    } else {
        append_escaped(value);
    }
}

void report_bool(const char *name, bool value) {
    append_name(name);
    append_text(value ? "true" : "false");
}

void report_integer(const char *name, long long value) {
    char number[24];
    snprintf(number, sizeof number, "%lld", value);
    append_name(name);
    append_text(number);
}

void report_number(const char *name, double value) {
    append_name(name);
    append_number(value);
}

void report_numbers(const char *name, const double *values, size_t count) {
    append_name(name);
    append_text("[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            append_text(",");
        }
        append_number(values[i]);
    }
    append_text("]");
}

void report_success(void) { finish(0); }

void fail(const char *stage, const char *format, ...) {
    char error[MAX_ERROR_LENGTH];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, sizeof error, format, arguments);
    va_end(arguments);
    start(false);
    report_text("stage", stage);
    report_text("error", error);
    finish(FAILURE_STATUS);
}

void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) {
        fail("io", "out of memory for %zu items of %zu bytes", count, size);
    }
    return memory;
}
