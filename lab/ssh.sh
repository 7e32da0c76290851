# The SSH devices: keys, certificates and configuration under the state directory, and one container each.

# key FILE ARGUMENT...: a new key pair unless there is one
key() { [ -f "$1" ] || ssh-keygen -q -f "$1" -C "reeve-lab ${1##*/}" "${@:2}"; }

make_keys() {
  local d dir
  key "$STATE/id_ed25519" -t ed25519 -N ''
  key "$STATE/id_rsa" -t rsa -b 3072 -N ''
  key "$STATE/id_pass" -t ed25519 -N lab-pass
  key "$STATE/id_cert" -t ed25519 -N '' # known to no device: only its certificate is
  key "$STATE/user_ca" -t ed25519 -N ''
  key "$STATE/host_ca" -t ed25519 -N ''
  printf 'lab-pass' >"$STATE/id_pass.passphrase"
  [ -f "$STATE/id_cert-cert.pub" ] || ssh-keygen -q -s "$STATE/user_ca" -I reeve-lab-user -n root,monitor,ops "$STATE/id_cert.pub"
  for d in "${DEVICES[@]}"; do
    dir=$STATE/$d
    mkdir -p "$dir"
    key "$dir/host_ed25519" -t ed25519 -N ''
    key "$dir/host_rsa" -t rsa -b 3072 -N ''
    cat "$STATE"/id_{ed25519,rsa,pass}.pub >"$dir/authorized_keys"
    # shellcheck disable=SC2016
    sed 's/^/restrict,command="echo refused: $SSH_ORIGINAL_COMMAND; exit 77" /' "$dir/authorized_keys" >"$dir/forced_keys"
  done
  cp "$STATE/user_ca.pub" "$STATE/debian/"
  [ -f "$STATE/debian/host_ed25519-cert.pub" ] ||
    ssh-keygen -q -s "$STATE/host_ca" -I reeve-lab-host -h -n "127.0.0.1,localhost,lab-debian,${ADDRESS[debian]}" "$STATE/debian/host_ed25519.pub"
}

# sshd_conf DEVICE: MaxSessions stays at sshd's own 10 everywhere but on plain
sshd_conf() {
  cat <<X
Include /lab/fault*.conf
HostKey /lab/host_ed25519
HostKey /lab/host_rsa
AuthorizedKeysFile .ssh/authorized_keys /lab/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200:30:400
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
X
  case $1 in
  busybox) ;;
  tower) echo 'AllowUsers root' ;;
  *)
    echo 'UsePAM yes'
    [ "$1" != plain ] || echo 'MaxSessions 100'
    [ "$1" != debian ] || printf 'TrustedUserCAKeys /lab/user_ca.pub\nHostCertificate /lab/host_ed25519-cert.pub\n'
    printf 'Match User forced\n  AuthorizedKeysFile /lab/forced_keys\nMatch User german\n  SetEnv LANG=de_DE.UTF-8\n'
    ;;
  esac
}

