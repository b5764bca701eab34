/* The fastest upstream that says what an engine says: two addresses, one thread, epoll.
 *
 *     upstream            prints its two ports as a JSON list and serves until it is ended
 *
 * A question carries its plan in its text: [bench marker=0123456789abcdef tokens=64 pace_us=0].
 * Every answer repeats the marker, so that a client can tell its own. With `"stream": true` that
 * many tokens come, the first at once and the others `pace_us` apart, each in a write of its own,
 * numbered, and the usage when `include_usage` asks for it. Other questions get 960 bytes. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "http.h"

enum {
    ANSWER_BYTES = 960,
    EDGE_BYTES = 1024,
    MOST_HEAD_BYTES = 64 * 1024,
    PIECE_BYTES = 64 * 1024,
    MOST_FDS = 65536,
};

#define COMMON "\"created\":1790000000,\"model\":\"bench\""
#define CHUNK "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\"," COMMON

struct connection {
    int fd;
    struct buffer in, question, out;
    struct head head;
    struct body body;
    bool headed, post, chat, blocked;
    char marker[17];
    bool streaming, usage;
    int tokens, written;
    long long pace_ns, due_ns;
};

static struct connection *connections[MOST_FDS];
static int streams[MOST_FDS], stream_count; /* descriptors of running streams */
static int poller;

/* --- writing ----------------------------------------------------------------------------- */

static void drop(struct connection *one) {
    for (int at = 0; at < stream_count; at++)
        if (streams[at] == one->fd) streams[at--] = streams[--stream_count];
    connections[one->fd] = NULL;
    close(one->fd);
    buffer_free(&one->in);
    buffer_free(&one->question);
    buffer_free(&one->out);
    free(one);
}

/* Writes what waits; false when the client is gone. */
static bool flush(struct connection *one) {
    while (one->out.bytes) {
        ssize_t sent = send(one->fd, one->out.data, one->out.bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent < 0) break;
        buffer_take(&one->out, (size_t)sent);
    }
    bool blocked = one->out.bytes > 0;
    if (blocked != one->blocked) {
        struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0)};
        event.data.fd = one->fd;
        epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
        one->blocked = blocked;
    }
    return true;
}

static void add(struct buffer *out, const char *text) { buffer_add(out, text, strlen(text)); }

static void add_json(struct buffer *out, const char *status, const char *body) {
    char head[160];
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n", status, strlen(body));
    add(out, head);
    add(out, body);
}

static void add_event(struct buffer *out, const char *data) {
    char size[32];
    snprintf(size, sizeof size, "%zx\r\ndata: ", strlen(data) + 8);
    add(out, size);
    add(out, data);
    add(out, "\n\n\r\n");
}

/* --- answers ----------------------------------------------------------------------------- */

#define FRONT "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\"," COMMON \
    ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\""
#define BACK "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":120," \
    "\"completion_tokens\":200,\"total_tokens\":320}}"

static void answer_whole(struct connection *one) {
    static struct buffer made;
    static size_t marker_at;
    if (!made.bytes) {
        char body[ANSWER_BYTES + 1];
        memset(body, 'x', ANSWER_BYTES);
        memcpy(body, FRONT, sizeof FRONT - 1);
        memcpy(body + ANSWER_BYTES - (sizeof BACK - 1), BACK, sizeof BACK);
        add_json(&made, "200 OK", body);
        marker_at = made.bytes - ANSWER_BYTES + sizeof FRONT - 1;
    }
    buffer_add(&one->out, made.data, made.bytes);
    memcpy(one->out.data + one->out.bytes - made.bytes + marker_at, one->marker, 16);
}

static void add_delta(struct buffer *out, const char *delta, const char *reason) {
    char data[256];
    snprintf(data, sizeof data, CHUNK ",\"choices\":[{\"index\":0,\"delta\":{%s},"
             "\"finish_reason\":%s}]}", delta, reason);
    add_event(out, data);
}

static void add_end(struct connection *one) {
    add_delta(&one->out, "", "\"stop\"");
    if (one->usage) {
        char data[256];
        snprintf(data, sizeof data, CHUNK ",\"choices\":[],\"usage\":{\"prompt_tokens\":120,"
                 "\"completion_tokens\":%d,\"total_tokens\":%d}}", one->tokens, one->tokens + 120);
        add_event(&one->out, data);
    }
    add_event(&one->out, "[DONE]");
    add(&one->out, "0\r\n\r\n");
}

/* The next token, or the end after the last one; false when the client is gone. */
static bool next_token(struct connection *one) {
    if (one->written < one->tokens) {
        char delta[64];
        snprintf(delta, sizeof delta, "\"content\":\" %s.%d\"", one->marker, one->written++);
        add_delta(&one->out, delta, "null");
        one->due_ns += one->pace_ns;
    } else {
        add_end(one);
        one->streaming = false;
    }
    return flush(one);
}

