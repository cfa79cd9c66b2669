# The shell session of one document; see tests/docs/run. The first process of its namespace.
# Usage: bash session.sh GATEWAY DOCUMENT FOLDER

__gateway=$1 __document=$2 __folder=$3 __limit=60
__state=$__folder/state
ip link set lo up
mkdir "$__folder/bin"
for __name in npx uvx; do
  printf '#!/bin/sh\nexec %q demo-stdio-server\n' "$__gateway" >"$__folder/bin/$__name"
done
cp "$__folder/bin/npx" "$__folder/home/my-server"
printf 'import os\nos.execv(%s, ["demo", "demo-stdio-server"])\n' "'$__gateway'" >"$__folder/home/my_server.py"
chmod +x "$__folder"/bin/* "$__folder/home/my-server"
command -v python >/dev/null || ln -s "$(command -v python3)" "$__folder/bin/python"
ln -s "$__gateway" "$__folder/bin/mcp-http-gateway"
for __name in $(env | sed -n 's/^\(MCP_GATEWAY_[A-Z_]*\)=.*/\1/p'); do unset "$__name"; done
export HOME=$__folder/home PATH=$__folder/bin:$PATH
cd "$HOME" || exit 2

# __listening PID: whether the process listens, or has ended.
__listening() {
  [ ! -d "/proc/$1" ] || ss -Hlntxp | grep -q "pid=$1,"
}

# __ready PID
__ready() {
  local i
  for ((i = 0; i < 400; i++)); do
    ! __listening "$1" || return 0
    sleep 0.05
  done
}

# Ends the servers of earlier blocks.
__make_room() {
  local file pid i
  for file in "$__state"/server-*; do
    [ -e "$file" ] && [ "$(cat "$file")" != "$__block" ] || continue
    pid=${file##*-}
    kill "$pid" 2>/dev/null || true
    for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
  done
}

mcp-http-gateway() {
  case ${1-} in
    token | check-config | print-config | healthcheck | help | -h | --help | -V | --version)
      command mcp-http-gateway "$@"
      return
      ;;
  esac
  if [ "$BASHPID" != $$ ]; then
    echo "$__block" >"$__state/server-$BASHPID"
    __make_room
    exec "$__gateway" "$@"
  fi
  __make_room
  "$__gateway" "$@" &
  echo "$__block" >"$__state/server-$!"
  __ready $!
  if [ -d "/proc/$!" ]; then __known+=" $!"; else wait $!; fi
}

# Before each command: what was started with & listens.
__known=
__settle() {
  local pid i
  for pid in $(jobs -rp); do
    [[ " $__known " != *" $pid "* ]] || continue
    __known+=" $pid"
    # Somebody else's job has no such file.
    for ((i = 0; i < 20; i++)); do [ ! -e "$__state/server-$pid" ] || break; sleep 0.02; done
    [ ! -e "$__state/server-$pid" ] || __ready "$pid"
  done
}

__over() {
  local status=$?
  trap - EXIT ERR DEBUG
  [ -z "${__running-}" ] || {
    echo "FAIL $__document:$__line: \`${__failed:-$__title}\`: status $status$([ ! -e "$__state/late" ] || echo ", after $__limit s")"
    tail -n 8 "$__state/output-$__block" | sed 's/^/     /'
  } >&3
}

set -eE
exec 3>&1
trap __over EXIT
for ((__block = 1; ; __block++)); do
  [ -e "$__folder/block-$__block" ] || break
  __line=$(cat "$__folder/line-$__block")
  __title=$(head -n 1 "$__folder/block-$__block" | cut -c 1-100)
  __running=yes __failed=
  # The watch ends whatever the block waits for.
  (trap - EXIT ERR; exec 3>&-; sleep $__limit; touch "$__state/late"; pkill -TERM -P $$) >/dev/null 2>&1 &
  __watch=$!
  __known+=" $__watch"
  trap '__failed=$BASH_COMMAND' ERR
  trap __settle DEBUG
  eval "$(cat "$__folder/block-$__block")" >"$__state/output-$__block" 2>&1
  trap - DEBUG ERR
  __running=
  kill "$__watch" 2>/dev/null || true
  echo "$__block" >>"$__state/passed"
  echo "ok   $__document:$__line: $__title" >&3
done