# host_entry NAME KEYS HOSTNAME PORT LINE...
host_entry() {
  printf 'Host %s\n  HostName %s\n  Port %s\n  User root\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  StrictHostKeyChecking yes\n' \
    "$1" "$4" "$5" "$STATE/$2" "$STATE/$3"
  [ $# -lt 6 ] || printf '  %s\n' "${@:6}"
}

# The host keys are ours, so they are written down rather than scanned: nothing that answers in their place gets trusted.
client_files() {
  local d t
  for d in "${DEVICES[@]}"; do
    for t in ed25519 rsa; do
      printf '[127.0.0.1]:%s,%s %s\n' "${PORT[$d]}" "${ADDRESS[$d]}" "$(cut -d' ' -f1,2 "$STATE/$d/host_$t.pub")"
    done
  done >"$STATE/known_hosts"
  printf '@cert-authority [127.0.0.1]:%s %s\n' "${PORT[debian]}" "$(cut -d' ' -f1,2 "$STATE/host_ca.pub")" >"$STATE/known_hosts_ca"
  {
    for d in "${DEVICES[@]}"; do host_entry "lab-$d" id_ed25519 known_hosts 127.0.0.1 "${PORT[$d]}"; done
    host_entry lab-jump id_ed25519 known_hosts "${ADDRESS[plain]}" 22 'ProxyJump lab-debian'
    host_entry lab-cert id_cert known_hosts_ca 127.0.0.1 "${PORT[debian]}"
  } >"$STATE/ssh_config"
}

# device NAME INIT OPTION...: the container, made anew where it is missing, stopped or made from other things
device() {
  local name=$1 image=reeve-lab/debian:12 spec options; shift
  [ "$name" != busybox ] || image=reeve-lab/busybox-ssh:1.35
  options=(--name "lab-$name" --network reeve-lab --ip "${ADDRESS[$name]}" -p "127.0.0.1:${PORT[$name]}:22"
    -v "$STATE/$name:/lab" --label reeve-lab=1 "${@:2}")
  spec=$( (printf '%s\n' "${options[@]}"; docker image inspect -f '{{.Id}}' "$image"; cat "$STATE/$name/sshd.conf" "$LAB/guest/init"
    [ "$name" != tower ] || find "$LAB/tower" -type f -exec cat {} +) | sha256sum | cut -c1-12)
  [ "$(docker inspect -f '{{.State.Status}} {{index .Config.Labels "reeve-lab.spec"}}' "lab-$name" 2>/dev/null)" != "running $spec" ] || return 0
  docker rm -f "lab-$name" >/dev/null 2>&1 || true
  docker run -d "${options[@]}" --label "reeve-lab.spec=$spec" "$image" /lab/init "$1" >/dev/null
}

ssh_up() {
  local d
  "$LAB/fault" reset # first: it brings the true host keys back
  for d in "${DEVICES[@]}"; do [ ! -e "$RUN/hang-$d.pid" ] || "$LAB/hang-mount" down "$d"; done
  make_keys
  for d in "${DEVICES[@]}"; do
    sshd_conf "$d" >"$STATE/$d/sshd.conf"
    cp "$LAB/guest/init" "$STATE/$d/init"
  done
  rm -rf "$STATE/tower/tower" && cp -r "$LAB/tower" "$STATE/tower/tower"
  client_files
  second_daemon & local second=$!

  docker network inspect reeve-lab >/dev/null 2>&1 ||
    docker network create --label reeve-lab=1 --subnet "$SUBNET.0/24" reeve-lab >/dev/null
  local loose=(--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined)
  # systemd writes to its own hierarchy only (cgroup v1), or to the whole tree (v2)
  local groups=/sys/fs/cgroup/systemd; [ -d $groups ] || groups=/sys/fs/cgroup
  device debian systemd --hostname debian "${loose[@]}" --stop-signal SIGRTMIN+3 --tmpfs /run --tmpfs /run/lock \
    --cgroupns host -v "$groups:$groups" -v /var/run/docker.sock:/run/docker.sock
  device plain plain --hostname plain
  device busybox busybox --hostname busybox
  device tower tower --hostname Tower "${loose[@]}" -v /var/run/docker.sock:/run/docker.sock \
    -v "$(command -v docker):/usr/bin/docker:ro"
  wait "$second" || die "no second dockerd"
  if [ "$(second inspect -f '{{.State.Running}}' lab-tick 2>/dev/null)" != true ]; then
    second image inspect reeve-lab/busybox:1.35 >/dev/null 2>&1 || docker save reeve-lab/busybox:1.35 | second load >/dev/null
    second rm -f lab-tick >/dev/null 2>&1 || true
    second run -d --name lab-tick --label reeve-lab=1 --restart always --network host reeve-lab/busybox:1.35 \
      sh -c 'trap exit TERM; while :; do echo tick; sleep 5 & wait $!; done' >/dev/null
  fi
  for d in "${DEVICES[@]}"; do
    wait_for 60 login_works "lab-$d" || die "lab-$d does not let us in: see docker logs lab-$d"
  done
}

ssh_list() {
  local d
  declare -A what=([debian]='Debian 12, systemd, socket of the first dockerd' [plain]='Debian 12, sshd alone, socket of the second dockerd'
    [busybox]='busybox and sshd' [tower]='imitation of Unraid 7.1.4')
  for d in "${DEVICES[@]}"; do printf '%-8s 127.0.0.1:%s  %s\n' "$d" "${PORT[$d]}" "${what[$d]}"; done
}
