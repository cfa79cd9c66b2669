# The systemd units, by what systemd itself says of them. Sourced by run.

# The exposure that the sandbox leaves, of 10.
most=1.5

test_units() {
  mkdir -p "$work/units"
  # `verify` looks for the program: here it is the one that is tested.
  sed "s|/usr/bin/$name|$binary|" "$source/packaging/systemd/$name.service" >"$work/units/$name.service"
  cp "$source/packaging/systemd/$name.socket" "$work/units/"
  check "units: systemd-analyze verify says nothing" verify
  check "units: exposure of the service is at most $most" exposure
  check "units: without a sandbox the same service is above it" no_sandbox_is_seen
}

verify() {
  local said
  said=$(systemd-analyze verify --man=no "$work/units/$name.service" "$work/units/$name.socket" 2>&1 | grep -F "$name" || true)
  is "$said" "" && systemd-analyze verify --man=no "$work/units/$name.socket"
}

score() {
  systemd-analyze security --offline=true --no-pager "$1" | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\).*/\1/p'
}

exposure() {
  local found
  systemd-analyze security --offline=true --no-pager "$work/units/$name.service"
  found=$(score "$work/units/$name.service")
  echo "NOTE: $found"
  awk -v found="$found" -v most=$most 'BEGIN { exit !(found != "" && found <= most) }'
}

no_sandbox_is_seen() {
  mkdir -p "$work/units/open"
  grep -vE '^(Private|Protect|Restrict|System|Capability|Ambient|NoNew|Lock|User|RemoveIPC|Keyring)' "$work/units/$name.service" >"$work/units/open/$name.service"
  local found
  found=$(score "$work/units/open/$name.service")
  echo "NOTE: $found"
  awk -v found="$found" -v most=$most 'BEGIN { exit !(found > most) }'
}
