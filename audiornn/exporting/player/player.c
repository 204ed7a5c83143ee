/* Player of a samplernn model that `audiornn export` wrote: C99 and its standard library alone.
 *
 *     cc -O3 -march=native -o player player.c -lm
 *     ./player . | aplay -f S16_LE -r 8000
 *
 * In a program of your own, compile with -DAUDIORNN_NO_MAIN and call audiornn_open, then audiornn_next for each sample;
 * it neither allocates nor locks. The network is that of audiornn/models/samplernn.py. Draws are those of
 * `audiornn generate --stream` with the same seed, as far as float32 round-off leaves them the same. MIT licence. */

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 256, SILENCE = 128, MAX_TIERS = 16, MAX_WIDTH = 4096, MAX_JSON = 1 << 16, LANES = 16 };

/* -DAUDIORNN_BFLOAT16 rounds the matrices to bfloat16: half the memory traffic, which limits the speed, for logits that
 * differ in the third digit. */
#ifdef AUDIORNN_BFLOAT16
typedef uint16_t Weight;
#else
typedef float Weight;
#endif

typedef struct { /* y = x W + b: kernel [inputs][outputs], a row for each input */
    int inputs, outputs;
    float *kernel, *bias; /* `kernel` holds values of type Weight */
} Layer;

typedef struct {
    int frame, ratio;                   /* codes of a frame; vectors for the next tier per tick */
    Layer input, recurrent, upsample;   /* gates in the order update, reset, candidate */
    float *x, *gates, *products, *h, *conditioning;
} Tier;

typedef struct {
    /* Sampling; may be changed between samples. */
    double temperature, top_p, confidence_threshold;
    int top_k;
    /* The rest is the player's own. */
    int sample_rate, embedding_width, lookback, dense, tiers, units, history_length;
    double preemphasis, sos[5]; /* b0 b1 b2 a1 a2 of the high-pass */
    uint64_t seed;
    Tier tier[MAX_TIERS];
    Layer hidden, head;
    float *memory, *embedding, *lookback_kernel, *tables; /* tables [lookback][CODES][dense] */
    float *x, *y, logits[CODES];
    unsigned char *history; /* the last codes, the latest last */
    int *active;            /* room for `multiply_add` */
    int phase;              /* codes since the slowest tier's tick */
    double amplitudes[CODES], emphasised, z[2];
    uint64_t counter[4], random[4];
    int random_used; /* of the eight 32-bit halves of `random` */
    char *error;
    size_t error_size;
} AudioRNN;

AudioRNN *audiornn_open(const char *folder, char *error, size_t size);
void audiornn_seed(AudioRNN *a, uint64_t seed);
void audiornn_prompt(AudioRNN *a, const unsigned char *codes, size_t n);
int audiornn_next_code(AudioRNN *a);
double audiornn_next(AudioRNN *a);
void audiornn_close(AudioRNN *a);

/* Write one line that says what is wrong, and return 0. */
static int fail(AudioRNN *a, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(a->error, a->error_size, format, arguments);
    va_end(arguments);
    for (char *c = a->error; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    return 0;
}

/* ---- JSON: a text is checked as a whole; after that, values are found by walking over it. ---- */

static const char *space(const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    return p;
}

static const char *string_end(const char *p)
{
    if (*p++ != '"') return NULL;
    for (; *p != '"'; p++) {
        if ((unsigned char)*p < ' ') return NULL;
        if (*p == '\\' && (unsigned char)*++p < ' ') return NULL;
    }
    return p + 1;
}

/* A number and its end, whatever the locale; NULL if there is none. Up to 15 digits are exact. */
static const char *number_end(const char *p, double *value)
{
    double mantissa = 0;
    int exponent = 0, written = 0, negative = *p == '-', down, digits = 0, fraction = 0;
    p += negative;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !fraction); p++) {
        if (*p == '.') {
            fraction = 1;
            continue;
        }
        digits++;
        if (mantissa < 1e17) {
            mantissa = 10 * mantissa + (*p - '0');
            exponent -= fraction;
        } else {
            exponent += !fraction;
        }
    }
    if (!digits) return NULL;
    if (*p == 'e' || *p == 'E') {
        p++;
        down = *p == '-';
        if (*p == '-' || *p == '+') p++;
        if (*p < '0' || *p > '9') return NULL;
        for (; *p >= '0' && *p <= '9'; p++)
            if (written < 10000) written = 10 * written + (*p - '0');
        exponent += down ? -written : written;
    }
    mantissa = exponent < 0 ? mantissa / pow(10, -exponent) : mantissa * pow(10, exponent);
    *value = negative ? -mantissa : mantissa;
    return p;
}

static const char *value_end(const char *p, int depth)
{
    double ignored;
    char closing = *p == '{' ? '}' : ']';
    int first = 1;
    if (*p == '"') return string_end(p);
    if (!strncmp(p, "true", 4) || !strncmp(p, "null", 4)) return p + 4;
    if (!strncmp(p, "false", 5)) return p + 5;
    if (*p != '{' && *p != '[') return number_end(p, &ignored);
    if (!depth) return NULL;
    for (p = space(p + 1); *p != closing; p = space(p), first = 0) {
        if (!first) {
            if (*p++ != ',') return NULL;
            p = space(p);
        }
        if (closing == '}') {
            if (!(p = string_end(p))) return NULL;
            p = space(p);
            if (*p++ != ':') return NULL;
            p = space(p);
        }
        if (!(p = value_end(p, depth - 1))) return NULL;
    }
    return p + 1;
}

