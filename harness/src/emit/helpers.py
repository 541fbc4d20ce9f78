#: Bug
class Bug(Exception):
    """The server breaks the clause."""


#: NotLaunched
class NotLaunched(Exception):
    """There is no server to judge."""


#: free_port
def free_port():
    """A port that nobody uses, below those that the kernel gives to clients."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
                return port
            except OSError:
                pass
    raise SystemExit(2)


#: tree
def tree():
    """What was launched: pid -> (parent, state, started, ticks of CPU). Orphans are ours (see main); we reap them."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                f = file.read().rpartition(")")[2].split()
            parents[int(pid)] = (int(f[1]), f[0], int(f[19]), int(f[11]) + int(f[12]))
        except OSError:
            pass  # it has ended meanwhile
    me, found = os.getpid(), {}
    while True:
        new = [p for p in parents if p not in found and (parents[p][0] == me or parents[p][0] in found)]
        if not new:
            return {p: seen for p, seen in found.items() if seen[:2] != (me, "Z")}
        found.update((p, parents[p]) for p in new)


#: living
def living():
    """Every process that was launched and has not ended."""
    return [pid for pid, seen in tree().items() if seen[1] != "Z"]


#: zombies
def zombies():
    """Children of the server that have ended, and that it has not waited for."""
    return [pid for pid, seen in tree().items() if seen[1] == "Z"]


#: sockets
def sockets():
    """Sockets of the server: (state, port of the other end, bytes or clients not taken, bytes not sent, inode)."""
    found = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(name) as file:
            for row in file.readlines()[1:]:
                _, local, remote, state, queues, _, _, _, _, inode = row.split()[:10]
                out, taken = (int(n, 16) for n in queues.split(":"))
                if int(local.split(":")[1], 16) == PORT:
                    found.append((state, int(remote.split(":")[1], 16), taken, out, inode))
    return found


#: holders
def holders(inode):
    """The processes that hold the socket, the eldest first."""
    found = []
    for pid, seen in sorted(tree().items(), key=lambda item: (item[1][2], item[0])):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                        found.append(pid)
                        break
    return found


#: acceptor
def acceptor():
    """The topmost process that holds the listening socket, in a list; none if nobody listens."""
    seen = tree()
    for state, _, _, _, inode in sockets():
        held = holders(inode) if state == LISTEN else []
        top = [pid for pid in held if pid in seen and seen[pid][0] not in held]
        if top:
            return top[:1]
    return []


#: launched
def launched():
    """The process that was launched; if it has ended, the one that accepts."""
    return [server.pid] if server.poll() is None else acceptor()


#: children
def children():
    """The living children of the accepting process, the eldest first."""
    seen = tree()
    mine = [pid for pid in seen if [seen[pid][0]] == acceptor() and seen[pid][1] != "Z"]
    return sorted(mine, key=lambda pid: (seen[pid][2], pid))


#: child
def child(n):
    """The child that was born n-th, modulo their number."""
    all_of_them = children()
    return [all_of_them[n % len(all_of_them)]] if all_of_them else []


#: serving
def serving(c):
    """The process that holds the other end of the client's connection: the youngest, where several do."""
    for state, port, _, _, inode in sockets():
        if state != LISTEN and port == c.port:
            return holders(inode)[-1:]
    return []


#: descriptors
def descriptors():
    """How many descriptors the accepting process holds."""
    with contextlib.suppress(OSError, IndexError):
        return len(os.listdir(f"/proc/{acceptor()[0]}/fd"))
    return 0


#: connections
def connections():
    """How many connections the server has, TIME_WAIT not counted."""
    return sum(state not in (LISTEN, "06") for state, *_ in sockets())


#: queued
def queued():
    """How many clients are in the accept queue."""
    return sum(taken for state, _, taken, _, _ in sockets() if state == LISTEN)


#: stopped
def stopped(pids):
    """Whether all of them are stopped."""
    seen = tree()
    return bool(pids) and all(pid not in seen or seen[pid][1] in "TtZX" for pid in pids)


