# Makes the lab's images out of Debian packages alone; each is kept as a tar in the cache, named by what it was made from.

# digest FILE...: short hash of the files' contents
digest() { cat "$@" | sha256sum | cut -c1-12; }

# image_from TAR NAME CHANGE...: imports the tar unless the image is there already
image_from() {
  local tar=$1 name=$2 change args=(-c 'LABEL reeve-lab=1'); shift 2
  for change; do args+=(-c "$change"); done
  local spec; spec=$(printf '%s\n' "$tar" "${args[@]}" | sha256sum | cut -c1-12)
  [ "$(docker image inspect -f '{{index .Config.Labels "reeve-lab.spec"}}' "$name" 2>/dev/null)" = "$spec" ] ||
    docker import "${args[@]}" -c "LABEL reeve-lab.spec=$spec" "$tar" "$name" >/dev/null
}

# busybox_tree DIR: busybox with all its names, and the few files a root needs
busybox_tree() {
  local dir=$1 name
  mkdir -p "$dir"/{bin,dev,etc,proc,root,run,sys,tmp,var}
  chmod 1777 "$dir/tmp"
  cp "$(command -v busybox)" "$dir/bin/busybox"
  for name in $("$dir/bin/busybox" --list); do
    [ -e "$dir/bin/$name" ] || ln -s busybox "$dir/bin/$name"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$dir/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/etc/group"
}

# What the Docker targets are made of: one busybox layer under several names.
targets_image() {
  local tar tmp; tar=$CACHE/targets-$(digest "$LAB/images.sh").tar
  if [ ! -s "$tar" ]; then
    tmp=$(mktemp -d "$STATE/build.XXXXXX")
    busybox_tree "$tmp"
    mkdir "$tmp/www" "$tmp/data"
    echo 'the lab is open' >"$tmp/www/index.html"
    tar -C "$tmp" -cf "$tar.new" --sort=name --mtime=@0 .
    mv "$tar.new" "$tar"
    rm -rf "$tmp"
  fi
  local path='ENV PATH=/bin'
  image_from "$tar" reeve-lab/busybox:1.35 "$path" 'CMD ["sh"]'
  image_from "$tar" reeve-lab/db:16.4 "$path" 'ENV PGDATA=/data' 'VOLUME /data' 'EXPOSE 5432' 'LABEL org.opencontainers.image.version=16.4' \
    'CMD ["sh","-c","echo ready to accept connections; exec nc -ll -p 5432 -e cat"]'
  image_from "$tar" reeve-lab/cache:7.2 "$path" 'EXPOSE 6379' 'LABEL org.opencontainers.image.version=7.2.5' \
    'CMD ["sh","-c","echo Ready to accept connections tcp; exec nc -ll -p 6379 -e cat"]'
  image_from "$tar" reeve-lab/web:1.4.2 "$path" 'EXPOSE 8080/tcp' 'EXPOSE 9100/tcp' 'EXPOSE 5353/udp' 'USER 65534:65534' \
    'LABEL org.opencontainers.image.version=1.4.2' 'LABEL org.opencontainers.image.source=https://example.invalid/web' \
    'HEALTHCHECK --interval=5s --timeout=2s --retries=2 CMD wget -qO- http://127.0.0.1:8080/ >/dev/null' \
    'CMD ["httpd","-f","-v","-p","8080","-h","/www"]'
}

# mirror: the address from which this machine installs Debian 12 itself
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Codename: bookworm' 'Origin: Debian' 'Component: main' | head -n1; }

# The roots of the SSH devices: Debian 12 with systemd, and busybox with that Debian's sshd.
ssh_images() {
  local tag; tag=$(digest "$LAB/images.sh" "$LAB/guest/customize")
  local debian=$CACHE/debian-$tag.tar busybox=$CACHE/busybox-$tag.tar
  if [ ! -s "$debian" ] || [ ! -s "$busybox" ]; then
    say "making the devices' images, about a minute"
    local from; from=$(mirror)
    [ -n "$from" ] || { apt-get update -qq >&2; from=$(mirror); }
    [ -n "$from" ] || die "apt knows no mirror of Debian 12"
    local tmp; tmp=$(mktemp -d "$STATE/build.XXXXXX")
    busybox_tree "$tmp/busybox"
    chmod 755 "$tmp"
    TMPDIR=$tmp mmdebstrap --format=tar --mode=root --variant=minbase --components=main \
      --include=openssh-server,systemd,systemd-sysv,dbus,sudo,procps,iproute2,tcsh,locales \
      --skip=cleanup/apt/lists --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/locale/de/*' \
      --customize-hook="bash '$LAB/guest/customize' \"\$1\" '$tmp/busybox'" \
      bookworm "$debian.new" "$from" >"$STATE/build.log" 2>&1 || return 1
    tar -C "$tmp/busybox" -cf "$busybox.new" .
    mv "$debian.new" "$debian"
    mv "$busybox.new" "$busybox"
    rm -rf "$tmp"
  fi
  image_from "$debian" reeve-lab/debian:12 'ENV container=docker'
  image_from "$busybox" reeve-lab/busybox-ssh:1.35
}