/* The first element or key of an array or object, and the one behind a value; NULL if there is none. */
static const char *first(const char *p, char opening)
{
    if (!p || *p != opening) return NULL;
    p = space(p + 1);
    return *p == ']' || *p == '}' ? NULL : p;
}

static const char *following(const char *value)
{
    const char *p = space(value_end(value, MAX_JSON));
    return *p == ',' ? space(p + 1) : NULL;
}

static const char *find(const char *object, const char *key)
{
    size_t length = strlen(key);
    for (const char *p = first(object, '{'); p; p = following(p)) {
        const char *name = p, *end = string_end(p);
        p = space(space(end) + 1); /* its value, behind the colon */
        if ((size_t)(end - name) == length + 2 && !strncmp(name + 1, key, length)) return p;
    }
    return NULL;
}

static int is_text(const char *p, const char *text)
{
    size_t length = strlen(text);
    return p && *p == '"' && (size_t)(string_end(p) - p) == length + 2 && !strncmp(p + 1, text, length);
}

static int get_number(AudioRNN *a, const char *object, const char *key, double low, double high, double *value)
{
    const char *p = find(object, key);
    if (!p || !((*p >= '0' && *p <= '9') || *p == '-') || !number_end(p, value) || !(*value >= low && *value <= high))
        return fail(a, "model.json: %s must be a number from %g to %g", key, low, high);
    return 1;
}

static int get_integer(AudioRNN *a, const char *object, const char *key, int low, int high, int *value)
{
    double number;
    if (!get_number(a, object, key, low, high, &number)) return 0;
    if (number != floor(number)) return fail(a, "model.json: %s must be an integer", key);
    *value = (int)number;
    return 1;
}

/* ---- SHA-256 (FIPS 180-4) ---- */

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t *state, const unsigned char *block)
{
    static const uint32_t K[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8
            | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3)
            + (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25))
            + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        uint32_t u = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22))
            + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void sha256(const unsigned char *bytes, uint64_t n, char hexadecimal[65])
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char last[128] = {0};
    size_t rest = (size_t)(n % 64), end = rest < 56 ? 64 : 128;
    for (uint64_t i = 0; i + 64 <= n; i += 64) sha256_block(state, bytes + i);
    if (rest) memcpy(last, bytes + (n - rest), rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++) last[end - 1 - i] = (unsigned char)(8 * n >> 8 * i);
    for (size_t i = 0; i < end; i += 64) sha256_block(state, last + i);
    for (int i = 0; i < 8; i++) sprintf(hexadecimal + 8 * i, "%08lx", (unsigned long)state[i]);
}

/* ---- Loading ---- */

/* The bytes of a file, followed by a 0. `expected`: its size, where that is known; otherwise at most MAX_JSON. */
static unsigned char *read_file(AudioRNN *a, const char *folder, const char *name, uint64_t expected, uint64_t *size)
{
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = malloc(length);
    unsigned char *bytes = NULL;
    FILE *file;
    long end;
    if (!path) return fail(a, "out of memory"), NULL;
    snprintf(path, length, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file) {
        fail(a, "%s: %s", path, strerror(errno));
        free(path);
        return NULL;
    }
    end = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
    if (end < 0 || fseek(file, 0, SEEK_SET))
        fail(a, "%s: cannot be read", path);
    else if (expected ? (uint64_t)end != expected : end > MAX_JSON)
        fail(a, "%s: has %ld bytes, but must have %s%.0f: copy the folder again", path, end, expected ? "" : "at most ",
            expected ? (double)expected : (double)MAX_JSON);
    else if (!(bytes = malloc((size_t)end + 1)))
        fail(a, "%s: out of memory", path);
    else if (fread(bytes, 1, (size_t)end, file) != (size_t)end) {
        fail(a, "%s: cannot be read", path);
        free(bytes);
        bytes = NULL;
    } else {
        bytes[end] = 0;
        *size = (uint64_t)end;
    }
    fclose(file);
    free(path);
    return bytes;
}

typedef struct { /* a tensor that the sizes ask for, and where it goes */
    char name[40];
    int dimensions, shape[3], rounded;
    float **into;
} Tensor;

typedef struct {
    int n;
    Tensor tensor[6 * MAX_TIERS + 8];
} Tensors;

static void expect(Tensors *all, float **into, const char *prefix, int tier, const char *name, int d0, int d1, int d2)
{
    Tensor *t = &all->tensor[all->n++];
    if (tier < 0)
        snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    else
        snprintf(t->name, sizeof t->name, "tier_%d.%s%s", tier, prefix, name);
    t->dimensions = d2 ? 3 : d1 ? 2 : 1;
    t->shape[0] = d0;
    t->shape[1] = d1;
    t->shape[2] = d2;
    t->into = into;
    t->rounded = 0;
}

