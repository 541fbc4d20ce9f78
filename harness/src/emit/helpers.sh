#: base
bug() { echo "The bug is there: $*"; exit 1; }

#: pids
# Every living process that was launched: they have our mark in their environment.
pids() { grep -lsz "^REPRO=$$\$" /proc/[0-9]*/environ | cut -d/ -f3 | sort -n; }

#: zombies
# Children of the server that have ended, and that it has not waited for.
zombies() {
    ps -e -o ppid=,pid=,stat= |
        awk -v all=" $(pids | tr '\n' ' ')" '$3 ~ /^Z/ && index(all, " " $1 " ") { print $2 }'
}

#: rows
# Sockets whose local port is the server's, as /proc/net/tcp shows them.
rows() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port=":$(printf %04X "$PORT")\$" '$2 ~ port'
}

#: holders
# The processes that hold the socket with this inode, the eldest first.
holders() {
    local pid
    for pid in $(pids); do
        find "/proc/$pid/fd" -lname "socket:\\[$1\\]" 2>/dev/null | grep -q . && echo "$pid"
    done
}

#: acceptor
# The topmost process that holds the listening socket.
acceptor() {
    local inode
    for inode in $(rows | awk '$4 == "0A" { print $10 }'); do holders "$inode"; done | head -n 1
}

#: launched
# The process that was launched; if it has ended, the one that accepts.
launched() { if pids | grep -qx "$SERVER"; then echo "$SERVER"; else acceptor; fi; }

#: children
# The living children of the accepting process, the eldest first.
children() { ps -o pid=,stat= --ppid "$(acceptor)" | awk '$2 !~ /^Z/ { print $1 }'; }

#: child
# The child that was born n-th, modulo their number.
child() { children | awk -v n="$1" '{ pid[NR - 1] = $1 } NR { m = NR } END { if (m) print pid[n % m] }'; }

#: serving
# The process that holds the other end of the client's connection: the youngest, where several do.
serving() {
    local inode port
    inode=$(readlink "/proc/$$/fd/${FD[$1]:-none}" | tr -dc 0-9)
    port=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v inode="${inode:-none}" '$10 == inode { print $2 }')
    inode=$(rows | awk -v port=":${port##*:}\$" '$4 != "0A" && $3 ~ port { print $10 }' | head -n 1)
    [ -n "$port" ] && holders "${inode:-none}" | tail -n 1
}

#: descriptors
# How many descriptors the accepting process holds.
descriptors() { ls "/proc/$(acceptor)/fd" 2>/dev/null | wc -l; }

#: connections
# How many connections the server has, TIME_WAIT not counted.
connections() { rows | awk '$4 != "0A" && $4 != "06"' | wc -l; }

#: stopped
# Whether all of them are stopped.
stopped() { [ $# -gt 0 ] && ! ps -o stat= -p "$(echo "$@" | tr ' ' ,)" | grep -qv '^[TtZ]'; }

#: wait_until
# Waits until the condition holds, or its time is over.
wait_until() {
    local end=$((SECONDS + 2))
    until eval "$1" || ((SECONDS > end)); do sleep 0.02; done
}

#: must
# Waits until the condition holds; if it never does, that is the bug.
must() {
    local end=$((SECONDS + PATIENCE))
    until eval "$1"; do
        ((SECONDS > end)) && bug "$2"
        sleep 0.02
    done
}

#: quiet
# Waits until no process of the server runs, and none has used the CPU since the last look.
quiet() {
    local before=none now
    for _ in {1..40}; do
        now=$(for pid in $(pids); do cut -d' ' -f3,14,15 "/proc/$pid/stat"; done 2>/dev/null)
        [ "$now" = "$before" ] && ! grep -q '^[RD]' <<<"$now" && return
        before=$now
        sleep 0.03
    done
}

#: wrong
# The client was not served as it must be, unless its server was killed.
wrong() { [ -n "${KILLED[$1]:-}" ] || bug "$*"; }

#: remark
# The client was not served as it must be; but that is not what this is about.
wrong() { echo "(by the way: $*)"; }

#: connect
connect() {
    local fd
    leave "$1"
    KILLED[$1]=
    if { exec {fd}<>"/dev/tcp/${2:-$HOST}/$PORT"; } 2>/dev/null; then FD[$1]=$fd; else wrong "$1" "cannot connect"; fi
}

#: exchange
# Sends so many bytes, in pieces, and reads as many.
exchange() {
    local client=$1 fd=${FD[$1]:-} count=$2 piece
    shift 2
    [ -n "$fd" ] || return 0
    for piece in "$@"; do printf "$piece"; done >&"$fd" 2>/dev/null
    timeout "$REPLY_WITHIN" head -c "$count" <&"$fd" 2>/dev/null | cmp -s - <(for piece in "$@"; do printf "$piece"; done) ||
        wrong "$client" "does not get back what it has sent"
}

#: leave
leave() {
    local fd=${FD[$1]:-}
    [ -z "$fd" ] || exec {fd}>&-
    FD[$1]=
}

#: late_client
late_client() {
    local client
    for client in "${!FD[@]}"; do leave "$client"; done
    { exec {fd}<>"/dev/tcp/$HOST/$PORT"; } 2>/dev/null || bug "a late client cannot connect"
    echo "Is anybody there?" >&"$fd"
    [ "$(timeout "$PATIENCE" head -n 1 <&"$fd")" = "Is anybody there?" ] || bug "a late client is not served"
    exec {fd}>&-
}

#: free_port
# A port that nobody uses, below those that the kernel gives to clients.
free_port() {
    local port
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        grep -qis ":$(printf %04X $port) " /proc/net/tcp /proc/net/tcp6 || { echo $port; return; }
    done
}
