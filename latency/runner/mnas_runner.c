/* Time one ONNX model on one core of a phone, with ONNX Runtime; one run of this program is one session.
 *
 *   mnas_runner --lib FILE --cpu N --reference FILE [options] MODEL.onnx
 *   mnas_runner --lib FILE --cpu N --reference FILE --calibrate-s S
 *
 * It pins itself, loads the library, the reference network and the model, warms up, and times the model's runs, with
 * the reference network's before and after (see latency/measurement/reference_network.py). latency/host/runner.py does
 * the same on the host, and the numbers of the two must agree. With --calibrate-s there is no model: the reference
 * network is timed again and again. The answer is one line of JSON on standard output; `report_common`, `time_model`
 * and `calibrate` name its fields. A failure gives {"schema":1,"ok":false,"stage":...,"error":...} and exit status 3. The stages
 * "load", "inputs" and "run" are the model's fault; "args", "affinity", "dlopen", "api", "reference" and "io" are not.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "engine.h"
#include "report.h"

#define CALIBRATION_WARMUP_MS 100.0
#define CALIBRATION_PAUSE_MS 20.0
#define REFERENCE_WARMUP_RUNS 10
#define REFERENCE_REWARM_RUNS 3

typedef struct {
    const char *library, *reference, *model;
    double core, threads;
    double warmup_runs, warmup_min_ms, rewarm_runs, rewarm_min_ms;
    double runs, min_runs, budget_ms, reference_runs;
    double calibrate_s;
} Arguments;

typedef struct {
    const char *name;
    const char **text; /* Either this ... */
    double *number;    /* ... or this, an integer or not, from `lowest` to `highest`. */
    bool integer;
    double lowest, highest;
} Option;

static void parse_option(const Option *option, const char *value) {
    if (option->text != NULL) {
        *option->text = value;
        return;
    }
    char *end;
    double number = strtod(value, &end);
    bool valid = end != value && *end == '\0' && number >= option->lowest && number <= option->highest;
    if (!valid || (option->integer && number != floor(number))) {
        fail("args", "%s is %s; it must be %s from %g to %g", option->name, value,
             option->integer ? "an integer" : "a number", option->lowest, option->highest);
    }
    *option->number = number;
}

static Arguments parse_arguments(int count, char **words) {
    Arguments arguments = {
        .core = NAN,        .threads = 1,      .warmup_runs = 10,    .warmup_min_ms = 300,  .rewarm_runs = 3,
        .rewarm_min_ms = 10, .runs = 50,       .min_runs = 10,       .budget_ms = 5000,     .reference_runs = 20,
        .calibrate_s = NAN,
    };
    const Option options[] = {
        {.name = "--lib", .text = &arguments.library},
        {.name = "--reference", .text = &arguments.reference},
        {"--cpu", NULL, &arguments.core, true, 0, MAX_CORES - 1},
        {"--threads", NULL, &arguments.threads, true, 1, 1}, /* One pinned core can use no more. */
        {"--warmup-runs", NULL, &arguments.warmup_runs, true, 0, 1e6},
        {"--warmup-min-ms", NULL, &arguments.warmup_min_ms, false, 0, 1e6},
        {"--rewarm-runs", NULL, &arguments.rewarm_runs, true, 0, 1e6},
        {"--rewarm-min-ms", NULL, &arguments.rewarm_min_ms, false, 0, 1e6},
        {"--runs", NULL, &arguments.runs, true, 1, 1e6},
        {"--min-runs", NULL, &arguments.min_runs, true, 1, 1e6},
        {"--budget-ms", NULL, &arguments.budget_ms, false, 0, 1e7},
        {"--reference-runs", NULL, &arguments.reference_runs, true, 1, 1e6},
        {"--calibrate-s", NULL, &arguments.calibrate_s, false, 0, 600},
    };
    for (int i = 1; i < count; i++) {
        if (strncmp(words[i], "--", 2) != 0) {
            if (arguments.model != NULL) {
                fail("args", "%s: there is a model already, %s", words[i], arguments.model);
            }
            arguments.model = words[i];
            continue;
        }
        const Option *option = NULL;
        for (size_t j = 0; j < sizeof options / sizeof *options; j++) {
            if (strcmp(words[i], options[j].name) == 0) {
                option = &options[j];
            }
        }
        if (option == NULL) {
            fail("args", "unknown option %s", words[i]);
        }
        if (i + 1 == count) {
            fail("args", "%s needs a value", words[i]);
        }
        parse_option(option, words[++i]);
    }
    if (arguments.library == NULL || arguments.reference == NULL || isnan(arguments.core)) {
        fail("args", "--lib, --cpu and --reference are needed");
    }
    if ((arguments.model == NULL) == isnan(arguments.calibrate_s)) {
        fail("args", "give either a model or --calibrate-s");
    }
    return arguments;
}

