# The service as systemd runs it: a systemd of its own, in namespaces, on the Debian root of deb.sh. Sourced by run.

init= cgroup=

test_service() {
  static_program || return
  trap shut_down EXIT
  check "service: what it needs (a Debian root, the package, npm)" service_needs || return
  check "service: a systemd as process 1 of namespaces" boot || return
  check "service: installed, enabled and started: ready by its own word" started || { tell_journal; return; }
  check "service: the server of the shipped configuration answers" answers http://127.0.0.1:8080/servers/demo/mcp echo
  check "service: the admin listener says ready" readyz
  check "service: a reload adds servers on Node, Python and npx" reloaded
  check "service: Node works in the sandbox, and the sandbox holds it" looked node
  check "service: Python works in the sandbox, and the sandbox holds it" looked python
  check "service: npx works in the sandbox: its cache is in the service's home" npx_works
  check "service: each server process has a cgroup of its own" own_cgroups
  check "service: without W^X pages Node does not start (why MemoryDenyWriteExecute= is not set)" needs_jit
  check "service: a reload of a file with a fault fails, and changes nothing" bad_reload
  check "service: tokens that are added below /etc/mcp-http-gateway count after a reload" tokens_reloaded
  check "service: credentials of /etc/credstore arrive; missing ones do no harm" credentials
  check "service: the socket unit: the first connection starts it, and a restart refuses none" socket_activation
  check "service: a gateway that hangs is started anew (WatchdogSec=)" watchdog
  check "service: a file with a fault at start: status 78, and no restart" bad_start
  check "service: stopped; no process is left" stopped
  shut_down
  trap - EXIT
}

service_needs() {
  debian_root && built || return
  [[ -n ${deb:-} ]] || build_deb || return
  rm -rf "$work/servers" && cp -r "$here/servers" "$work/servers" || return
  # npx, as a folder of its own.
  [[ -f $work/npm/node_modules/npm/bin/npx-cli.js ]] ||
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work/npm" npm@10.9.4
}

# A cgroup (version 2) for all of it, so that the new systemd divides nothing but that.
own_cgroup() {
  local mount
  mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  [[ -n $mount ]] || { echo "no cgroup2 is mounted"; return 1; }
  cgroup=$mount$(sed -n 's/^0:://p' /proc/self/cgroup)
  cgroup=${cgroup%/}/packaging.$$
  mkdir "$cgroup"
}

boot() {
  own_cgroup || return
  (
    echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec unshare --mount --pid --fork --uts --ipc --net --cgroup --propagation private --kill-child "$here/boot" "$work"
  ) >"$work/log/systemd.txt" 2>&1 &
  booted=$!
  local tries
  for ((tries = 0; tries < 150; tries++)); do
    init=$(pgrep -P "$booted" || true)
    if [[ -n $init ]] && inside systemctl is-active --quiet basic.target; then return 0; fi
    kill -0 "$booted" || break
    sleep 0.1
  done
  tail -n 40 "$work/log/systemd.txt"
  return 1
}

shut_down() {
  [[ -z ${booted:-} ]] || { kill -KILL $init "$booted"; wait "$booted"; } 2>/dev/null
  booted= init=
  # What was killed with its namespace is gone from its cgroups a moment later.
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    [[ -n $cgroup && -d $cgroup ]] || break
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    sleep 0.1
  done
}

# inside COMMAND...: beside that systemd
inside() {
  nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root \
    /usr/bin/env --chdir=/ -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 SYSTEMD_PAGER= "$@"
}

# asked URL TOOL [TOKEN]: with this machine's Python, in the network of that systemd
asked() { nsenter --target "$init" --net python3 "$here/ask.py" "$@"; }
got() { nsenter --target "$init" --net curl --silent --show-error --max-time 20 "$@"; }
tell_journal() { inside journalctl --no-pager --lines 40 --output cat 2>&1 | cut -c 1-300 | sed 's/^/        /'; }
property() { inside systemctl show --value --property "$1" "${2:-$name.service}"; }
# within SECONDS COMMAND...
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { echo "not in time: $*"; "$@"; return 1; }
    sleep 0.1
  done
}

started() {
  inside dpkg --install "/made/deb/$(basename "$deb")" && inside systemctl enable --now $name.service || return
  is "$(property ActiveState)" active || return
  local status
  status=$(property StatusText)
  echo "NOTE: \"$status\""
  [[ -n $status ]]
}

