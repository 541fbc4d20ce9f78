//: base
static int port;                  /* of the server */
static pid_t server;              /* the launched process */
static int ended, daemonized;     /* whether it has ended; whether it had when it listened */

struct client {                   /* a client: what it has sent on its connection, and how much of it came back */
    const char *name;
    int fd, port, shut, receive_buffer, send_buffer;
    int excused, waits;           /* whether its server was hit by a signal; whether the acceptor is stopped */
    const char *end;              /* how the server's half ended */
    unsigned char *sent;
    size_t n, got;
};

struct process { pid_t pid, parent; char state; unsigned long long started, ticks; };

struct pids { int n; pid_t pid[4096]; };

struct row { int state, remote; unsigned taken, out; unsigned long inode; };

//: now
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

//: nap
static void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&t, 0);
}

//: tree
/* What was launched, and its children; orphans are ours (see main), and we reap them. */
static int tree(struct process *found) {
    static __thread struct process all[32768];
    int n = 0, count = 0, status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        ended |= pid == server;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc)) && n < 32768;) {
        char path[300], line[1024], *rest;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : 0;
        if (!file)
            continue;
        struct process *p = &all[n];
        p->pid = atoi(entry->d_name);
        unsigned long long user, system;
        if (fgets(line, sizeof line, file) && (rest = strrchr(line, ')')) &&
            sscanf(rest + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu",
                   &p->state, &p->parent, &user, &system, &p->started) == 5) {
            p->ticks = user + system;
            n++;
        }
        fclose(file);
    }
    if (proc)
        closedir(proc);
    for (int before = -1; before != count;) {
        before = count;
        for (int i = 0; i < n; i++) {
            int ours = all[i].parent == getpid(), known = 0;
            for (int k = 0; k < count; k++) {
                ours |= found[k].pid == all[i].parent;
                known |= found[k].pid == all[i].pid;
            }
            if (ours && !known && count < 4096)
                found[count++] = all[i];
        }
    }
    for (int i = 0; i < count; i++) /* the eldest first */
        for (int k = i; k > 0 && found[k].started < found[k - 1].started; k--) {
            struct process swap = found[k];
            found[k] = found[k - 1];
            found[k - 1] = swap;
        }
    return count;
}

//: alive
/* How many of what was launched have not ended. */
static int alive(void) {
    struct process p[4096];
    int n = tree(p), count = 0;
    for (int i = 0; i < n; i++)
        count += p[i].state != 'Z';
    return count;
}

//: living
/* Every process that was launched and has not ended. */
static struct pids living(void) {
    struct process p[4096];
    struct pids found = {0};
    for (int i = 0, n = tree(p); i < n; i++)
        if (p[i].state != 'Z')
            found.pid[found.n++] = p[i].pid;
    return found;
}

//: zombies
/* How many children of the server have ended, and the server has not waited for them. */
static int zombies(void) {
    struct process p[4096];
    int n = tree(p), count = 0;
    for (int i = 0; i < n; i++)
        count += p[i].state == 'Z' && p[i].parent != getpid();
    return count;
}

//: sockets
/* Sockets whose local port is the server's. */
static int sockets(struct row *rows) {
    int n = 0;
    for (int six = 0; six < 2; six++) {
        FILE *file = fopen(six ? "/proc/net/tcp6" : "/proc/net/tcp", "re");
        char line[512];
        while (file && fgets(line, sizeof line, file) && n < 4096) {
            struct row *r = &rows[n];
            int local;
            if (sscanf(line, " %*[^:]: %*[^:]:%x %*[^:]:%x %x %x:%x %*s %*s %*s %*s %lu", &local, &r->remote,
                       &r->state, &r->out, &r->taken, &r->inode) == 6)
                n += local == port;
        }
        if (file)
            fclose(file);
    }
    return n;
}

//: holds
static int holds(pid_t pid, unsigned long inode) {
    char path[600], link[64], wanted[64];
    int found = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n > 0 ? n : 0] = 0;
        found = !strcmp(link, wanted);
    }
    if (folder)
        closedir(folder);
    return found;
}

//: acceptor
/* The eldest process that holds the listening socket, which is the topmost; 0 if nobody listens. */
static pid_t acceptor(void) {
    struct process p[4096];
    struct row rows[4096];
    int n = tree(p), m = sockets(rows);
    for (int r = 0; r < m; r++)
        for (int i = 0; i < n && rows[r].state == LISTENS; i++)
            if (holds(p[i].pid, rows[r].inode))
                return p[i].pid;
    return 0;
}

//: one
/* A list of one, or of nobody. */
static struct pids one(pid_t pid) {
    struct pids found = {pid != 0, {pid}};
    return found;
}

//: launched
/* The process that was launched; if it has ended, the one that accepts. */
static pid_t launched(void) {
    pid_t accepts = acceptor();
    return ended ? accepts : server;
}