static void expect_layer(Tensors *all, Layer *layer, const char *prefix, int tier, int inputs, int outputs, int biases)
{
    layer->inputs = inputs;
    layer->outputs = outputs;
    expect(all, &layer->kernel, prefix, tier, ".kernel", inputs, outputs, 0);
    all->tensor[all->n - 1].rounded = sizeof(Weight) == 2;
    expect(all, &layer->bias, prefix, tier, ".bias", biases, 0, 0);
}

static uint64_t count(const Tensor *t)
{
    uint64_t n = 1;
    for (int i = 0; i < t->dimensions; i++) n *= (uint64_t)t->shape[i];
    return n;
}

/* Offset in bytes of a tensor, which must have the shape that the sizes ask for and lie within the file. */
static int locate(AudioRNN *a, const char *list, const Tensor *t, uint64_t bytes, uint64_t *offset)
{
    const char *entry, *shape;
    double value;
    for (entry = first(list, '['); entry && !is_text(find(entry, "name"), t->name); entry = following(entry)) {}
    if (!entry) return fail(a, "model.json: tensors has no %s", t->name);
    shape = first(find(entry, "shape"), '[');
    for (int i = 0; i < t->dimensions; i++, shape = following(shape))
        if (!shape || !number_end(shape, &value) || value != t->shape[i]
            || !following(shape) != (i + 1 == t->dimensions))
            return fail(a, "model.json: the shape of %s does not fit the sizes of the model", t->name);
    if (!get_number(a, entry, "offset", 0, (double)bytes, &value)) return 0;
    *offset = (uint64_t)value;
    if (*offset % 4 || *offset != value || 4 * count(t) > bytes - *offset)
        return fail(a, "model.json: the offset of %s is not in the file of the weights", t->name);
    return 1;
}

/* Zeroed memory of n floats from `used` on, at a multiple of 64 bytes; with NULL it only counts. */
static float *take(float *memory, uint64_t *used, uint64_t n)
{
    float *part = memory ? memory + *used : NULL;
    *used += (n + 15) / 16 * 16;
    return part;
}

static uint64_t lay_out(AudioRNN *a, Tensors *all, float *memory)
{
    uint64_t used = 0;
    for (int i = 0; i < all->n; i++) {
        const Tensor *t = &all->tensor[i];
        *t->into = take(memory, &used, t->rounded ? (count(t) + 1) / 2 : count(t));
    }
    for (int i = 0; i < a->tiers; i++) {
        Tier *t = &a->tier[i];
        t->x = take(memory, &used, (uint64_t)t->input.inputs);
        t->gates = take(memory, &used, (uint64_t)t->input.outputs);
        t->products = take(memory, &used, (uint64_t)t->input.outputs);
        t->h = take(memory, &used, (uint64_t)a->units);
        t->conditioning = take(memory, &used, (uint64_t)t->upsample.outputs);
    }
    a->tables = take(memory, &used, (uint64_t)a->lookback * CODES * (uint64_t)a->dense);
    a->x = take(memory, &used, (uint64_t)a->dense);
    a->y = take(memory, &used, (uint64_t)a->dense);
    return used;
}

static int read_sizes(AudioRNN *a, const char *json, Tensors *all)
{
    const char *model = find(json, "model"), *codec = find(json, "codec"), *sampling = find(json, "sampling");
    const char *predictor = find(model, "predictor"), *frames = find(model, "frames");
    const char *highpass = find(codec, "highpass");
    double number;
    int version, codes, next, seen, vectors;
    static const char *const sos[] = {"b0", "b1", "b2", "a1", "a2"};
    if (!is_text(find(json, "format"), "audiornn-export"))
        return fail(a, "model.json: format must be audiornn-export, as audiornn export writes it");
    if (!get_integer(a, json, "version", 1, 1, &version)) return 0;
    if (!is_text(find(model, "name"), "samplernn") || !predictor || strncmp(predictor, "false", 5))
        return fail(a, "model.json: only samplernn without predictor can be played");
    if (!get_integer(a, model, "units", 1, MAX_WIDTH, &a->units)
        || !get_integer(a, model, "embedding", 1, MAX_WIDTH, &a->embedding_width)
        || !get_integer(a, model, "lookback", 1, MAX_WIDTH, &a->lookback)
        || !get_integer(a, model, "dense", 1, MAX_WIDTH, &a->dense)
        || !get_integer(a, codec, "codes", CODES, CODES, &codes)
        || !get_integer(a, codec, "sample_rate", 1000, 384000, &a->sample_rate)
        || !get_number(a, codec, "preemphasis", 0, 0.999999, &a->preemphasis)
        || !get_integer(a, sampling, "top_k", 0, CODES, &a->top_k)
        || !get_number(a, sampling, "temperature", 0, 10, &a->temperature)
        || !get_number(a, sampling, "top_p", 1e-9, 1, &a->top_p)
        || !get_number(a, sampling, "confidence_threshold", 1e-9, 1, &a->confidence_threshold)
        || !get_number(a, sampling, "seed", 0, 2147483647, &number))
        return 0;
    a->seed = (uint64_t)number;
    for (int i = 0; i < 5; i++)
        if (!get_number(a, highpass, sos[i], -2, 2, &a->sos[i])) return 0;
    if (fabs(a->sos[4]) >= 1 || fabs(a->sos[3]) >= 1 + a->sos[4])
        return fail(a, "model.json: highpass is not a stable filter");
    for (const char *p = first(frames, '['); p; p = following(p), a->tiers++) {
        if (a->tiers == MAX_TIERS || !number_end(p, &number) || !(number >= 1 && number <= MAX_WIDTH)
            || number != floor(number))
            return fail(a, "model.json: frames must be at most %d integers from 1 to %d", MAX_TIERS, MAX_WIDTH);
        a->tier[a->tiers].frame = (int)number;
    }
    if (!a->tiers) return fail(a, "model.json: frames must be a list of integers");
    a->history_length = a->lookback > a->tier[0].frame ? a->lookback : a->tier[0].frame;
    expect(all, &a->embedding, "embedding", -1, "", CODES, a->embedding_width, 0);
    expect(all, &a->lookback_kernel, "lookback.kernel", -1, "", a->lookback, a->embedding_width, a->dense);
    for (int i = 0; i < a->tiers; i++) {
        Tier *t = &a->tier[i];
        int last = i + 1 == a->tiers;
        next = last ? 1 : t[1].frame;
        if (t->frame % next || t->frame == next)
            return fail(a, "model.json: frames must each be a multiple of the next");
        t->ratio = t->frame / next;
        seen = t->frame * a->embedding_width + (i ? a->units : 0);
        vectors = t->ratio * (last ? a->dense : a->units);
        expect_layer(all, &t->input, "input", i, seen, 3 * a->units, 3 * a->units);
        expect_layer(all, &t->recurrent, "recurrent", i, a->units, 3 * a->units, a->units);
        expect_layer(all, &t->upsample, "upsample", i, a->units, vectors, vectors);
    }
    expect_layer(all, &a->hidden, "hidden", -1, a->dense, a->dense, a->dense);
    expect_layer(all, &a->head, "head", -1, a->dense, CODES, CODES);
    return 1;
}

