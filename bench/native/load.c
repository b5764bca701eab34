/* Load on one address: closed loop for saturation, open loop at a rate for latencies, streams.
 *
 *     load --port N --path /v1/chat/completions --keys FILE --question FILE [--question FILE …]
 *          --connections N --seconds S [--requests N] [--rate R] [--stagger-us N]
 *          [--abort-every N] [--tokens N --token-mark TEXT]
 *
 * Every answer is checked: its status, that it is the answer to its own question (a marker in the
 * question comes back; see upstream.c), of a stream that each token comes once, in order, and one
 * [DONE] last. With --rate questions fall due at equal distances and their clock starts when they
 * are due, sent or not, so a server that stalls does not hide it (no coordinated omission). With
 * --abort-every each Nth question is given up: streams at the first token, others once sent. Keys
 * (one a line) and questions are used in turn. Prints one JSON object; times in microseconds. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "http.h"
#include "order.h"

enum { MOST_ERRORS = 1000, DRAIN_S = 30 };

struct client {
    int fd; /* -1: not connected */
    struct buffer out, in, text;
    bool busy, headed, reused, writing, aborts, done;
    struct head head;
    struct body body;
    const struct question *question;
    char marker[17];
    int tokens;
    long long asked_ns, sent;
};

struct times {
    long long *ns;
    size_t count, room;
};

static struct {
    long asked, answered, errors, aborted, reconnects, tokens;
    struct times whole, first;
    char first_error[128];
} found;

static struct client *clients, **idle;
static int poller, idle_count, busy_count;
static bool stopping;

/* --- what was found ---------------------------------------------------------------------- */

static void keep(struct times *times, long long ns) {
    if (times->count == times->room) {
        times->room = times->room ? 2 * times->room : 4096;
        times->ns = realloc(times->ns, times->room * sizeof *times->ns);
        if (!times->ns) fail("realloc");
    }
    times->ns[times->count++] = ns;
}

static int compare(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

static double percentile_us(const struct times *sorted, double share) {
    if (!sorted->count) return 0;
    size_t at = (size_t)(share * (double)sorted->count);
    return (double)sorted->ns[at < sorted->count ? at : sorted->count - 1] / 1e3;
}

/* --- one client -------------------------------------------------------------------------- */

static void hang_up(struct client *one) {
    if (one->fd >= 0) close(one->fd);
    one->fd = -1;
}

static void rest(struct client *one) {
    one->busy = false;
    busy_count--;
    idle[idle_count++] = one;
}

__attribute__((format(printf, 2, 3)))
static void fail_answer(struct client *one, const char *format, ...) {
    va_list values;
    va_start(values, format);
    if (!found.errors++) vsnprintf(found.first_error, sizeof found.first_error, format, values);
    va_end(values);
    hang_up(one);
    rest(one);
}

static bool dial(struct client *one) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    int on = 1;
    place.sin_port = htons((unsigned short)order.port);
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (one->fd < 0) fail("socket");
    if (connect(one->fd, (struct sockaddr *)&place, sizeof place)) {
        hang_up(one);
        return false;
    }
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event);
    one->reused = one->writing = false;
    return true;
}

static void write_question(struct client *one, long number) {
    static unsigned long long seed;
    if (!seed) seed = (unsigned long long)now_ns() << 32;
    char head[1024];
    const struct buffer *body = &one->question->body;
    const char *key = order.keys[number / order.question_count % order.key_count];
    int bytes = snprintf(head, sizeof head,
                         "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
                         "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                         order.path, order.port, key, body->bytes);
    snprintf(one->marker, sizeof one->marker, "%016llx", seed + (unsigned long long)number);
    one->out.bytes = 0;
    buffer_add(&one->out, head, (size_t)bytes);
    buffer_add(&one->out, body->data, body->bytes);
    if (one->question->marker_at)
        memcpy(one->out.data + bytes + one->question->marker_at, one->marker, 16);
}

static void give_up(struct client *one) {
    found.aborted++;
    hang_up(one);
    rest(one);
}

static void flush(struct client *one) {
    while ((size_t)one->sent < one->out.bytes) {
        ssize_t sent = send(one->fd, one->out.data + one->sent, one->out.bytes - (size_t)one->sent,
                            MSG_NOSIGNAL);
        if (sent < 0) break; /* a lost connection shows when it is read */
        one->sent += sent;
    }
    bool writing = (size_t)one->sent < one->out.bytes;
    if (writing != one->writing) {
        struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = one};
        epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
        one->writing = writing;
    }
    if (!writing && one->aborts && !one->question->tokens) give_up(one);
}