//: children
/* The living children of the accepting process, the eldest first. */
static struct pids children(void) {
    struct process p[4096];
    struct pids found = {0};
    pid_t parent = acceptor();
    for (int i = 0, n = tree(p); i < n; i++)
        if (p[i].parent == parent && p[i].state != 'Z')
            found.pid[found.n++] = p[i].pid;
    return found;
}

//: child
/* The child that was born n-th, modulo their number. */
static pid_t child(int n) {
    struct pids all = children();
    return all.n ? all.pid[n % all.n] : 0;
}

//: serving
/* The process that holds the other end of the client's connection: the youngest, where several do. */
static pid_t serving(struct client *c) {
    struct process p[4096];
    struct row rows[4096];
    int n = tree(p), m = sockets(rows);
    for (int r = 0; r < m; r++)
        for (int i = n - 1; i >= 0 && c->fd >= 0 && rows[r].state != LISTENS && rows[r].remote == c->port; i--)
            if (holds(p[i].pid, rows[r].inode))
                return p[i].pid;
    return 0;
}

//: descriptors
/* How many descriptors the accepting process holds. */
static int descriptors(void) {
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", acceptor());
    DIR *folder = opendir(path);
    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

//: connections
/* How many connections the server has, TIME_WAIT not counted. */
static int connections(void) {
    struct row rows[4096];
    int n = sockets(rows), count = 0;
    for (int i = 0; i < n; i++)
        count += rows[i].state != LISTENS && rows[i].state != 6;
    return count;
}

//: queued
/* How many clients are in the accept queue. */
static int queued(void) {
    struct row rows[4096];
    int n = sockets(rows), count = 0;
    for (int i = 0; i < n; i++)
        count += rows[i].state == LISTENS ? (int)rows[i].taken : 0;
    return count;
}

//: stopped
/* Whether all of them are stopped. */
static int stopped(struct pids pids) {
    struct process p[4096];
    int n = tree(p), all = pids.n > 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < pids.n; k++)
            all &= p[i].pid != pids.pid[k] || strchr("TtZX", p[i].state) != 0;
    return all;
}

//: quiet
/* Waits until nothing moves: queues empty, no process running, no CPU used. */
static void quiet(void) {
    unsigned long long before = 0;
    int agreed = 0;
    for (double end = now() + 1.5; now() < end && agreed < 3; nap(0.01)) {
        struct process p[4096];
        struct row rows[4096];
        int n = tree(p), m = sockets(rows), still = 1;
        unsigned long long used = n;
        for (int i = 0; i < n; i++) {
            still &= strchr("STtZ", p[i].state) != 0;
            used += p[i].ticks << 16;
        }
        for (int i = 0; i < m; i++)
            still &= rows[i].state == 6 || (rows[i].taken == 0 && rows[i].out == 0);
        agreed = still && used == before ? agreed + 1 : 0;
        before = used;
    }
}

//: kill_all
/* Ends everything that was launched, and waits for it: who loses its parent becomes our child. */
static void kill_all(void) {
    while (waitpid(-1, 0, WNOHANG) >= 0 || errno != ECHILD) {
        struct pids all = living();
        for (int i = 0; i < all.n; i++)
            kill(all.pid[i], SIGKILL);
        nap(0.005);
    }
}

//: finish
/* Ends everything, and says how it went. */
static void finish(int status) {
    fflush(stdout);
    kill_all();
    CLEAN_UP
    _exit(status);
}

//: bug
static void bug(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("The bug is there: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    finish(1);
}

//: wrong
/* The client was not served as it must be. */
static void wrong(struct client *c, const char *what) {
    if (!c->excused && !c->waits)
        bug("%s %s (%zu of %zu bytes are back)", c->name, what, c->got, c->n);
}

//: remark
/* The client was not served as it must be; but that is not what this is about. */
static void wrong(struct client *c, const char *what) {
    printf("(by the way: %s %s)\n", c->name, what);
}

//: send_signal
/* Sends the signal. A client of whom it takes the server is owed nothing, until that server goes on. */
static void send_signal(struct pids pids, int number) {
    pid_t accepts = acceptor();
    for (int i = 0; i < pids.n; i++) {
        for (int k = 0; k < CLIENTS; k++) {
            if (number == SIGCHLD || number == SIGWINCH || number == SIGURG)
                continue;
            if (clients[k]->fd >= 0 && serving(clients[k]) == pids.pid[i])
                clients[k]->excused = number != SIGCONT;
            if (accepts == pids.pid[i])
                clients[k]->waits = number == SIGSTOP;
        }
    }
    for (int i = 0; i < pids.n; i++)
        kill(pids.pid[i], number);
}

//: close_client
static void close_client(struct client *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

//: dial
/* Begins to connect. */
static void dial(struct client *c, const char *host) {
    struct sockaddr_storage to = {0};
    struct sockaddr_in *four = (void *)&to;
    struct sockaddr_in6 *six = (void *)&to;
    int on = 1, is_six = strchr(host, ':') != 0;
    socklen_t size = is_six ? sizeof *six : sizeof *four;
    close_client(c);
    c->sent = c->sent ? c->sent : malloc(ROOM);
    c->n = c->got = 0;
    c->shut = c->excused = 0;
    c->end = 0;
    to.ss_family = is_six ? AF_INET6 : AF_INET;
    four->sin_port = htons(port);
    inet_pton(to.ss_family, host, is_six ? (void *)&six->sin6_addr : (void *)&four->sin_addr);
    c->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->receive_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &c->receive_buffer, sizeof(int));
    if (c->send_buffer)
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &c->send_buffer, sizeof(int));
    connect(c->fd, (void *)&to, size); /* how it went is told when the socket is ready */
    getsockname(c->fd, (void *)&to, &size);
    c->port = ntohs(four->sin_port);
}

