# The lines that README.md has for a team, run as they stand there in an empty Debian root. Sourced by run.

test_readme() {
  static_program || return
  check "readme: man page and completions are made of the command line" built || return
  check "readme: the package is built" build_deb || return
  check "readme: a Debian root" debian_root || return
  readme_lines >"$work/run/readme.sh"
  check "readme: ten lines, no more, from an empty Debian to a service" test "$(wc -l <"$work/run/readme.sh")" -eq 10 || return
  check "readme: TLS, a token, two servers and metrics" readme_runs
}

# The first block behind the words.
readme_lines() { sed -n '/^\*\*For a team\*\*/,$p' "$source/README.md" | sed -n '/^```console$/,/^```$/p' | sed '1d;/^```$/Q'; }

readme_runs() {
  # What apt needs to reach what this machine's own reaches.
  rm -rf "$work/run/apt" && mkdir -p "$work/run/apt" && cp -r /etc/resolv.conf /etc/hosts /etc/apt/apt.conf.d "$work/run/apt/" || return
  local variable environment=()
  for variable in http_proxy https_proxy no_proxy; do
    [[ -z ${!variable:-} ]] || environment+=("$variable=${!variable}")
  done
  in_root "${environment[@]}" bash -eucx '
    cp /made/run/apt/resolv.conf /made/run/apt/hosts /etc/ && cp -n /made/run/apt/apt.conf.d/* /etc/apt/apt.conf.d/
    apt-get update -qq
    trap "kill \$(jobs -p)" EXIT
    cd /made/deb
    . /made/run/readme.sh
    # Whoever shows no token is turned away, and each server has its own count.
    test "$(curl -s -o /dev/null -w "%{http_code}" --cacert tls.crt https://localhost:8443/servers/notes/mcp)" = 401
    test "$(curl -fsS http://127.0.0.1:9464/readyz | sort | tr "\n" " ")" = "files: ready notes: ready "
  '
}
