/* What the load generator is to do, from its command line; see load.c. */
#ifndef BENCH_ORDER_H
#define BENCH_ORDER_H

#include <getopt.h>

#include "http.h"

enum { MOST_QUESTIONS = 16, PIECE_BYTES = 64 * 1024 };

struct question {
    struct buffer body;
    size_t marker_at; /* 0: it has none */
    int tokens;       /* 0: no stream */
};

static struct {
    int port, connections, abort_every, tokens;
    const char *path, *token_mark;
    struct buffer keys_text;
    char **keys;
    long key_count, question_count, requests, stagger_us;
    double seconds, rate;
    struct question questions[MOST_QUESTIONS];
} order = {.path = "/", .connections = 1, .seconds = 1};

static inline struct buffer read_file(const char *path) {
    struct buffer text = {0};
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    for (size_t got = 1; got; text.bytes += got) {
        buffer_reserve(&text, PIECE_BYTES);
        got = fread(text.data + text.bytes, 1, PIECE_BYTES - 1, file);
    }
    text.data[text.bytes] = 0;
    fclose(file);
    return text;
}

static inline void read_keys(const char *path) {
    order.keys_text = read_file(path);
    order.keys = calloc(order.keys_text.bytes + 1, sizeof *order.keys);
    if (!order.keys) fail("calloc");
    for (char *key = strtok(order.keys_text.data, "\n"); key; key = strtok(NULL, "\n"))
        order.keys[order.key_count++] = key;
}

static inline void read_question(const char *path) {
    if (order.question_count == MOST_QUESTIONS) exit(2);
    struct question *one = &order.questions[order.question_count++];
    one->body = read_file(path);
    const char *plan = strstr(one->body.data, "[bench marker=");
    if (!plan) return;
    one->marker_at = (size_t)(plan - one->body.data) + 14;
    sscanf(plan + 30, " tokens=%d", &one->tokens);
}

static inline void read_order(int count, char **words) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"keys", 1, 0, 'k'}, {"question", 1, 0, 'q'},
        {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'},
        {"rate", 1, 0, 'r'}, {"stagger-us", 1, 0, 'g'}, {"abort-every", 1, 0, 'a'},
        {"tokens", 1, 0, 't'}, {"token-mark", 1, 0, 'm'}, {0},
    };
    for (int name; (name = getopt_long(count, words, "", options, NULL)) != -1;) {
        switch (name) {
        case 'p': order.port = atoi(optarg); break;
        case 'u': order.path = optarg; break;
        case 'k': read_keys(optarg); break;
        case 'q': read_question(optarg); break;
        case 'c': order.connections = atoi(optarg); break;
        case 's': order.seconds = atof(optarg); break;
        case 'n': order.requests = atol(optarg); break;
        case 'r': order.rate = atof(optarg); break;
        case 'g': order.stagger_us = atol(optarg); break;
        case 'a': order.abort_every = atoi(optarg); break;
        case 't': order.tokens = atoi(optarg); break;
        case 'm': order.token_mark = optarg; break;
        default: exit(2);
        }
    }
    if (!order.port || !order.key_count || !order.question_count || order.connections < 1) exit(2);
    for (long at = 0; at < order.question_count && order.token_mark; at++)
        order.questions[at].tokens = order.tokens;
}

#endif