static void send_question(struct client *one) {
    one->in.bytes = one->text.bytes = 0;
    one->headed = one->done = false;
    one->tokens = 0;
    one->sent = 0;
    if (one->fd < 0 && !dial(one)) fail_answer(one, "cannot connect: %s", strerror(errno));
    else flush(one);
}

/* Asks the next question; its clock starts at `due_ns`. */
static void ask(struct client *one, long long due_ns) {
    long number = found.asked++;
    one->question = &order.questions[number % order.question_count];
    one->aborts = order.abort_every && number % order.abort_every == order.abort_every - 1;
    one->asked_ns = due_ns;
    one->busy = true;
    busy_count++;
    write_question(one, number);
    send_question(one);
}

/* --- answers ----------------------------------------------------------------------------- */

/* Whether the event is a token; false, with the client at rest, when it is out of order. */
static bool count_token(struct client *one, const char *event, size_t bytes) {
    const char *mark = order.token_mark ? order.token_mark : one->marker;
    const char *at = memmem(event, bytes, mark, strlen(mark));
    if (!at) return true;
    if (!order.token_mark && strtol(at + 17, NULL, 10) != one->tokens) {
        fail_answer(one, "token %.16s after %d tokens", at + 17, one->tokens);
        return false;
    }
    if (!one->tokens++) keep(&found.first, now_ns() - one->asked_ns);
    found.tokens++;
    return true;
}

static bool read_event(struct client *one, const char *event, size_t bytes) {
    if (one->done) {
        fail_answer(one, "something after [DONE]");
        return false;
    }
    if (bytes >= 6 && !memcmp(event, "[DONE]", 6)) {
        one->done = true;
        return true;
    }
    return count_token(one, event, bytes);
}

/* Reads the whole lines of a stream; false when the client is at rest after a bad one. */
static bool read_events(struct client *one) {
    size_t at = 0;
    const char *end;
    while (at < one->text.bytes &&
           (end = memchr(one->text.data + at, '\n', one->text.bytes - at))) {
        const char *line = one->text.data + at;
        size_t bytes = (size_t)(end - line);
        at += bytes + 1;
        if (bytes > 6 && !memcmp(line, "data: ", 6) && !read_event(one, line + 6, bytes - 6))
            return false;
    }
    buffer_take(&one->text, at);
    return true;
}

static bool is_whole(const struct client *one) {
    if (one->question->tokens) return one->done && one->tokens == one->question->tokens;
    if (!one->question->marker_at) return true;
    return one->text.bytes && memmem(one->text.data, one->text.bytes, one->marker, 16);
}

static void finish(struct client *one) {
    if (!is_whole(one)) {
        fail_answer(one, one->question->tokens ? "a stream with %d tokens%s" : "%d, not its answer%s",
                    one->tokens, one->done ? "" : " and no [DONE]");
        return;
    }
    found.answered++;
    keep(&found.whole, now_ns() - one->asked_ns);
    one->reused = true;
    if (one->head.closes) hang_up(one);
    rest(one);
}

static void understand(struct client *one) {
    if (!one->headed) {
        if (!read_head(&one->in, &one->head)) return;
        if (one->head.status != 200) {
            fail_answer(one, "status %d", one->head.status);
            return;
        }
        one->headed = true;
        one->body = body_of(&one->head);
        buffer_take(&one->in, one->head.bytes);
    }
    read_body(&one->body, &one->in, &one->text);
    if (one->question->tokens && !read_events(one)) return;
    if (one->body.phase == BROKEN) fail_answer(one, "broken chunks");
    else if (one->aborts && one->tokens) give_up(one);
    else if (one->body.phase == ENDED) finish(one);
}

/* The server closed. Before the first byte of a kept connection's answer a client asks again. */
static void lose(struct client *one) {
    bool again = one->busy && one->reused && !one->headed && !one->in.bytes;
    hang_up(one);
    if (again) {
        found.reconnects++;
        send_question(one);
    } else if (one->busy) {
        fail_answer(one, "connection lost after %zu bytes", one->in.bytes + one->text.bytes);
    }
}