static int read_weights(AudioRNN *a, const char *folder, const char *json, Tensors *all)
{
    const char *weights = find(json, "weights"), *list = find(weights, "tensors");
    double number;
    uint64_t bytes, needed = 0, used, offset = 0, widest = CODES;
    unsigned char *content;
    char digest[65];
    int good = 1;
    if (!get_number(a, weights, "bytes", 4, 1e12, &number)) return 0;
    bytes = (uint64_t)number;
    for (int i = 0; i < all->n; i++) {
        if (!locate(a, list, &all->tensor[i], bytes, &offset)) return 0;
        needed += 4 * count(&all->tensor[i]);
    }
    if (needed > bytes) return fail(a, "model.json: the tensors overlap in the file of the weights");
    if (!(content = read_file(a, folder, "weights.bin", bytes, &bytes))) return 0;
    sha256(content, bytes, digest);
    used = lay_out(a, all, NULL);
    for (int i = 0; i < a->tiers; i++)
        if ((uint64_t)a->tier[i].input.inputs > widest) widest = (uint64_t)a->tier[i].input.inputs;
    if (widest < MAX_WIDTH) widest = MAX_WIDTH;
    if (!is_text(find(weights, "sha256"), digest))
        good = fail(a, "weights.bin: damaged: its SHA-256 is not that of model.json: copy the folder again");
    else if (used > SIZE_MAX / 4 - 16 || !(a->memory = calloc((size_t)used + 16, sizeof(float)))
        || !(a->active = malloc((size_t)widest * sizeof(int))) || !(a->history = malloc((size_t)a->history_length)))
        good = fail(a, "out of memory: the model needs %.0f bytes", 4 * (double)used);
    else
        lay_out(a, all, a->memory + (64 - (uintptr_t)a->memory % 64) % 64 / 4);
    for (int i = 0; good && i < all->n; i++) {
        const Tensor *t = &all->tensor[i];
        uint64_t n = count(t);
        locate(a, list, t, bytes, &offset);
        for (uint64_t k = 0; good && k < n; k++) {
            const unsigned char *b = content + offset + 4 * k;
            uint32_t bits = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
            if ((bits & 0x7f800000) == 0x7f800000)
                good = fail(a, "weights.bin: %s holds values that are not finite", t->name);
            if (t->rounded) {
                uint16_t high = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
                if ((high & 0x7f80) == 0x7f80) high = (uint16_t)(bits >> 16); /* rounded beyond the largest */
                memcpy((uint16_t *)*t->into + k, &high, 2);
            } else
                memcpy(*t->into + k, &bits, 4);
        }
    }
    free(content);
    return good;
}

/* Products of every code at every lag of the look-back with its kernel: one row of `tables` each. */
static int make_tables(AudioRNN *a)
{
    double *row = malloc((size_t)a->dense * sizeof(double));
    if (!row) return fail(a, "out of memory");
    for (int at = 0; at < a->lookback * CODES; at++) {
        const float *kernel = a->lookback_kernel + (size_t)(at / CODES) * (size_t)a->embedding_width * (size_t)a->dense;
        for (int j = 0; j < a->dense; j++) row[j] = 0;
        for (int e = 0; e < a->embedding_width; e++) {
            double value = a->embedding[(size_t)(at % CODES) * (size_t)a->embedding_width + (size_t)e];
            for (int j = 0; j < a->dense; j++) row[j] += value * kernel[(size_t)e * (size_t)a->dense + (size_t)j];
        }
        for (int j = 0; j < a->dense; j++) a->tables[(size_t)at * (size_t)a->dense + (size_t)j] = (float)row[j];
    }
    free(row);
    return 1;
}