/* Run until both minima are reached; return the number of runs. */
static long run_untimed(Network *network, double min_runs, double min_ms) {
    double deadline_ms = wall_clock_ms() + min_ms;
    long runs = 0;
    while ((double)runs < min_runs || wall_clock_ms() < deadline_ms) {
        network_run(network);
        runs++;
    }
    return runs;
}

typedef struct {
    double *wall_ms, *cpu_ms;
    size_t runs;
    double others_busy; /* Mean over the runs, read just before each. */
    bool moved;         /* Whether a run ended on another core than `core`. */
} Window;

/* Time up to `max_runs` runs; after `budget_ms`, no more than `min_runs`. */
static Window run_timed(Network *network, size_t max_runs, size_t min_runs, double budget_ms, int core) {
    Window window = {.wall_ms = allocate(max_runs, sizeof(double)), .cpu_ms = allocate(max_runs, sizeof(double))};
    double deadline_ms = wall_clock_ms() + budget_ms;
    while (window.runs < max_runs && (window.runs < min_runs || wall_clock_ms() < deadline_ms)) {
        window.others_busy += others_busy();
        double cpu_start_ms = cpu_clock_ms();
        double wall_start_ms = wall_clock_ms();
        network_run(network);
        double wall_end_ms = wall_clock_ms();
        double cpu_end_ms = cpu_clock_ms();
        window.wall_ms[window.runs] = wall_end_ms - wall_start_ms;
        window.cpu_ms[window.runs] = cpu_end_ms - cpu_start_ms;
        window.moved |= current_core() != core;
        window.runs++;
    }
    window.others_busy /= (double)window.runs;
    return window;
}

static void free_window(Window *window) {
    free(window->wall_ms);
    free(window->cpu_ms);
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, ascending);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* Return the median time of the reference network now; `moved` becomes true if it left the core. */
static double time_reference(Network *reference, const Arguments *arguments, bool *moved) {
    size_t runs = (size_t)arguments->reference_runs;
    run_untimed(reference, REFERENCE_REWARM_RUNS, 0);
    Window window = run_timed(reference, runs, runs, 0, (int)arguments->core);
    double reference_ms = median(window.wall_ms, window.runs);
    *moved |= window.moved;
    free_window(&window);
    return reference_ms;
}

/* Report what both modes have in common. */
static void report_common(const Arguments *arguments, double load_lib_ms, double reference_checksum, bool moved) {
    static double affinity[MAX_CORES];
    char governor[64];
    bool has_governor = read_governor((int)arguments->core, governor, sizeof governor);
    report_text("engine", "onnxruntime");
    report_text("engine_version", engine_version());
    report_integer("threads", (long long)arguments->threads);
    report_integer("core", (long long)arguments->core);
    report_numbers("affinity", affinity, read_affinity(affinity));
    report_bool("moved", moved);
    report_text("governor", has_governor ? governor : NULL);
    report_number("load_lib_ms", load_lib_ms);
    report_number("reference_checksum", reference_checksum);
    report_number("frequency_khz_max", highest_frequency_khz((int)arguments->core));
    report_integer("max_rss_kb", max_rss_kb());
}