answers() {
  local said
  said=$(asked "$@") || { echo "$said"; return 1; }
  [[ $said == *hello* ]] || { echo "$said"; return 1; }
}

readyz() {
  within 30 got --fail http://127.0.0.1:9090/readyz
}

reloaded() {
  local main
  main=$(property MainPID)
  inside mkdir -p /opt/servers /home/somebody && inside cp -r /made/servers /made/npm /opt/ &&
    inside sh -c 'cat >>/etc/mcp-http-gateway/gateway.toml' <<'END' || return
[servers.node]
cmd = ["node", "/opt/servers/look.mjs"]
[servers.python]
cmd = ["python3", "/opt/servers/look.py"]
[servers.npx]
cmd = ["node", "/opt/npm/node_modules/npm/bin/npx-cli.js", "--yes", "--package=/opt/servers", "look"]
env = { npm_config_offline = "true", npm_config_update_notifier = "false" }
END
  inside mcp-http-gateway check-config /etc/mcp-http-gateway/gateway.toml &&
    inside systemctl reload $name.service && within 30 got --fail http://127.0.0.1:9090/readyz/npx || return
  is "$(property MainPID)" "$main" && answers http://127.0.0.1:8080/servers/demo/mcp echo
}

looked() {
  local said
  said=$(asked "http://127.0.0.1:8080/servers/$1/mcp" look) || { echo "$said"; tell_journal; return 1; }
  python3 - "$said" <<'END'
import json, sys
found = json.loads(sys.argv[1])
print("NOTE:", found["runtime"])
wanted = {"compiled": True, "cpus": True, "network": True, "shell": "yes", "home": "/var/lib/mcp-http-gateway", "writesHome": True,
          "writesTmp": True, "seesHome": False, "noNewPrivileges": "1", "seccomp": "2", "capabilities": "0" * 32}
faults = [f"{key}: {found[key]}, not {value}" for key, value in wanted.items() if found[key] != value]
faults += [f"{key}: {found[key]}" for key in ("writesEtc", "writesUsr") if found[key] is True]
faults += ["uid 0"] if found["uid"] == 0 else []
sys.exit("\n".join(faults + [sys.argv[1]]) if faults else 0)
END
}

npx_works() {
  looked npx && inside sh -c 'ls -d /var/lib/mcp-http-gateway/.npm/_npx/*'
}