//: ready
/* Waits for the socket; says for what it is ready. */
static int ready(struct client *c, int events, double seconds) {
    struct pollfd p = {c->fd, (short)events, 0};
    return poll(&p, 1, (int)(seconds * 1000)) > 0 ? p.revents : 0;
}

//: join
/* Waits until the connection is established. */
static void join(struct client *c) {
    int error = ETIMEDOUT;
    socklen_t size = sizeof error;
    if (c->fd >= 0 && ready(c, POLLOUT, PATIENCE))
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (c->fd >= 0 && error) {
        close_client(c);
        wrong(c, strerror(error));
    }
}

//: receive
/* Reads what is there, and compares it with what was sent. */
static void receive(struct client *c, size_t room) {
    static __thread unsigned char data[65536];
    ssize_t n = read(c->fd, data, room < sizeof data ? room : sizeof data);
    if (n == 0)
        c->end = "gets the end of the stream";
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        c->end = "gets a reset";
    for (ssize_t i = 0; i < n; i++, c->got++)
        if (c->got >= c->n || data[i] != c->sent[c->got]) {
            wrong(c, "gets back what it has not sent");
            c->got += n - i;
            return;
        }
}

//: transfer
/* Sends the bytes, `size` at a time or in pieces of `sizes`; if it reads, until all that was sent is back (`each`:
   before the next piece is sent). */
static void transfer(struct client *c, const void *bytes, size_t n, size_t size, const size_t *sizes, int reads, int each) {
    size_t at = 0, piece = 0;
    double moved = now();
    if (c->fd < 0)
        return;
    if (n)
        memcpy(c->sent + c->n, bytes, n);
    while (c->fd >= 0 && (at < n || (reads && c->got < c->n))) {
        if (c->shut && at < n)
            return; /* there is no way for it */
        if (c->end) {
            wrong(c, c->end);
            return;
        }
        if (!piece && at < n)
            piece = sizes ? *sizes++ : size && size < n - at ? size : n - at;
        int sends = piece && !(each && c->got < c->n);
        int events = ready(c, (sends ? POLLOUT : 0) | (reads ? POLLIN : 0), 0.05);
        if (events && sends) {
            c->n += piece; /* before they can come back */
            ssize_t taken = send(c->fd, c->sent + c->n - piece, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (taken < 0 && errno != EAGAIN && errno != EINTR)
                c->end = "gets a reset";
            taken = taken < 0 ? 0 : taken;
            at += taken;
            piece -= taken;
            c->n -= piece;
        }
        if (events && reads && !c->end)
            receive(c, 65536);
        if (events)
            moved = now();
        else if (!reads && now() > moved + 0.25)
            return; /* stalled: the server takes nothing more */
        else if (now() > moved + REPLY) {
            wrong(c, "gets back nothing more");
            return;
        }
    }
}

//: send_all
static void send_all(struct client *c, const void *bytes, size_t n, size_t size, const size_t *sizes) {
    transfer(c, bytes, n, size, sizes, 0, 0);
}

//: exchange
static void exchange(struct client *c, const void *bytes, size_t n, size_t size, const size_t *sizes) {
    transfer(c, bytes, n, size, sizes, 1, 0);
}

//: ping_pong
static void ping_pong(struct client *c, const void *bytes, size_t n, size_t size, const size_t *sizes) {
    transfer(c, bytes, n, size, sizes, 1, 1);
}

//: read_back
static void read_back(struct client *c) {
    transfer(c, 0, 0, 0, 0, 1, 0);
}

//: read_slowly
/* Reads so many bytes at a time, so many seconds apart; then the rest. */
static void read_slowly(struct client *c, size_t size, double pause, int times) {
    while (times-- > 0 && c->fd >= 0 && !c->end && c->got < c->n) {
        receive(c, size);
        nap(pause);
    }
    transfer(c, 0, 0, 0, 0, 1, 0);
}

//: read_to_end
/* Reads to the end of the stream, which is owed once the client has closed its half. */
static void read_to_end(struct client *c) {
    for (double moved = now(); c->fd >= 0 && !c->end;) {
        if (ready(c, POLLIN, 0.05)) {
            receive(c, 65536);
            moved = now();
        } else if (now() > moved + REPLY) {
            if (c->shut)
                wrong(c, "gets no end of the stream");
            return;
        }
    }
    if (c->fd >= 0 && c->shut && (c->got < c->n || strcmp(c->end, "gets the end of the stream")))
        wrong(c, c->end);
}

//: linger
/* Stays, and watches for what arrives. */
static void linger(struct client *c, double seconds) {
    for (double end = now() + seconds; c->fd >= 0 && !c->end && now() < end;)
        if (ready(c, POLLIN, end - now()))
            receive(c, 65536);
    if (c->fd >= 0 && c->end && !c->shut)
        wrong(c, "sees the end of the stream while it stays");
}

//: urgent
/* Sends a byte out of band. */
static void urgent(struct client *c, char byte) {
    send(c->fd, &byte, 1, MSG_OOB | MSG_NOSIGNAL);
}

//: half_close
/* Closes the sending half. */
static void half_close(struct client *c) {
    c->shut = 1;
    shutdown(c->fd, SHUT_WR);
}

//: reset
/* Closes with a reset. */
static void reset(struct client *c) {
    struct linger at_once = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close_client(c);
}

//: visit
/* Comes, has its bytes echoed, closes its half, reads to the end, leaves. */
static void visit(struct client *c, const void *bytes, size_t n, size_t size, const size_t *sizes) {
    dial(c, HOST);
    join(c);
    transfer(c, bytes, n, size, sizes, 1, 0);
    half_close(c);
    read_to_end(c);
    close_client(c);
}

//: together
/* Does all of this at once. */
static void together(int n, void *(*acts[])(void *)) {
    pthread_t threads[256];
    for (int i = 0; i < n; i++)
        pthread_create(&threads[i], 0, acts[i], 0);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], 0);
}