/* ---- The network ---- */

static float bits_to_float(int32_t bits)
{
    union { int32_t i; float f; } u;
    u.i = bits;
    return u.f;
}

/* exp of x in [-87, 87], to a relative error of 2e-7: the polynomial of Cephes' expf (Moshier 1992). */
static inline float exponential(float x)
{
    int32_t n = (int32_t)(x * 1.44269504f + 128.5f) - 128;
    float r = x - (float)n * 0.693359375f + (float)n * 2.12194440e-4f, p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1) * bits_to_float((n + 127) * (1 << 23));
}

/* Not a number becomes -80, so that it never is an index or an integer. */
static inline float clamp80(float x)
{
    x = x > -80 ? x : -80;
    return x < 80 ? x : 80;
}

static inline float sigmoid(float x) { return 1 / (1 + exponential(clamp80(-x))); }
static inline float hyperbolic_tangent(float x) { return 1 - 2 / (1 + exponential(clamp80(2 * x))); }

#ifdef AUDIORNN_BFLOAT16
static inline float weight(Weight w) { return bits_to_float((int32_t)((uint32_t)w << 16)); }
#else
static inline float weight(Weight w) { return w; }
#endif

/* y += x W. Rows of inputs that are 0, half of those behind a relu, are not read. */
static void multiply_add(const Layer *layer, const float *restrict x, float *restrict y, int *restrict active)
{
    const Weight *kernel = (const Weight *)layer->kernel;
    const size_t outputs = (size_t)layer->outputs;
    int n = 0, k;
    for (int i = 0; i < layer->inputs; i++) {
        active[n] = i;
        n += x[i] != 0;
    }
    for (k = 0; k + 8 <= n; k += 8) {
        const int *r = active + k;
        const Weight *restrict a = kernel + (size_t)r[0] * outputs, *restrict b = kernel + (size_t)r[1] * outputs;
        const Weight *restrict c = kernel + (size_t)r[2] * outputs, *restrict d = kernel + (size_t)r[3] * outputs;
        const Weight *restrict e = kernel + (size_t)r[4] * outputs, *restrict f = kernel + (size_t)r[5] * outputs;
        const Weight *restrict g = kernel + (size_t)r[6] * outputs, *restrict h = kernel + (size_t)r[7] * outputs;
        const float xa = x[r[0]], xb = x[r[1]], xc = x[r[2]], xd = x[r[3]];
        const float xe = x[r[4]], xf = x[r[5]], xg = x[r[6]], xh = x[r[7]];
        for (size_t j = 0; j < outputs; j++)
            y[j] += ((xa * weight(a[j]) + xb * weight(b[j])) + (xc * weight(c[j]) + xd * weight(d[j])))
                + ((xe * weight(e[j]) + xf * weight(f[j])) + (xg * weight(g[j]) + xh * weight(h[j])));
    }
    for (; k < n; k++) {
        const Weight *restrict a = kernel + (size_t)active[k] * outputs;
        const float value = x[active[k]];
        for (size_t j = 0; j < outputs; j++) y[j] += value * weight(a[j]);
    }
}

static void multiply(const Layer *layer, const float *x, float *y, int *active)
{
    memcpy(y, layer->bias, (size_t)layer->outputs * sizeof *y);
    multiply_add(layer, x, y, active);
}

static void tick(AudioRNN *a, int i)
{
    Tier *t = &a->tier[i];
    const int units = a->units, width = a->embedding_width, embedded = t->frame * width;
    const unsigned char *codes = a->history + a->history_length - t->frame;
    float *restrict h = t->h, *restrict x = t->gates, *restrict p = t->products;
    const float *restrict bias = t->recurrent.bias;
    for (int k = 0; k < t->frame; k++)
        memcpy(t->x + k * width, a->embedding + codes[k] * width, (size_t)width * sizeof(float));
    if (i) {
        const Tier *slower = t - 1;
        int vector = a->phase % slower->frame / t->frame;
        memcpy(t->x + embedded, slower->conditioning + vector * units, (size_t)units * sizeof(float));
    }
    multiply(&t->input, t->x, x, a->active);
    memset(p, 0, 3 * (size_t)units * sizeof *p);
    multiply_add(&t->recurrent, h, p, a->active);
    for (int k = 0; k < units; k++) {
        float z = sigmoid(x[k] + p[k]), r = sigmoid(x[units + k] + p[units + k]);
        float candidate = hyperbolic_tangent(x[2 * units + k] + r * (p[2 * units + k] + bias[k]));
        h[k] = candidate + z * (h[k] - candidate);
    }
    multiply(&t->upsample, h, t->conditioning, a->active);
}

static void relu(float *x, int n)
{
    for (int i = 0; i < n; i++) x[i] = x[i] > 0 ? x[i] : 0;
}

