/* HTTP/1.1 as far as the benchmark's two programs need it: heads, lengths, chunks (RFC 9112). */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- time and memory --------------------------------------------------------------------- */

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Bytes that grow at the end and are taken from the front. */
struct buffer {
    char *data;
    size_t bytes, room;
};

static inline void buffer_reserve(struct buffer *buffer, size_t more) {
    if (buffer->bytes + more <= buffer->room) return;
    buffer->room = 2 * (buffer->bytes + more);
    buffer->data = realloc(buffer->data, buffer->room);
    if (!buffer->data) fail("realloc");
}

static inline void buffer_add(struct buffer *buffer, const char *data, size_t bytes) {
    buffer_reserve(buffer, bytes);
    memcpy(buffer->data + buffer->bytes, data, bytes);
    buffer->bytes += bytes;
}

static inline void buffer_take(struct buffer *buffer, size_t bytes) {
    buffer->bytes -= bytes;
    if (bytes && buffer->bytes) memmove(buffer->data, buffer->data + bytes, buffer->bytes);
}

static inline void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* --- heads ------------------------------------------------------------------------------- */

struct head {
    size_t bytes;  /* its empty line included */
    int status;    /* of an answer; 0 in a request */
    size_t length; /* of the body, when it is not chunked */
    bool chunked, sized, closes;
};

/* The value of a header line when it has this name, else NULL. */
static inline const char *header_value(const char *line, const char *end, const char *name) {
    size_t bytes = strlen(name);
    if ((size_t)(end - line) <= bytes || line[bytes] != ':') return NULL;
    if (strncasecmp(line, name, bytes)) return NULL;
    for (line += bytes + 1; line < end && (*line == ' ' || *line == '\t');) line++;
    return line;
}

static inline void read_header(const char *line, const char *end, struct head *head) {
    const char *value;
    if ((value = header_value(line, end, "content-length"))) {
        head->sized = true;
        head->length = strtoul(value, NULL, 10);
    } else if ((value = header_value(line, end, "transfer-encoding"))) {
        head->chunked = !strncasecmp(value, "chunked", 7);
    } else if ((value = header_value(line, end, "connection"))) {
        head->closes = !strncasecmp(value, "close", 5);
    }
}

/* Reads the head at the front; false while it is not whole. */
static inline bool read_head(const struct buffer *from, struct head *head) {
    const char *blank = from->bytes ? memmem(from->data, from->bytes, "\r\n\r\n", 4) : NULL;
    if (!blank) return false;
    const char *line = from->data, *last = blank + 2;
    *head = (struct head){.bytes = (size_t)(blank - from->data) + 4};
    if (from->bytes > 12 && !memcmp(line, "HTTP/1.", 7)) head->status = atoi(line + 9);
    while ((line = memchr(line, '\n', (size_t)(last - line))) && ++line < last) {
        const char *end = memchr(line, '\r', (size_t)(last - line));
        read_header(line, end ? end : last, head);
    }
    return true;
}

/* --- bodies ------------------------------------------------------------------------------ */

struct body {
    enum { SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, ENDED, BROKEN } phase;
    size_t left; /* of this body or chunk */
};

static inline struct body body_of(const struct head *head) {
    if (head->chunked) return (struct body){.phase = CHUNK_SIZE};
    return (struct body){.phase = head->length ? SIZED : ENDED, .left = head->length};
}

static inline void begin_chunk(struct body *body, const char *line) {
    char *end;
    body->left = strtoul(line, &end, 16);
    if (end == line) body->phase = BROKEN;
    else body->phase = body->left ? CHUNK_DATA : TRAILER;
}

/* One line of the chunked framing; its bytes, or 0 while it is not whole. */
static inline size_t framing_line(struct body *body, const char *data, size_t bytes) {
    const char *end = memchr(data, '\n', bytes);
    if (!end) return 0;
    if (body->phase == CHUNK_SIZE) begin_chunk(body, data);
    else if (body->phase == CHUNK_END) body->phase = CHUNK_SIZE;
    else if (end - data <= 1) body->phase = ENDED; /* the empty line after the trailers */
    return (size_t)(end - data) + 1;
}

/* Moves what is there of the body from `in` to `out`, without its framing. */
static inline void read_body(struct body *body, struct buffer *in, struct buffer *out) {
    size_t at = 0, step = 1;
    while (at < in->bytes && step && body->phase < ENDED) {
        if (body->phase != SIZED && body->phase != CHUNK_DATA) {
            step = framing_line(body, in->data + at, in->bytes - at);
        } else {
            step = in->bytes - at < body->left ? in->bytes - at : body->left;
            buffer_add(out, in->data + at, step);
            body->left -= step;
            if (!body->left) body->phase = body->phase == SIZED ? ENDED : CHUNK_END;
        }
        at += step;
    }
    buffer_take(in, at);
}

#endif
