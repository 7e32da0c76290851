# Shared by the lab's scripts: where the state is, which devices there are, and small helpers around Docker and sshd.
set -euo pipefail
umask 022
exec </dev/null

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=$(realpath -m "${REEVE_LAB:-/var/tmp/reeve-lab}")
CACHE=$STATE/cache
RUN=/run/reeve-lab                   # short, for sockets and pid files
SUBNET=172.29.57                     # of the devices' network
DEVICES=(debian plain busybox tower) # each is the container lab-NAME
declare -A PORT=([debian]=22001 [plain]=22002 [busybox]=22003 [tower]=22004)
declare -A ADDRESS=([debian]=$SUBNET.11 [plain]=$SUBNET.12 [busybox]=$SUBNET.13 [tower]=$SUBNET.14)

export PATH=$PATH:/usr/sbin:/sbin
export DOCKER_HOST=unix:///var/run/docker.sock DOCKER_CONFIG=$STATE/docker
export LC_ALL=C.UTF-8

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "must run as root"; }

# One lab script at a time, and those that it calls; the daemons we start must not inherit fd 9.
lock() {
  [ -z "${REEVE_LAB_LOCKED:-}" ] || return 0
  mkdir -p "$STATE" "$CACHE" "$RUN" "$STATE/faults"
  exec 9>"$STATE/lock"
  flock 9
  export REEVE_LAB_LOCKED=1
}

is_device() { [ -n "${PORT[${1:-}]:-}" ]; }

# second COMMAND...: docker on the second daemon, the one that `plain` sees
second() { DOCKER_HOST=unix://$STATE/plain/docker.sock docker "$@"; }

# login_works HOST: can root run a command there?
login_works() { ssh -F "$STATE/ssh_config" -o BatchMode=yes -o ConnectTimeout=5 "$1" true; }

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

# daemon NAME COMMAND...: in the background, with a log and a pid file
daemon() {
  local name=$1; shift
  setsid env -u REEVE_LAB_LOCKED "$@" >>"$STATE/$name.log" 2>&1 9>&- &
  echo $! >"$RUN/$name.pid"
}

# alive NAME [PROGRAM]: does the process that we started as NAME still run, and is it that program? (One that awaits its parent is dead.)
alive() {
  local pid; pid=$(cat "$RUN/$1.pid" 2>/dev/null) && [[ $(readlink "/proc/$pid/exe") = */${2:-dockerd} ]]
}

# quit NAME [PROGRAM]: ends it, and waits until it is gone
quit() {
  if alive "$@"; then
    kill "$(cat "$RUN/$1.pid")"
    wait_for 30 gone "$@" || kill -9 "$(cat "$RUN/$1.pid")"
  fi
  rm -f "$RUN/$1.pid"
}
gone() { ! alive "$@"; }

# reload DEVICE: sshd reads its configuration and keys again; sessions go on
reload() {
  docker exec "lab-$1" sh -c '
    pid=$(cat /run/sshd.pid) && rm /run/sshd.pid && kill -HUP "$pid"
    i=0; until [ -s /run/sshd.pid ]; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.05; done'
}

# start_dockerd: the machine's own daemon, unless one answers
start_dockerd() {
  docker version >/dev/null 2>&1 && return
  local options
  for options in "" --iptables=false; do
    # shellcheck disable=SC2086
    daemon dockerd dockerd $options
    wait_for 40 docker_or_dead && docker version >/dev/null 2>&1 && return
    quit dockerd
  done
  die "dockerd does not start: see $STATE/dockerd.log"
}
docker_or_dead() { docker version || gone dockerd; }

# In namespaces of its own: a daemon without a bridge removes docker0, which belongs to the first one, and leaves mounts behind.
second_daemon() {
  alive dockerd2 && second version >/dev/null 2>&1 && return
  quit dockerd2
  daemon dockerd2 unshare --net --mount dockerd --host "unix://$STATE/plain/docker.sock" --data-root "$STATE/dockerd2" --exec-root "$RUN/dockerd2" \
    --pidfile "$RUN/dockerd2.own.pid" --bridge none --iptables=false --ip-forward=false --ip-masq=false
  wait_for 60 second version || die "the second dockerd does not answer: see $STATE/dockerd2.log"
}
