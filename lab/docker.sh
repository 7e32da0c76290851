# The Docker targets: the Compose project shop, a project media as Compose v2 labels it, and loose containers in every state.

declare -A present=() # NAME -> "STATE SPEC" of the containers there are

# target NAME STATE OPTION... IMAGE COMMAND...: a container, made anew unless it is there in that state, made from the same
target() {
  local name=$1 state=$2 spec; shift 2
  spec=$(printf '%s\n' "$@" "$image_ids" | sha256sum | cut -c1-12)
  [ "${present[$name]:-}" != "$state $spec" ] || return 0
  [ -z "${present[$name]:-}" ] || docker rm -f -v "$name" >/dev/null
  local how=(run -d); [ "$state" != created ] || how=(create)
  docker "${how[@]}" --name "$name" --label reeve-lab=1 --label "reeve-lab.spec=$spec" "$@" >/dev/null
  fresh[$name]=1
}

# service NAME DEPENDS OPTION...: a container of the project media, with the labels that Compose v2 writes
service() {
  local name=$1 depends=$2 label=com.docker.compose; shift 2
  target "media-$name-1" running --hostname "$name" --network media_default --network-alias "$name" \
    --label $label.project=media --label "$label.service=$name" --label $label.container-number=1 --label $label.oneoff=False \
    --label $label.version=2.29.7 --label $label.project.working_dir=/srv/media \
    --label $label.project.config_files=/srv/media/compose.yaml --label "$label.depends_on=$depends" "$@"
}

shop_up() {
  local spec; spec=$(printf '%s' "$image_ids" | cat "$LAB/shop/docker-compose.yml" - | sha256sum | cut -c1-12)
  # all six are there and none but migrate has ended
  local n; n=$(docker ps -a --filter label=com.docker.compose.project=shop --filter "label=reeve-lab.spec=$spec" --format '{{.Names}} {{.State}}' |
    grep -cE '^shop_migrate_1 exited| (running|restarting)$' || true)
  [ "$n" -lt 6 ] || return 0
  LAB_SPEC=$spec docker-compose --no-ansi -p shop -f "$LAB/shop/docker-compose.yml" up -d >"$STATE/shop.log" 2>&1 ||
    { tail "$STATE/shop.log" >&2; die "docker-compose failed"; }
}

docker_up() {
  local image_ids name state spec; declare -A fresh=()
  image_ids=$(docker image inspect -f '{{.Id}}' reeve-lab/{busybox:1.35,db:16.4,cache:7.2,web:1.4.2})
  while read -r name state spec; do present[$name]="$state $spec"; done < <(
    docker ps -a --filter label=reeve-lab=1 --format '{{.Names}} {{.State}} {{.Label "reeve-lab.spec"}}')
  shop_up & local shop=$!

  docker network inspect media_default >/dev/null 2>&1 || docker network create --label reeve-lab=1 --label com.docker.compose.project=media \
    --label com.docker.compose.network=default --label com.docker.compose.version=2.29.7 media_default >/dev/null
  docker volume create --label reeve-lab=1 --label com.docker.compose.project=media --label com.docker.compose.volume=config media_config >/dev/null
  docker volume create --label reeve-lab=1 lab-dangling >/dev/null
  service indexer '' --restart unless-stopped -v media_config:/data -e API_KEY=lab0123456789abcdef reeve-lab/web:1.4.2
  service library indexer:service_started:false --restart unless-stopped -p 127.0.0.1:22089:8080 -e PUID=99 -e PGID=100 \
    --health-cmd 'echo connect: connection refused >&2; exit 1' --health-interval 5s --health-retries 2 --health-timeout 2s reeve-lab/web:1.4.2
  service player indexer:service_started:false,library:service_healthy:true --tmpfs /tmp --cap-drop ALL --memory 128m \
    -p 127.0.0.1:22096-22097:8096-8097 reeve-lab/busybox:1.35 \
    sh -c 'i=0; while :; do i=$((i+1)); echo "INFO frame $i"; [ $((i%5)) != 0 ] || echo "WARN slow frame: größer" >&2; sleep 2; done'

  local box=reeve-lab/busybox:1.35 forever='trap exit TERM; sleep 100000 & wait'
  target lab-paused paused $box sleep 100000
  [ -z "${fresh[lab-paused]:-}" ] || docker pause lab-paused >/dev/null
  target lab-created created $box sleep 1
  target lab-exit0 exited $box echo done
  target lab-exit2 exited $box sh -c 'echo "panic: no configuration" >&2; exit 2'
  target lab-killed exited $box sleep 100000
  [ -z "${fresh[lab-killed]:-}" ] || docker kill lab-killed >/dev/null
  target lab-oom exited --memory 8m --memory-swap 8m $box sh -c 'tail /dev/zero; code=$?; sleep 1; exit $code' # the end must not overtake the notice
  target lab-hostnet running --network host $box sh -c "$forever"
  [ -z "${fresh[lab-hostnet]:-}" ] || present[lab-sidecar]=${present[lab-sidecar]:+of an older one}
  target lab-sidecar running --network container:lab-hostnet $box sh -c "$forever"
  target lab-nonet running --network none $box sh -c "$forever"
  target lab-tty running -t $box sh -c 'while :; do printf "\033[31mred\033[0m \033[1mbold\033[0m\n"; sleep 5; done'
  target lab-spin running --cpus 0.02 $box sh -c 'while :; do :; done'
  target lab-logs running $box sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "{\"level\":\"info\",\"n\":$i}"; done
    echo "last words" >&2; head -c 40000 /dev/zero | tr "\0" x; echo; trap exit TERM; sleep 100000 & wait'
  target lab-secrets running --label token=lab-token-0123456789 --label com.example.password=lab-label-Passw0rd -e AWS_SECRET_ACCESS_KEY=lab/0123456789 \
    $box sh -c "$forever" server --password=lab-argument-Passw0rd --user=lab
  target lab-unraid running --label net.unraid.docker.managed=dockerman --label 'net.unraid.docker.webui=http://[IP]:[PORT:8080]/' \
    --label net.unraid.docker.icon=https://example.invalid/icon.png -e HOST_OS=Unraid -e HOST_HOSTNAME=Tower -e TZ=Europe/Amsterdam reeve-lab/web:1.4.2
  wait "$shop" || exit 1
}

# settled: has every health check spoken, and the out-of-memory one ended?
settled() { [ -z "$(docker ps -q --filter label=reeve-lab=1 --filter health=starting)$(docker ps -q --filter name=lab-oom)" ]; }

docker_list() {
  printf 'docker   %s  %s containers: projects shop and media, loose ones lab-*\n' "$DOCKER_HOST" "$(docker ps -aq --filter label=reeve-lab=1 | wc -l)"
  [ ! -S "$STATE/plain/docker.sock" ] || printf 'docker2  unix://%s  the one that plain sees\n' "$STATE/plain/docker.sock"
}