static bool start_stream(struct connection *one) {
    add(&one->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n");
    add_delta(&one->out, "\"role\":\"assistant\",\"content\":\"\"", "null");
    one->written = 0;
    one->streaming = true;
    one->due_ns = now_ns();
    streams[stream_count++] = one->fd;
    return flush(one);
}

/* Sends each running stream what is due; nanoseconds until more is, or -1 when none runs. */
static long long run_streams(void) {
    long long wait = -1, now = now_ns();
    for (int at = 0; at < stream_count; at++) {
        struct connection *one = connections[streams[at]];
        if (!one->blocked && one->due_ns <= now && !next_token(one)) {
            drop(one);
            at--;
        } else if (!one->streaming) {
            streams[at--] = streams[--stream_count];
        } else if (!one->blocked && (wait < 0 || one->due_ns - now < wait)) {
            wait = one->due_ns > now ? one->due_ns - now : 0;
        }
    }
    return wait;
}

/* --- questions --------------------------------------------------------------------------- */

/* Behind `text` where it occurs near the front or the end: members of the outer object are there,
 * before or behind a prompt that may be long. */
static const char *near_edge(const struct buffer *body, const char *text) {
    size_t bytes = strlen(text), edge = body->bytes < EDGE_BYTES ? body->bytes : EDGE_BYTES;
    if (!edge) return NULL;
    const char *found = memmem(body->data, edge, text, bytes);
    if (!found) found = memmem(body->data + body->bytes - edge, edge, text, bytes);
    return found ? found + bytes : NULL;
}

static bool is_true(const struct buffer *body, const char *member) {
    const char *value = near_edge(body, member), *end = body->data + body->bytes;
    while (value && value < end && (*value == ' ' || *value == ':')) value++;
    return value && end - value >= 4 && !memcmp(value, "true", 4);
}

static long plan_number(const char *plan, const char *name, long otherwise) {
    const char *value = strstr(plan, name);
    return value ? strtol(value + strlen(name), NULL, 10) : otherwise;
}

static void read_plan(struct connection *one) {
    const struct buffer *text = &one->question;
    const char *at = text->bytes ? memmem(text->data, text->bytes, "[bench marker=", 14) : NULL;
    char plan[80] = "0000000000000000";
    size_t left = at ? (size_t)(text->data + text->bytes - at) : 0;
    if (left > 14 + 16) memcpy(plan, at + 14, left - 14 < 79 ? left - 14 : 79);
    memcpy(one->marker, plan, 16);
    one->tokens = (int)plan_number(plan, "tokens=", 16);
    one->pace_ns = 1000 * plan_number(plan, "pace_us=", 0);
}

/* What a question is for, by its first line. */
static void read_target(struct connection *one) {
    static const char chat[] = "POST /v1/chat/completions ";
    one->chat = one->head.bytes > sizeof chat && !memcmp(one->in.data, chat, sizeof chat - 1);
    one->post = one->in.data[0] == 'P';
}

/* Answers the question that is whole now; false when the client is gone. */
static bool answer(struct connection *one) {
    if (one->chat) {
        read_plan(one);
        one->usage = is_true(&one->question, "\"include_usage\"");
        if (is_true(&one->question, "\"stream\"")) return start_stream(one);
        answer_whole(one);
    } else if (one->post) {
        add_json(&one->out, "404 Not Found", "{\"error\":{\"message\":\"no such path\"}}");
    } else {
        add_json(&one->out, "200 OK", /* healthy, and these are my models */
                 "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\"}],"
                 "\"model_path\":\"bench\",\"served_model_name\":\"bench\",\"status\":\"ok\"}");
    }
    return flush(one);
}

/* Reads one question after the other; false when the client is gone or speaks no HTTP. */
static bool understand(struct connection *one) {
    while (!one->streaming) {
        if (!one->headed) {
            if (!read_head(&one->in, &one->head)) return one->in.bytes < MOST_HEAD_BYTES;
            one->headed = true;
            read_target(one);
            one->body = body_of(&one->head);
            buffer_take(&one->in, one->head.bytes);
        }
        read_body(&one->body, &one->in, &one->question);
        if (one->body.phase != ENDED) return one->body.phase != BROKEN;
        if (!answer(one)) return false;
        one->question.bytes = 0;
        one->headed = false;
    }
    return true;
}

/* --- sockets ----------------------------------------------------------------------------- */

static int open_listener(void) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&place, sizeof place) || listen(fd, 1024))
        fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

static int port_of(int fd) {
    struct sockaddr_in place;
    socklen_t bytes = sizeof place;
    if (getsockname(fd, (struct sockaddr *)&place, &bytes)) fail("getsockname");
    return ntohs(place.sin_port);
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST_FDS) {
            close(fd);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd] = calloc(1, sizeof **connections);
        if (!connections[fd]) fail("calloc");
        connections[fd]->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static void serve(struct connection *one, unsigned events) {
    bool there = true;
    if (events & EPOLLOUT) there = flush(one);
    if (there && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        buffer_reserve(&one->in, PIECE_BYTES);
        ssize_t got = recv(one->fd, one->in.data + one->in.bytes, PIECE_BYTES, 0);
        there = got > 0 || (got < 0 && errno == EAGAIN);
        if (got > 0) {
            one->in.bytes += (size_t)got;
            there = understand(one);
        }
    }
    if (!there) drop(one);
}

static void set_timer(int timer, long long wait_ns) {
    struct itimerspec spec = {.it_value = {wait_ns / 1000000000, wait_ns % 1000000000}};
    timerfd_settime(timer, 0, &spec, NULL); /* zero disarms it */
}

int main(void) {
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* ends with the benchmark, however that ends */
    prctl(PR_SET_TIMERSLACK, 1000);
    poller = epoll_create1(0);
    int listeners[2] = {open_listener(), open_listener()};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = timer}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    printf("[%d, %d]\n", port_of(listeners[0]), port_of(listeners[1]));
    fflush(stdout);
    bool armed = false;
    for (;;) {
        long long wait_ns = run_streams();
        if (wait_ns > 0 || (wait_ns < 0 && armed)) set_timer(timer, wait_ns > 0 ? wait_ns : 0);
        armed = wait_ns >= 0 && (armed || wait_ns);
        int count = epoll_wait(poller, events, 256, wait_ns ? -1 : 0);
        for (int at = 0; at < count; at++) {
            int fd = events[at].data.fd;
            if (fd == listeners[0] || fd == listeners[1]) accept_all(fd);
            else if (fd != timer && connections[fd]) serve(connections[fd], events[at].events);
        }
    }
}
