# The image of the Dockerfile, without Docker. Sourced by run.

test_image() {
  trap stop_image EXIT
  static_program || return
  check "image: the program needs nothing beside it, and is under 12 MiB" is_alone
  check "image: its file system is one file" assemble_image || return
  check "image: as process 1, read-only, without privileges: healthy by its HEALTHCHECK" image_runs || return
  check "image: a client is served" image_serves
  check "image: nobody can write there" image_is_read_only
  check "image: unhealthy once nobody answers the probe" image_unhealthy
  check "image: SIGTERM ends it with status 0, and its children" image_stops
  check "image: the images for Node and Python take the program from there" copies_match
  stop_image
  trap - EXIT
}

is_alone() {
  local kib=$(($(stat -c %s "$program") / 1024))
  echo "NOTE: $kib KiB"
  readelf --dynamic --program-headers "$program"
  ! readelf --dynamic "$program" | grep NEEDED && ! readelf --program-headers "$program" | grep INTERP && ((kib < 12 * 1024))
}

assemble_image() {
  "$here/image.py" assemble "$source/Dockerfile" "$(dirname "$program")" "$work/image" &&
    is "$(cd "$work/image" && find . -type f)" ./$name
}

image_runs() {
  "$here/image.py" run "$source/Dockerfile" "$work/image" --demo --listen 0.0.0.0:8080 --insecure-no-auth --allowed-host 127.0.0.1 \
    >"$work/log/container.txt" 2>&1 &
  container=$!
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    first=$(pgrep -P "$container" || true)
    [[ -n $first ]] && "$here/image.py" health "$source/Dockerfile" "$first" >"$work/run/health" 2>&1 && break
    kill -0 "$container" || break
    sleep 0.1
  done
  cat "$work/run/health" "$work/log/container.txt"
  ((tries < 100)) && kill -0 "$container" || return
  local status
  status=$(tr -s '\t' ' ' <"/proc/$first/status")
  is "$(grep -E '^(Uid|Gid|NSpid|CapEff):' <<<"$status" | sort)" "CapEff: 0000000000000000
Gid: 65532 65532 65532 65532
NSpid: $first 1
Uid: 65532 65532 65532 65532"
}

image_serves() {
  local said
  said=$(nsenter --target "$first" --net python3 "$here/ask.py" http://127.0.0.1:8080/mcp echo) || { echo "$said"; return 1; }
  [[ $said == *hello* ]]
}

image_is_read_only() {
  local said
  said=$(nsenter --target "$first" --mount bash -c 'echo x >"$0/x"' "$work/image" 2>&1) && return 1
  [[ $said == *"Read-only file system"* ]] || { echo "$said"; return 1; }
}

image_unhealthy() {
  kill -STOP "$first"
  ! timeout 20 "$here/image.py" health "$source/Dockerfile" "$first"
  local status=$?
  kill -CONT "$first"
  return $status
}

image_stops() {
  kill -TERM "$first"
  local status=0
  wait "$container" || status=$?
  container=
  is "$status" 0
}

stop_image() {
  # Process 1 of the namespace: all others there end with it.
  [[ -z ${container:-} ]] || { kill -KILL ${first:-} "$container"; wait "$container"; } 2>/dev/null
  container= first=
}

copies_match() {
  local made file
  made=$(sed -n 's|^COPY --from=build .* ||p' "$source/Dockerfile")
  for file in node python; do
    grep -qx "COPY --from=$name $made /usr/local/bin/" "$source/packaging/docker/$file.Dockerfile" || { echo "$file: no COPY of $made"; return 1; }
    grep -q '^ENTRYPOINT \["'$name'"\]$' "$source/packaging/docker/$file.Dockerfile" || return
    grep -q "CMD \[\"$name\", \"healthcheck\"\]$" "$source/packaging/docker/$file.Dockerfile" || return
  done
}