static void serve(struct client *one, unsigned events) {
    if (one->fd >= 0 && one->busy && events & EPOLLOUT) flush(one);
    if (one->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    buffer_reserve(&one->in, PIECE_BYTES);
    ssize_t got = recv(one->fd, one->in.data + one->in.bytes, PIECE_BYTES, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || !one->busy) {
        lose(one);
        return;
    }
    one->in.bytes += (size_t)got;
    understand(one);
}

/* --- when to ask ------------------------------------------------------------------------- */

static bool is_over(bool all_due, long long end_ns) {
    if (found.errors >= MOST_ERRORS || (order.requests && found.asked >= order.requests))
        return true;
    return order.rate > 0 ? all_due : now_ns() >= end_ns;
}

/* Asks what is due now; when the next question will be. */
static long long ask_due(long long began_ns, long long end_ns) {
    static long due;
    double step_ns = order.rate > 0 ? 1e9 / order.rate : (double)order.stagger_us * 1e3;
    long limit = order.rate > 0 ? (long)(order.rate * order.seconds) : order.connections;
    long long now = now_ns(), due_ns = end_ns;
    while (due < limit && idle_count) {
        due_ns = began_ns + (long long)((double)due * step_ns);
        if (due_ns > now) return due_ns;
        due++;
        ask(idle[--idle_count], order.rate > 0 ? due_ns : now);
    }
    while (!(stopping = is_over(due >= limit, end_ns)) && !order.rate && due >= limit && idle_count)
        ask(idle[--idle_count], now_ns());
    return end_ns;
}

static void set_timer(int timer, long long at_ns) {
    static long long set_ns;
    struct itimerspec spec = {.it_value = {at_ns / 1000000000, at_ns % 1000000000}};
    if (at_ns == set_ns) return;
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
    set_ns = at_ns;
}

/* Runs until all is asked and answered; the seconds it took. */
static double run(void) {
    struct epoll_event events[256], event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    long long began_ns = now_ns(), end_ns = began_ns + (long long)(order.seconds * 1e9);
    long long last_ns = end_ns + DRAIN_S * 1000000000LL;
    for (;;) {
        long long next_ns = ask_due(began_ns, end_ns);
        if ((stopping && !busy_count) || now_ns() >= last_ns) break;
        set_timer(timer, stopping || next_ns <= now_ns() ? last_ns : next_ns);
        int count = epoll_wait(poller, events, 256, -1);
        for (int at = 0; at < count; at++)
            if (events[at].data.ptr) serve(events[at].data.ptr, events[at].events);
    }
    for (int at = 0; at < order.connections; at++)
        if (clients[at].busy) fail_answer(&clients[at], "no answer within %d s", DRAIN_S);
    return (double)(now_ns() - began_ns) / 1e9;
}

int main(int count, char **words) {
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* ends with the benchmark, however that ends */
    prctl(PR_SET_TIMERSLACK, 1000);
    read_order(count, words);
    poller = epoll_create1(0);
    clients = calloc((size_t)order.connections, sizeof *clients);
    idle = calloc((size_t)order.connections, sizeof *idle);
    if (!clients || !idle) fail("calloc");
    for (int at = 0; at < order.connections; at++) {
        clients[at].fd = -1;
        idle[idle_count++] = &clients[at];
    }
    double seconds = run();
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    if (found.whole.count) qsort(found.whole.ns, found.whole.count, sizeof(long long), compare);
    if (found.first.count) qsort(found.first.ns, found.first.count, sizeof(long long), compare);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\": %.6f, \"asked\": %ld, \"requests\": %ld, \"errors\": %ld, "
           "\"aborted\": %ld, \"reconnects\": %ld, \"tokens\": %ld, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"first_p50_us\": %.1f, \"first_p99_us\": %.1f, \"cpu_s\": %.3f, "
           "\"first_error\": \"%s\"}\n",
           seconds, found.asked, found.answered, found.errors, found.aborted, found.reconnects,
           found.tokens, percentile_us(&found.whole, 0.5), percentile_us(&found.whole, 0.99),
           percentile_us(&found.first, 0.5), percentile_us(&found.first, 0.99), cpu_s,
           found.first_error);
    return 0;
}