static void time_model(const Arguments *arguments, Network *reference, bool *moved) {
    int core = (int)arguments->core;
    Network *model = network_load(arguments->model, CANDIDATE);
    OutputDigest output;
    double first_run_ms = network_first_run(model, &output);
    double started_ms = wall_clock_ms();
    long warmup_runs = run_untimed(model, arguments->warmup_runs, arguments->warmup_min_ms);
    double warmup_ms = wall_clock_ms() - started_ms;

    double temperature_c_before = temperature_c();
    static CoreTimes times_before, times_after;
    bool has_times = read_core_times(&times_before);
    double reference_before_ms = time_reference(reference, arguments, moved);
    run_untimed(model, arguments->rewarm_runs, arguments->rewarm_min_ms);
    double frequency_khz_before = frequency_khz(core);
    long switches_before = involuntary_switches();
    Window window =
        run_timed(model, (size_t)arguments->runs, (size_t)arguments->min_runs, arguments->budget_ms, core);
    long switches = involuntary_switches() - switches_before;
    double frequency_khz_after = frequency_khz(core);
    double reference_after_ms = time_reference(reference, arguments, moved);
    *moved |= window.moved;
    has_times = read_core_times(&times_after) && has_times;
    /* Android hides /proc/loadavg from the shell, but not /proc/stat. */
    double others = !isnan(window.others_busy) ? window.others_busy
                    : has_times                ? others_busy_between(&times_before, &times_after, core)
                                               : NAN;

    report_number("load_ms", network_load_ms(model));
    report_number("first_run_ms", first_run_ms);
    report_integer("warmup_runs", warmup_runs);
    report_number("warmup_ms", warmup_ms);
    report_number("output_checksum", output.checksum);
    report_numbers("output_sums", output.sums, output.count);
    report_number("others_busy", others);
    report_integer("involuntary_switches", switches);
    report_number("frequency_khz_before", frequency_khz_before);
    report_number("frequency_khz_after", frequency_khz_after);
    report_number("temperature_c_before", temperature_c_before);
    report_number("temperature_c_after", temperature_c());
    report_number("reference_before_ms", reference_before_ms);
    report_number("reference_after_ms", reference_after_ms);
    report_numbers("wall_ms", window.wall_ms, window.runs);
    report_numbers("cpu_ms", window.cpu_ms, window.runs);
}

/* Time the reference network for `calibrate_s`, at least once, with how busy other work kept the machine. */
static void calibrate(const Arguments *arguments, Network *reference, bool *moved) {
    double temperature_c_before = temperature_c();
    run_untimed(reference, REFERENCE_WARMUP_RUNS, CALIBRATION_WARMUP_MS);
    double frequency_khz_before = frequency_khz((int)arguments->core);
    size_t capacity = (size_t)(arguments->calibrate_s * 1e3 / CALIBRATION_PAUSE_MS) + 2;
    double *reference_ms = allocate(capacity, sizeof *reference_ms);
    double *busy = allocate(capacity, sizeof *busy);
    static CoreTimes times;
    double deadline_ms = wall_clock_ms() + arguments->calibrate_s * 1e3;
    size_t count = 0;
    while (count == 0 || (count < capacity && wall_clock_ms() < deadline_ms)) {
        busy[count] = others_busy();
        if (isnan(busy[count]) && read_core_times(&times)) {
            busy[count] = others_busy_between(&times, &times, (int)arguments->core);
        }
        reference_ms[count++] = time_reference(reference, arguments, moved);
        sleep_ms(CALIBRATION_PAUSE_MS);
    }
    report_number("frequency_khz_before", frequency_khz_before);
    report_number("frequency_khz_after", frequency_khz((int)arguments->core));
    report_number("temperature_c_before", temperature_c_before);
    report_number("temperature_c_after", temperature_c());
    report_numbers("reference_ms", reference_ms, count);
    report_numbers("others_busy", busy, count);
}

int main(int count, char **words) {
    report_open();
    Arguments arguments = parse_arguments(count, words);
    pin_to_core((int)arguments.core);
    double load_lib_ms = engine_open(arguments.library);
    Network *reference = network_load(arguments.reference, REFERENCE);
    OutputDigest reference_output;
    bool moved = false;
    network_first_run(reference, &reference_output);
    run_untimed(reference, REFERENCE_WARMUP_RUNS, 0);
    if (arguments.model == NULL) {
        calibrate(&arguments, reference, &moved);
    } else {
        time_model(&arguments, reference, &moved);
    }
    report_common(&arguments, load_lib_ms, reference_output.checksum, moved);
    report_success();
}