/* Let a code join the past: the logits of the next one. */
static void step(AudioRNN *a, int code)
{
    const Tier *last = &a->tier[a->tiers - 1];
    const size_t dense = (size_t)a->dense;
    const unsigned char *recent = a->history + a->history_length - a->lookback;
    float *restrict x = a->x;
    memmove(a->history, a->history + 1, (size_t)a->history_length - 1);
    a->history[a->history_length - 1] = (unsigned char)code;
    for (int i = 0; i < a->tiers; i++)
        if (a->phase % a->tier[i].frame == 0) tick(a, i);
    memcpy(x, last->conditioning + (size_t)(a->phase % last->frame) * dense, dense * sizeof *x);
    for (int lag = 0; lag < a->lookback; lag++) {
        const float *restrict row = a->tables + ((size_t)lag * CODES + recent[lag]) * dense;
        for (size_t j = 0; j < dense; j++) x[j] += row[j];
    }
    a->phase = (a->phase + 1) % a->tier[0].frame;
    relu(x, a->dense);
    multiply(&a->hidden, x, a->y, a->active);
    relu(a->y, a->dense);
    multiply(&a->head, a->y, a->logits, a->active);
}

/* ---- Draws ---- */

static uint64_t multiply_high(uint64_t x, uint64_t y)
{
    uint64_t a = x >> 32, b = x & 0xffffffff, c = y >> 32, d = y & 0xffffffff;
    uint64_t middle = (b * d >> 32) + (a * d & 0xffffffff) + b * c;
    return a * c + (a * d >> 32) + (middle >> 32);
}

/* Philox4x64-10 (Salmon et al. 2011) as in NumPy, with the key [seed, 0]: a float in [0, 1). */
static float uniform(AudioRNN *a)
{
    uint64_t bits;
    if (a->random_used == 8) {
        uint64_t *c = a->random, key[2] = {a->seed, 0};
        for (int i = 0; i < 4 && !++a->counter[i]; i++) {}
        memcpy(c, a->counter, sizeof a->counter);
        for (int round = 0; round < 10; round++) {
            uint64_t high0 = multiply_high(0xD2E7470EE14C6C93u, c[0]), low0 = 0xD2E7470EE14C6C93u * c[0];
            uint64_t high1 = multiply_high(0xCA5A826395121157u, c[2]), low1 = 0xCA5A826395121157u * c[2];
            c[0] = high1 ^ c[1] ^ key[0];
            c[1] = low1;
            c[2] = high0 ^ c[3] ^ key[1];
            c[3] = low0;
            key[0] += 0x9E3779B97F4A7C15u;
            key[1] += 0xBB67AE8584CAA73Bu;
        }
        a->random_used = 0;
    }
    bits = a->random[a->random_used / 2] >> (a->random_used % 2 ? 32 : 0);
    a->random_used++;
    return (float)((bits & 0xffffffff) >> 8) * (1.0f / 16777216);
}

/* Number or sum of the weights that reach a threshold, in LANES sums, so that it becomes vector code. */
static float mass_above(const float *weights, float threshold, int by_count)
{
    float part[LANES] = {0}, amount = 0;
    if (by_count)
        for (int i = 0; i < CODES; i += LANES)
            for (int k = 0; k < LANES; k++) part[k] += weights[i + k] >= threshold ? 1.0f : 0.0f;
    else
        for (int i = 0; i < CODES; i += LANES)
            for (int k = 0; k < LANES; k++) part[k] += weights[i + k] >= threshold ? weights[i + k] : 0.0f;
    for (int k = 0; k < LANES; k++) amount += part[k];
    return amount;
}

/* Keep the largest weights up to a number or a sum; the threshold is found by bisection on its bits. */
static void keep_largest(float *weights, float goal, int by_count)
{
    int32_t low = 0, high = 0x3f800001; /* above the bits of 1 */
    float threshold, kept;
    while (high - low > 1) {
        int32_t middle = (low + high) / 2;
        if (mass_above(weights, bits_to_float(middle), by_count) >= goal)
            low = middle;
        else
            high = middle;
    }
    threshold = bits_to_float(low);
    kept = mass_above(weights, bits_to_float(high), by_count);
    for (int i = 0; i < CODES; i++) {
        if (weights[i] == threshold && kept < goal)
            kept += by_count ? 1 : threshold;
        else if (weights[i] <= threshold)
            weights[i] = 0;
    }
}

static float exponentials(const float *logits, float largest, float factor, float *weights)
{
    for (int i = 0; i < CODES; i++) {
        float x = (logits[i] - largest) * factor, e = exponential(clamp80(x));
        weights[i] = x > -80 ? e : 0;
    }
    return mass_above(weights, 0, 0);
}

