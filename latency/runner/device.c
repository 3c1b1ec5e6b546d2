#define _GNU_SOURCE
#include "device.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

enum { MAX_THERMAL_ZONES = 256, MIN_TICKS = 10 };

void pin_to_core(int core) {
    cpu_set_t wanted, given;
    CPU_ZERO(&wanted);
    CPU_SET(core, &wanted);
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0) {
        fail("affinity", "cannot pin to core %d: %s; is it online, and may the shell use it?", core, strerror(errno));
    }
    CPU_ZERO(&given);
    if (sched_getaffinity(0, sizeof given, &given) < 0) {
        fail("affinity", "cannot read the affinity back: %s", strerror(errno));
    }
    if (CPU_COUNT(&given) != 1 || !CPU_ISSET(core, &given)) {
        fail("affinity", "pinned to core %d, but the kernel gives %d cores", core, CPU_COUNT(&given));
    }
}

size_t read_affinity(double cores[MAX_CORES]) {
    cpu_set_t given;
    size_t count = 0;
    CPU_ZERO(&given);
    if (sched_getaffinity(0, sizeof given, &given) < 0) {
        return 0;
    }
    for (int core = 0; core < MAX_CORES && core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, &given)) {
            cores[count++] = core;
        }
    }
    return count;
}

int current_core(void) { return sched_getcpu(); }

static double clock_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

double wall_clock_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

double cpu_clock_ms(void) { return clock_ms(CLOCK_THREAD_CPUTIME_ID); }

void sleep_ms(double duration_ms) {
    struct timespec left = {.tv_sec = (time_t)(duration_ms / 1e3), .tv_nsec = (long)(fmod(duration_ms, 1e3) * 1e6)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

long involuntary_switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

long max_rss_kb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

double others_busy(void) {
    static int loadavg = -1;
    static double cores = 0;
    if (cores == 0) {
        loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
        cores = get_nprocs();
    }
    char text[64];
    ssize_t count = loadavg < 0 ? -1 : pread(loadavg, text, sizeof text - 1, 0);
    if (count < 0) {
        return NAN;
    }
    text[count] = '\0';
    /* "0.20 0.18 0.12 1/80 11206": the fourth field starts with the number of runnable threads, with the caller. */
    long runnable;
    if (sscanf(text, "%*s %*s %*s %ld/", &runnable) != 1) {
        return NAN;
    }
    return (double)(runnable > 1 ? runnable - 1 : 0) / cores;
}

bool read_core_times(CoreTimes *times) {
    static char text[1 << 16];
    int file = open("/proc/stat", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    for (ssize_t count; file >= 0 && length + 1 < sizeof text; length += (size_t)count) {
        count = read(file, text + length, sizeof text - 1 - length);
        if (count <= 0) {
            break;
        }
    }
    if (file >= 0) {
        close(file);
    }
    text[length] = '\0';
    memset(times, 0, sizeof *times);
    times->runnable = NAN;
    for (char *line = text; *line != '\0';) {
        /* user nice system idle iowait irq softirq steal; guest time is in user already. */
        double ticks[8] = {0};
        int core;
        if (sscanf(line, "cpu%d %lf %lf %lf %lf %lf %lf %lf %lf", &core, ticks, ticks + 1, ticks + 2, ticks + 3,
                   ticks + 4, ticks + 5, ticks + 6, ticks + 7) >= 5 &&
            core >= 0 && core < MAX_CORES) {
            for (int i = 0; i < 8; i++) {
                times->total[core] += ticks[i];
            }
            times->busy[core] = times->total[core] - ticks[3] - ticks[4];
        }
        sscanf(line, "procs_running %lf", &times->runnable);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return length > 0;
}

double others_busy_between(const CoreTimes *before, const CoreTimes *after, int core) {
    double busy = 0, elapsed = 0, cores = 0;
    for (int i = 0; i < MAX_CORES; i++) {
        if (before->total[i] == 0 || after->total[i] == 0) {
            continue;
        }
        double ticks = after->total[i] - before->total[i];
        elapsed = ticks > elapsed ? ticks : elapsed;
        busy += i == core ? 0 : after->busy[i] - before->busy[i];
        cores++;
    }
    if (elapsed >= MIN_TICKS) {
        return busy > 0 ? busy / (elapsed * cores) : 0;
    }
    double runnable = (before->runnable + after->runnable) / 2;
    return (runnable > 1 ? runnable - 1 : runnable * 0) / (cores > 0 ? cores : get_nprocs()); /* NAN stays NAN. */
}

/* Read the first line of a small file under /sys; return false if it cannot be read or is empty. */
static bool read_line(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t count = read(file, text, size - 1);
    close(file);
    if (count <= 0) {
        return false;
    }
    text[count] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text[0] != '\0';
}

static double read_number(const char *path) {
    char text[64], *end;
    if (!read_line(path, text, sizeof text)) {
        return NAN;
    }
    double number = strtod(text, &end);
    return *end == '\0' ? number : NAN;
}

double frequency_khz(int core) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", core);
    return read_number(path);
}

double highest_frequency_khz(int core) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", core);
    return read_number(path);
}

bool read_governor(int core, char *governor, size_t size) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core);
    return read_line(path, governor, size);
}

/* Return whether a thermal zone of this type is the processor's; every vendor has its own names. */
static bool is_processor_zone(char *type) {
    static const char *const parts[] = {"cpu", "soc", "tsens", "cluster", "x86_pkg"};
    static const char *const names[] = {"big", "mid", "little"}; /* Exynos, Tensor */
    for (char *letter = type; *letter != '\0'; letter++) {
        *letter = (char)tolower((unsigned char)*letter);
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(type, parts[i]) != NULL) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(type, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

double temperature_c(void) {
    double hottest = NAN;
    for (int zone = 0; zone < MAX_THERMAL_ZONES; zone++) {
        char path[64], type[64];
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/type", zone);
        if (!read_line(path, type, sizeof type) || !is_processor_zone(type)) {
            continue;
        }
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
        double temperature = read_number(path);
        if (temperature >= 1000) {
            temperature /= 1000; /* The kernel's unit is the millidegree; some vendors' zones give degrees. */
        }
        /* An unconnected sensor says 0 or a constant far away. NAN compares false. */
        if (temperature > 0 && temperature < 150 && !(temperature <= hottest)) {
            hottest = temperature;
        }
    }
    return hottest;
}