#: wait
def wait(condition, seconds=1.5):
    """Waits until the condition holds, at most so long; says whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


#: must
def must(condition, what):
    """Waits until the condition holds; if it never does, that is the bug."""
    if not wait(condition, PATIENCE):
        raise Bug(what())


#: quiet
def quiet():
    """Waits until nothing moves: queues empty, no process running, no CPU used."""
    looks = []

    def still():
        looks.append((tree(), sockets()))
        idle = all(seen[1] in "STtZ" for seen in looks[-1][0].values())
        empty = all(row[2] == row[3] == 0 or row[0] == "06" for row in looks[-1][1])
        return idle and empty and len(looks) > 2 and looks[-1] == looks[-2] == looks[-3]

    wait(still)


#: send_signal
def send_signal(pids, number):
    """Sends the signal. A client of whom it takes the server is owed nothing, until that server goes on."""
    if number not in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
        for c in CLIENTS:
            if c.socket and set(serving(c)) & set(pids):
                c.excused = number != signal.SIGCONT
            c.waits = number == signal.SIGSTOP if set(acceptor()) & set(pids) else c.waits
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


#: Client
class Client:
    """A client: what it has sent on its connection, and how much of that has come back."""

    def __init__(self, name):
        self.name, self.socket, self.port, self.options = name, None, 0, []
        self.excused = False  # whether its server was hit by a signal
        self.waits = False  # whether the accepting process is stopped


#: wrong
def wrong(c, what):
    """The client was not served as it must be."""
    if not c.excused and not c.waits:
        raise Bug(f"{c.name} {what}")


#: remark
def wrong(c, what):
    """The client was not served as it must be; but that is not what this is about."""
    print(f"(by the way: {c.name} {what})")


#: dial
def dial(c, host=HOST):
    """Begins to connect."""
    close(c)
    c.sent, c.got, c.shut, c.ended, c.excused = bytearray(), 0, False, None, False
    c.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in c.options:
        c.socket.setsockopt(socket.SOL_SOCKET, option, value)
    c.socket.setblocking(False)
    c.socket.connect_ex((host, PORT))
    c.port = c.socket.getsockname()[1]


#: join
def join(c):
    """Waits until the connection is established."""
    if not c.socket:
        return
    ready = select.select([], [c.socket], [], PATIENCE)[1]
    error = c.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
    if error:
        close(c)
        wrong(c, f"cannot connect: {os.strerror(error)}")


#: connect
def connect(c, host=HOST):
    """Connects."""
    dial(c, host)
    join(c)


#: receive
def receive(c, room=1 << 16):
    """Reads what is there, and compares it with what was sent."""
    try:
        data = c.socket.recv(room)
    except BlockingIOError:
        return
    except OSError as error:
        c.ended = f"an error ({os.strerror(error.errno)})"
        return
    if not data:
        c.ended = "the end of the stream"
    elif data != c.sent[c.got : c.got + len(data)]:
        at = next(i for i in range(len(data) + 1) if data[i : i + 1] != c.sent[c.got + i : c.got + i + 1])
        wrong(c, f"gets back {data[at : at + 16]!r} at byte {c.got + at}, and has sent "
                 f"{bytes(c.sent[c.got + at :][:16])!r} there")
    c.got += len(data)


#: transfer
def transfer(c, pieces=(), reads=True, each=False):
    """Sends the pieces; if it reads, until all that was sent is back (`each`: before the next piece is sent)."""
    pieces, left = iter(pieces), b""
    moved = time.monotonic()
    while c.socket:
        left = left or next(pieces, b"")
        sends = left and not (each and c.got < len(c.sent))
        if not left and (not reads or c.got >= len(c.sent)):
            return
        if c.shut and left:
            return  # there is no way for it
        if c.ended:
            return wrong(c, f"gets {c.ended} after {c.got} of {len(c.sent)} bytes")
        read, write, _ = select.select([c.socket] * reads, [c.socket] * bool(sends), [], 0.05)
        if write:
            c.sent += left  # before they can come back
            try:
                taken = c.socket.send(left)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                taken, c.ended = 0, f"an error ({os.strerror(error.errno)})"
            del c.sent[len(c.sent) - len(left) + taken :]
            left = left[taken:]
        if read:
            receive(c)
        if read or write:
            moved = time.monotonic()
        elif not reads and time.monotonic() > moved + 0.25:
            return  # stalled: the server takes nothing more
        elif time.monotonic() > moved + REPLY:
            return wrong(c, f"gets back {c.got} of {len(c.sent)} bytes, and then nothing for {REPLY:g} s")


#: read_slowly
def read_slowly(c, size, pause, times):
    """Reads so many bytes at a time, so many seconds apart; then the rest."""
    for _ in range(times):
        if not c.socket or c.ended or c.got >= len(c.sent):
            break
        receive(c, size)
        time.sleep(pause)
    transfer(c)


#: read_to_end
def read_to_end(c):
    """Reads to the end of the stream, which is owed once the client has closed its half."""
    moved = time.monotonic()
    while c.socket and not c.ended:
        if select.select([c.socket], [], [], 0.05)[0]:
            receive(c)
            moved = time.monotonic()
        elif time.monotonic() > moved + REPLY:
            if c.shut:
                wrong(c, f"gets back {c.got} of {len(c.sent)} bytes, and no end of the stream for {REPLY:g} s")
            return
    if c.socket and c.shut and (c.got < len(c.sent) or c.ended != "the end of the stream"):
        wrong(c, f"gets {c.ended} after {c.got} of {len(c.sent)} bytes")


#: linger
def linger(c, seconds):
    """Stays, and watches for what arrives."""
    end = time.monotonic() + seconds
    while c.socket and not c.ended and time.monotonic() < end:
        if select.select([c.socket], [], [], max(0, end - time.monotonic()))[0]:
            receive(c)
    if c.socket and c.ended and not c.shut:
        wrong(c, f"gets {c.ended} while it stays")


#: urgent
def urgent(c, byte):
    """Sends a byte out of band."""
    if c.socket:
        with contextlib.suppress(OSError):
            c.socket.send(bytes([byte]), socket.MSG_OOB)


#: half_close
def half_close(c):
    """Closes the sending half."""
    if c.socket:
        c.shut = True
        with contextlib.suppress(OSError):
            c.socket.shutdown(socket.SHUT_WR)


#: reset
def reset(c):
    """Closes with a reset."""
    if c.socket:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        close(c)


#: close
def close(c):
    """Closes."""
    if c.socket:
        c.socket.close()
        c.socket = None


#: visit
def visit(c, pieces):
    """Comes, has its bytes echoed, closes its half, reads to the end, leaves."""
    connect(c)
    transfer(c, pieces)
    half_close(c)
    read_to_end(c)
    close(c)


#: together
def together(*acts):
    """Does all of this at once."""
    bugs = []

    def run(act):
        try:
            act()
        except Bug as bug:
            bugs.append(bug)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if bugs:
        raise bugs[0]


#: mix
def mix(word):
    """The finalizer of SplitMix64."""
    word = word + 0x9E3779B97F4A7C15 & MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


#: payload
def payload(client, start, length, seed, letters=b"", lines=False):
    """The bytes that sockspec sends: others for each client and at each position of its stream."""
    key = mix(seed + (client << 32) & MASK ^ 0x736F636B)
    words = range(start // 8, (start + length) // 8 + 1)
    data = b"".join(mix(key ^ word).to_bytes(8, "little") for word in words)
    if letters:
        data = data.translate(bytes(letters[byte % len(letters)] for byte in range(256)))
    data = bytearray(data[start % 8 :][:length])
    if lines:
        data[-(start + 1) % 16 :: 16] = b"\n" * len(data[-(start + 1) % 16 :: 16])
    return bytes(data)


#: ramp
def ramp(client, start, length):
    """All 256 values in order, over and over."""
    first = start + client * 17 & 255
    return (bytes(range(256)) * (length // 256 + 2))[first : first + length]


#: every
def every(size, data):
    """The data in sends of this size."""
    return [data[at : at + size] for at in range(0, len(data), size)]


#: cut
def cut(sizes, data):
    """The data in sends of these sizes."""
    ends = list(itertools.accumulate(sizes))
    return [data[end - size : end] for size, end in zip(sizes, ends)]


#: lives
def lives():
    """Whether the server still lives, and listens."""
    return (daemon or server.poll() is None) and acceptor()


#: launch
def launch():
    """Launches the server in a session of its own, and waits until it listens: a trial connect would be a client."""
    global server, daemon
    try:
        server = subprocess.Popen(
            COMMAND, env=os.environ | ENVIRONMENT, cwd=CWD, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
    except OSError as error:
        raise NotLaunched(error)
    if not wait(lambda: acceptor() or server.poll() is not None and not living(), 40) or not acceptor():
        raise NotLaunched(f"nothing listens on port {PORT}")
    daemon = server.poll() is not None


#: kill_all
def kill_all():
    """Ends everything that was launched, and waits for it."""
    while living():
        for pid in living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)