/* Draw from softmax(logits / temperature) by inversion; see audiornn/generation/fused/draws.py. */
static int draw(AudioRNN *a, float random)
{
    const float *logits = a->logits;
    float largest = logits[0], weights[CODES];
    double sums[CODES / LANES], total = 0, reached = 0, goal;
    int group = 0, i, end, alone = 0;
    for (i = 1; i < CODES; i++) largest = logits[i] > largest ? logits[i] : largest;
    if (a->temperature <= 0) {
        for (i = 0; i < CODES - 1 && logits[i] != largest; i++) {}
        return i;
    }
    if (a->confidence_threshold < 1)
        alone = (float)a->confidence_threshold * exponentials(logits, largest, 1, weights) <= 1;
    if (!alone) {
        exponentials(logits, largest, 1 / (float)a->temperature, weights);
        if (a->top_k > 0 && a->top_k < CODES) keep_largest(weights, (float)a->top_k, 1);
        if (a->top_p < 1) keep_largest(weights, (float)a->top_p * mass_above(weights, 0, 0), 0);
    }
    for (int g = 0; g < CODES / LANES; g++) {
        float some = 0;
        for (int k = 0; k < LANES; k++) some += weights[g * LANES + k];
        sums[g] = some;
        total += some;
    }
    goal = random * total;
    while (group < CODES / LANES - 1 && reached + sums[group] <= goal) reached += sums[group++];
    end = (group + 1) * LANES;
    for (i = group * LANES; i < end; i++) {
        reached += weights[i];
        if (reached > goal) return i;
    }
    for (i--; i > 0 && weights[i] == 0; i--) {}
    return i;
}

/* ---- What a program calls ---- */

static void reset(AudioRNN *a)
{
    memset(a->history, SILENCE, (size_t)a->history_length);
    for (int i = 0; i < a->tiers; i++) memset(a->tier[i].h, 0, (size_t)a->units * sizeof(float));
    a->phase = 0;
    a->emphasised = a->z[0] = a->z[1] = 0;
}

/* The wave of a code: µ-law decoded, de-emphasised, high-passed; not clipped. */
static double decode(AudioRNN *a, int code)
{
    double x = a->emphasised = a->amplitudes[code] + a->preemphasis * a->emphasised;
    double y = a->sos[0] * x + a->z[0];
    a->z[0] = a->sos[1] * x - a->sos[3] * y + a->z[1];
    a->z[1] = a->sos[2] * x - a->sos[4] * y;
    return y;
}

/* Load the model in a folder; NULL, and one line in `error`, if it cannot be used. */
AudioRNN *audiornn_open(const char *folder, char *error, size_t size)
{
    AudioRNN *a = calloc(1, sizeof *a);
    Tensors *all = calloc(1, sizeof *all);
    uint64_t length = 0;
    char *json = NULL;
    int good;
    if (!a || !all) {
        snprintf(error, size, "out of memory");
        free(a);
        free(all);
        return NULL;
    }
    a->error = error;
    a->error_size = size;
    json = (char *)read_file(a, folder, "model.json", 0, &length);
    good = json != NULL;
    if (good) {
        const char *begin = space(json), *end = value_end(begin, 32);
        if (!end || *space(end) || strlen(json) != length || *begin != '{')
            good = fail(a, "model.json: not readable as JSON");
        else
            good = read_sizes(a, begin, all) && read_weights(a, folder, begin, all) && make_tables(a);
    }
    free(json);
    free(all);
    if (!good) {
        audiornn_close(a);
        return NULL;
    }
    for (int code = 0; code < CODES; code++) {
        double companded = code / 255.0 * 2 - 1, amplitude = expm1(fabs(companded) * log1p(255)) / 255;
        a->amplitudes[code] = companded < 0 ? -amplitude : amplitude;
    }
    audiornn_seed(a, a->seed);
    reset(a);
    step(a, SILENCE);
    return a;
}

/* Restart the random numbers. */
void audiornn_seed(AudioRNN *a, uint64_t seed)
{
    a->seed = seed;
    memset(a->counter, 0, sizeof a->counter);
    a->random_used = 8;
}

/* Restart, and continue these codes, at least one. */
void audiornn_prompt(AudioRNN *a, const unsigned char *codes, size_t n)
{
    reset(a);
    for (size_t i = 0; i < n; i++) {
        step(a, codes[i]);
        decode(a, codes[i]);
    }
}

/* Draw the next code. */
int audiornn_next_code(AudioRNN *a)
{
    int code = draw(a, uniform(a));
    step(a, code);
    return code;
}

/* The next sample, in [-1, 1]. */
double audiornn_next(AudioRNN *a)
{
    double y = decode(a, audiornn_next_code(a));
    return y > 1 ? 1 : y < -1 ? -1 : y;
}

void audiornn_close(AudioRNN *a)
{
    if (!a) return;
    free(a->memory);
    free(a->active);
    free(a->history);
    free(a);
}

#ifndef AUDIORNN_NO_MAIN

static const char USAGE[] = "usage: player FOLDER [--seed N] [--seconds S] [--temperature T] [--top-p P] [--top-k K]\n"
    "              [--confidence-threshold C] [--prompt-codes FILE] [--wav] [--codes] [--logits FILE]\n\n"
    "Writes 16-bit little-endian PCM to stdout, without end unless --seconds is given.\n"
    "  --prompt-codes FILE  continue these codes, a byte each\n"
    "  --wav                with a wav header\n"
    "  --codes              write the codes, a byte each, instead of PCM\n"
    "  --logits FILE        also write the logits before each code, 256 float32 as this machine has them\n";

static int stop(const char *format, const char *text)
{
    fputs("error: ", stderr);
    fprintf(stderr, format, text);
    fputc('\n', stderr);
    return 2;
}

