# The Debian package: as it is built, and as it is installed in, and purged from, a Debian root made for it. Sourced by run.

test_deb() {
  static_program || return
  check "deb: man page and completions are made of the command line" built || return
  check "deb: bash, zsh and fish read the completions, and complete an option" completions
  check "deb: man reads the page" man_page
  check "deb: it is built, and the same twice" build_deb || return
  check "deb: it holds what it should, owned by root" deb_contents
  check "deb: lintian has nothing to say" lint
  check "deb: a Debian root" debian_root || return
  check "deb: installed into it: user, files, folders" installed || return
  check "deb: purged again, and nothing is left" purged
}

completions() {
  local made=$work/generated
  zsh -n "$made/_$name" && fish --no-execute "$made/$name.fish" || return
  # What each would offer for `--max-s`.
  bash -c '. "$1/$0"
    COMP_WORDS=("$0" --max-s) COMP_CWORD=1
    "$(complete -p "$0" | sed "s/.*-F \([^ ]*\).*/\1/")" "$0" --max-s "$0"
    printf "%s\n" "${COMPREPLY[@]}"' "$name" "$made" | grep -x -- --max-sessions || return
  fish --no-config -c "source $made/$name.fish; complete -C '$name --max-s'" | grep -- --max-sessions || return
  grep -F -- '--max-sessions=' "$made/_$name"
}

man_page() {
  local said
  said=$(man --warnings=w --local-file "$work/generated/$name.1" 2>&1 >"$work/run/man.txt")
  is "$said" "" || return
  col -b <"$work/run/man.txt" >"$work/run/page.txt"
  local word
  for word in NAME SYNOPSIS OPTIONS FILES 'EXIT STATUS' SIGNALS VERSION; do
    grep -q "^$word" "$work/run/page.txt" || { echo "no $word"; return 1; }
  done
  ! "$binary" --help | grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+' |
    while read -r flag; do grep -qe "$flag" "$work/run/page.txt" || echo "the page has no $flag"; done | grep .
}

build_deb() {
  rm -rf "$work/deb" && mkdir -p "$work/deb/again"
  "$source/packaging/deb/build" "$program" "$work/generated" "$work/deb" &&
    "$source/packaging/deb/build" "$program" "$work/generated" "$work/deb/again" || return
  deb=$(echo "$work"/deb/*.deb)
  echo "NOTE: $(($(stat -c %s "$deb") / 1024)) KiB, the program $(($(stat -c %s "$program") / 1024)) KiB"
  cmp "$deb" "$work"/deb/again/*.deb
}

deb_contents() {
  local list path
  list=$(dpkg-deb --contents "$deb") && dpkg-deb --info "$deb" && echo "$list" || return
  is "$(awk '{ print $2 }' <<<"$list" | sort -u)" root/root || return
  for path in usr/bin/$name lib/systemd/system/$name.{service,socket} etc/$name/gateway.toml usr/share/man/man1/$name.1.gz \
    usr/share/bash-completion/completions/$name usr/share/zsh/vendor-completions/_$name usr/share/fish/vendor_completions.d/$name.fish \
    usr/share/doc/$name/{copyright,changelog.Debian.gz,changelog.gz,README.md}; do
    grep -qF " ./$path" <<<"$list" || { echo "no $path"; return 1; }
  done
  [[ ! -f $source/config/gateway.toml ]] || grep -qF " ./usr/share/doc/$name/examples/gateway.toml" <<<"$list" || return
  is "$(dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./conffiles)" /etc/$name/gateway.toml
}

lint() {
  # Its dictionary finds words in machine code.
  lintian --allow-root --no-user-dirs --profile debian --fail-on error,warning,info --display-info --suppress-tags spelling-error-in-binary "$deb"
  local status=$?
  echo "NOTE: $(grep -c "^$name: " "$source/packaging/deb/lintian-overrides") overrides, each with its reason"
  return $status
}

# The mirror of this machine's own apt, and a root that is kept for the next time.
debian_root() {
  [[ ! -f $work/root/complete ]] || return 0
  local mirror
  mirror=$({ cat /etc/apt/sources.list.d/*.sources | sed -n 's/^URIs: *//p'
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list | sed -nE 's/^deb +(\[[^]]*\] *)?([^ ]+) +bookworm .*/\2/p'; } 2>/dev/null |
    grep -m 1 -E 'debian/?$')
  [[ -n $mirror ]] || { echo "apt's configuration names no mirror of Debian"; return 1; }
  rm -rf "$work/root"
  debootstrap --variant=minbase --include=systemd,nodejs,python3 bookworm "$work/root" "$mirror" || return
  rm -rf "$work/root/var/cache/apt/archives"/*.deb "$work/root/var/lib/apt/lists"/*
  touch "$work/root/complete"
}

# in_root COMMAND...: in a copy that goes away with its namespace; target/packaging is at /made there.
in_root() {
  unshare --mount --propagation private bash -euc '
    cd "$0"; shift 0
    mkdir -p run/root && mount -t tmpfs tmpfs run/root && mkdir run/root/{upper,work,all}
    mount -t overlay overlay -o "lowerdir=root,upperdir=run/root/upper,workdir=run/root/work" run/root/all
    mount -t proc proc run/root/all/proc && mount --bind /dev run/root/all/dev
    mkdir run/root/all/made && mount --bind . run/root/all/made
    exec chroot run/root/all /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
  ' "$work" "$@"
}

installed() {
  in_root bash -euxc '
    dpkg --install /made/deb/*.deb
    mcp-http-gateway --version
    test "$(stat -c "%U:%G %a" /etc/mcp-http-gateway)" = "root:mcp-http-gateway 2750"
    test "$(stat -c "%U:%G %a" /etc/mcp-http-gateway/gateway.toml)" = "root:root 644"
    test "$(getent passwd mcp-http-gateway | cut -d: -f6,7)" = "/var/lib/mcp-http-gateway:/usr/sbin/nologin"
    systemd-analyze verify --man=no /lib/systemd/system/mcp-http-gateway.{service,socket}
    # Not enabled, and what has been changed in the configuration outlives a newer package.
    test ! -e /etc/systemd/system/multi-user.target.wants/mcp-http-gateway.service
    echo "# mine" >>/etc/mcp-http-gateway/gateway.toml
    systemctl enable mcp-http-gateway.service
    dpkg --install /made/deb/*.deb
    grep "# mine" /etc/mcp-http-gateway/gateway.toml
    test -L /etc/systemd/system/multi-user.target.wants/mcp-http-gateway.service
    dpkg --verify mcp-http-gateway | grep -v "c /etc/mcp-http-gateway/gateway.toml" | grep . && exit 1
    dpkg --audit
    true
  '
}

purged() {
  in_root bash -euxc '
    look() { find / -xdev \( -path /made -o -path /run -o -path /proc -o -path /dev -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \) -prune -o -print | grep -vE "^/(etc/(passwd|group|shadow|gshadow)-|etc/.pwd.lock)" | sort; cat /etc/passwd /etc/group; dpkg --get-selections; }
    look >/tmp/before
    dpkg --install /made/deb/*.deb
    systemctl enable mcp-http-gateway.service mcp-http-gateway.socket
    touch /etc/mcp-http-gateway/tokens
    install -d -o mcp-http-gateway /var/lib/mcp-http-gateway/.npm
    dpkg --remove mcp-http-gateway
    test -e /etc/mcp-http-gateway/gateway.toml
    dpkg --purge mcp-http-gateway
    look >/tmp/after
    diff /tmp/before /tmp/after
  '
}