//: mix
/* The finalizer of SplitMix64. */
static uint64_t mix(uint64_t word) {
    word += 0x9E3779B97F4A7C15;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9;
    word = (word ^ word >> 27) * 0x94D049BB133111EB;
    return word ^ word >> 31;
}

//: payload
/* The bytes that sockspec sends: others for each client and at each position of its stream. */
static void *payload(uint64_t client, uint64_t start, size_t n, uint64_t seed, const char *letters, int count, int lines) {
    unsigned char *bytes = malloc(n);
    uint64_t key = mix((seed + (client << 32)) ^ 0x736F636B);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = start + i;
        int random = mix(key ^ at / 8) >> at % 8 * 8 & 255;
        bytes[i] = lines && at % 16 == 15 ? '\n' : count ? letters[random % count] : random;
    }
    return bytes;
}

//: ramp
/* All 256 values in order, over and over. */
static void *ramp(uint64_t client, uint64_t start, size_t n) {
    unsigned char *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = start + i + client * 17;
    return bytes;
}

//: free_port
/* A port that nobody uses, below those that the kernel gives to clients. */
static int free_port(void) {
    for (int tries = 0; tries < 100; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), number = 20000 + (getpid() * 7 + tries * 101) % 12000;
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(number)};
        int bound = bind(fd, (void *)&any, sizeof any);
        close(fd);
        if (bound == 0)
            return number;
    }
    exit(2);
}

//: text
/* A text with the port, or something else, filled in. */
static char *text(const char *format, ...) {
    char *filled = 0;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&filled, format, arguments) < 0)
        exit(2);
    return filled;
}

//: launch
/* Launches the server in a session of its own, and waits until it listens: a trial connect would be a client. */
static void launch(void) {
    char *command[] = {COMMAND, 0};
    int failed[2], error = 0;
    if (pipe2(failed, O_CLOEXEC) != 0)
        exit(2);
    server = fork();
    if (server == 0) {
        setsid();
        dup2(open("/dev/null", O_RDWR), 0);
        dup2(0, 1);
        if (CHDIR == 0) {
            ENVIRONMENT
            execvp(command[0], command);
        }
        error = errno;
        _exit(write(failed[1], &error, sizeof error) < 0);
    }
    close(failed[1]);
    ssize_t told = read(failed[0], &error, sizeof error);
    close(failed[0]);
    for (double end = now() + 40; told <= 0 && now() < end && alive() > 0; nap(0.01))
        if (acceptor()) {
            daemonized = ended;
            return;
        }
    printf("There is no server to judge: %s\n", told > 0 ? strerror(error) : "nothing listens on the port");
    finish(2);
}