own_cgroups() {
  local said
  said=$(asked http://127.0.0.1:8080/servers/python/mcp look) || return
  echo "$said"
  [[ $said =~ 0::/system.slice/mcp-http-gateway\.service/mcp-http-gateway\.[0-9]+/[0-9]+ ]]
}

# drop_in TEXT: for the service; an empty one takes it away
drop_in() {
  if [[ -z $1 ]]; then
    inside rm -rf /etc/systemd/system/$name.service.d
  else
    inside mkdir -p /etc/systemd/system/$name.service.d
    inside sh -c "cat >/etc/systemd/system/$name.service.d/test.conf" <<<"$1"
  fi
  inside systemctl daemon-reload
}

needs_jit() {
  drop_in $'[Service]\nMemoryDenyWriteExecute=yes'
  inside systemctl --no-block restart $name.service
  within 60 inside systemctl is-active $name.service
  ! asked http://127.0.0.1:8080/servers/node/mcp look
  local status=$?
  drop_in "" && inside systemctl restart $name.service && within 60 readyz && ((status == 0))
}

bad_reload() {
  inside sh -c 'cp -p /etc/mcp-http-gateway/gateway.toml /tmp/good && echo "[servers.bad" >>/etc/mcp-http-gateway/gateway.toml'
  local main status=0
  main=$(property MainPID)
  inside systemctl reload $name.service && { echo "the reload did not fail"; status=1; }
  inside journalctl --unit $name.service --lines 5 --output cat | grep gateway.toml || status=1
  is "$(property ActiveState) $(property MainPID)" "active $main" || status=1
  answers http://127.0.0.1:8080/servers/demo/mcp echo || status=1
  inside cp -p /tmp/good /etc/mcp-http-gateway/gateway.toml
  inside systemctl reload $name.service && ((status == 0))
}

tokens_reloaded() {
  local alice bob main url=http://127.0.0.1:8080/servers/tokens/mcp
  main=$(property MainPID)
  alice=$(inside mcp-http-gateway token new alice --file /etc/mcp-http-gateway/tokens) && inside chmod 640 /etc/mcp-http-gateway/tokens || return
  inside sh -c 'cat >>/etc/mcp-http-gateway/gateway.toml' <<'END'
[servers.tokens]
cmd = ["/usr/bin/mcp-http-gateway", "demo-stdio-server"]
bearer_tokens = "/etc/mcp-http-gateway/tokens"
END
  inside systemctl reload $name.service && within 20 answers $url echo "$alice" || return
  bob=$(inside mcp-http-gateway token new bob --file /etc/mcp-http-gateway/tokens) || return
  is "$(asked $url echo "$bob" 2>&1 | cut -c 1-8)" "HTTP 401" || return
  inside systemctl reload $name.service && within 20 answers $url echo "$bob" && answers $url echo "$alice" &&
    is "$(property MainPID)" "$main"
}

credentials() {
  local token
  inside mkdir -p -m 700 /etc/credstore
  token=$(inside mcp-http-gateway token new alice --file /etc/credstore/mcp-http-gateway.tokens) || return
  inside cp -p /etc/mcp-http-gateway/gateway.toml /tmp/good
  inside sh -c 'cat >>/etc/mcp-http-gateway/gateway.toml' <<'END'
[servers.guarded]
cmd = ["/usr/bin/mcp-http-gateway", "demo-stdio-server"]
bearer_tokens = "/run/credentials/mcp-http-gateway.service/tokens"
END
  inside systemctl restart $name.service && within 30 readyz &&
    answers http://127.0.0.1:8080/servers/guarded/mcp echo "$token" &&
    is "$(asked http://127.0.0.1:8080/servers/guarded/mcp echo 2>&1 | cut -c 1-8)" "HTTP 401"
  local status=$?
  inside cp -p /tmp/good /etc/mcp-http-gateway/gateway.toml
  inside systemctl restart $name.service
  return $status
}

socket_activation() {
  inside systemctl stop $name.service && inside systemctl start $name.socket || return
  is "$(property ActiveState)" inactive || return
  answers http://127.0.0.1:8080/servers/demo/mcp echo && within 60 inside systemctl is-active $name.service || return
  # Requests all the time while it restarts: each is answered, however late.
  (
    while [[ ! -e $work/run/enough ]]; do
      got --output /dev/null --write-out '%{http_code}\n' http://127.0.0.1:8080/servers/demo/mcp 2>&1
    done
  ) >"$work/run/codes" &
  local asking=$!
  inside systemctl restart $name.service
  local status=$?
  touch "$work/run/enough"
  wait "$asking"
  sort "$work/run/codes" | uniq -c
  inside systemctl stop $name.socket $name.service
  inside systemctl start $name.service
  # A GET without a session is 400; what matters is that it is an answer.
  ((status == 0)) && is "$(sort -u "$work/run/codes")" 400
}

watchdog() {
  local main
  drop_in $'[Service]\nWatchdogSec=3\nTimeoutAbortSec=2'
  inside systemctl restart $name.service && within 30 readyz || return
  main=$(property MainPID)
  inside sh -c "kill -STOP $main"
  within 20 inside sh -c "test \"\$(systemctl show --value --property MainPID $name.service)\" != $main" &&
    within 20 inside systemctl is-active $name.service && within 20 readyz &&
    (($(property NRestarts) >= 1)) && inside journalctl --unit $name.service --output cat | grep -i 'watchdog timeout'
  local status=$?
  drop_in ""
  inside systemctl restart $name.service
  return $status
}

bad_start() {
  inside sh -c 'cp -p /etc/mcp-http-gateway/gateway.toml /tmp/good && echo "lissten = 1" >>/etc/mcp-http-gateway/gateway.toml'
  ! inside systemctl restart $name.service &&
    is "$(property ExecMainStatus)" 78 && is "$(property ActiveState)" failed
  local status=$?
  inside cp -p /tmp/good /etc/mcp-http-gateway/gateway.toml
  inside systemctl reset-failed $name.service
  inside systemctl start $name.service
  ((status == 0)) && within 30 readyz
}

stopped() {
  asked http://127.0.0.1:8080/servers/node/mcp look >/dev/null
  inside systemctl stop $name.service
  is "$(property Result) $(property ExecMainStatus)" "success 0" || return
  is "$(property ActiveState)" inactive || return
  is "$(inside sh -c 'stat -c %U /proc/[0-9]* 2>/dev/null | grep -c "^mcp"')" 0
}