static void little_endian(unsigned char *into, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) into[i] = (unsigned char)(value >> 8 * i);
}

static int write_header(int rate, uint32_t bytes)
{
    unsigned char header[44] = "RIFF....WAVEfmt ";
    little_endian(header + 4, bytes > 0xffffffffu - 36 ? 0xffffffffu : bytes + 36, 4);
    little_endian(header + 16, 16, 4);
    little_endian(header + 20, 1, 2);
    little_endian(header + 22, 1, 2);
    little_endian(header + 24, (uint32_t)rate, 4);
    little_endian(header + 28, 2 * (uint32_t)rate, 4);
    little_endian(header + 32, 2, 2);
    little_endian(header + 34, 16, 2);
    memcpy(header + 36, "data", 4);
    little_endian(header + 40, bytes, 4);
    return fwrite(header, 1, sizeof header, stdout) == sizeof header;
}

static int continue_codes(AudioRNN *a, const char *path)
{
    static unsigned char codes[4096];
    FILE *file = fopen(path, "rb");
    size_t n, total = 0;
    if (!file) return 0;
    for (reset(a); (n = fread(codes, 1, sizeof codes, file)); total += n)
        for (size_t i = 0; i < n; i++) {
            step(a, codes[i]);
            decode(a, codes[i]);
        }
    n = (size_t)ferror(file);
    fclose(file);
    return total && !n;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; double low, high; int integer; } option[] = {
        {"--seed", 0, 2147483647, 1}, {"--seconds", 0, 1e9, 0}, {"--temperature", 0, 10, 0}, {"--top-p", 1e-9, 1, 0},
        {"--top-k", 0, 256, 1}, {"--confidence-threshold", 1e-9, 1, 0}};
    enum { SEED, SECONDS, TEMPERATURE, TOP_P, TOP_K, CONFIDENCE, OPTIONS };
    double value[OPTIONS], left;
    int given[OPTIONS] = {0}, wav = 0, as_codes = 0, status = 0;
    const char *folder = NULL, *prompt = NULL, *trace = NULL;
    FILE *logits = NULL;
    char error[400];
    AudioRNN *a;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *end;
        int k = 0;
        while (k < OPTIONS && strcmp(name, option[k].name)) k++;
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) return fputs(USAGE, stdout), 0;
        if (!strcmp(name, "--wav"))
            wav = 1;
        else if (!strcmp(name, "--codes"))
            as_codes = 1;
        else if (k == OPTIONS && strcmp(name, "--prompt-codes") && strcmp(name, "--logits")) {
            if (folder || *name == '-') return stop("%s: no such option: see player --help", name);
            folder = name;
        } else if (++i == argc)
            return stop("%s needs a value", name);
        else if (k == OPTIONS)
            *(strcmp(name, "--logits") ? &prompt : &trace) = argv[i];
        else {
            end = number_end(argv[i], &value[k]);
            if (!end || *end || !(value[k] >= option[k].low && value[k] <= option[k].high)
                || (option[k].integer && value[k] != floor(value[k]))) {
                snprintf(error, sizeof error, "%s is %.60s, but must be %s from %g to %.10g", name, argv[i],
                    option[k].integer ? "an integer" : "a number", option[k].low, option[k].high);
                return stop("%s", error);
            }
            given[k] = 1;
        }
    }
    if (!folder) return fputs(USAGE, stderr), 2;
    if (!(a = audiornn_open(folder, error, sizeof error))) return stop("%s", error);
    if (given[SEED]) audiornn_seed(a, (uint64_t)value[SEED]);
    if (given[TEMPERATURE]) a->temperature = value[TEMPERATURE];
    if (given[TOP_P]) a->top_p = value[TOP_P];
    if (given[TOP_K]) a->top_k = (int)value[TOP_K];
    if (given[CONFIDENCE]) a->confidence_threshold = value[CONFIDENCE];
    left = given[SECONDS] ? floor(value[SECONDS] * a->sample_rate + 0.5) : HUGE_VAL;
    if (prompt && !continue_codes(a, prompt))
        status = stop("%s: cannot be read, or has no codes", prompt);
    else if (trace && !(logits = fopen(trace, "wb")))
        status = stop("%s: cannot be written", trace);
    else if (wav && !as_codes && !write_header(a->sample_rate, left < 2147483000 ? 2 * (uint32_t)left : 0xffffffffu))
        status = stop("%s: cannot be written", "stdout");
    while (!status && left > 0) {
        unsigned char block[2 * 250];
        int n = left < 250 ? (int)left : 250;
        for (int i = 0; i < n; i++) {
            if (logits) fwrite(a->logits, sizeof(float), CODES, logits);
            if (as_codes)
                block[i] = (unsigned char)audiornn_next_code(a);
            else
                little_endian(block + 2 * i, (uint32_t)lrint(audiornn_next(a) * 32767), 2);
        }
        if (fwrite(block, as_codes ? 1 : 2, (size_t)n, stdout) != (size_t)n || fflush(stdout))
            status = stop("%s: cannot be written", "stdout");
        left -= n;
    }
    if (logits && (ferror(logits) | fclose(logits))) status = stop("%s: cannot be written", trace);
    audiornn_close(a);
    return status;
}

#endif
