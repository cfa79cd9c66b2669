# The manifest against the schema that Kubernetes publishes, and what is written in it against the program. Sourced by run.

test_kubernetes() {
  check "kubernetes: the schema (kubernetes-validate, pinned)" python_tools || return
  check "kubernetes: the manifest is valid, strictly, for 1.29 and the newest" manifest_valid
  check "kubernetes: a wrong manifest is found" wrong_manifest_found
  check "kubernetes: the gateway reads the configuration in it" manifest_config
}

# Checkers from PyPI, in a folder of their own.
python_tools() {
  "$work/python/bin/actionlint" --version &>/dev/null && cmp -s "$here/requirements.txt" "$work/python/installed.txt" && return
  rm -rf "$work/python"
  python3 -m venv "$work/python" && "$work/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" &&
    cp "$here/requirements.txt" "$work/python/installed.txt"
}

manifest_valid() {
  local version
  for version in 1.29 1.37; do
    "$work/python/bin/kubernetes-validate" --strict --kubernetes-version "$version" "$source/packaging/kubernetes/sidecar.yaml" || return
  done
}

wrong_manifest_found() {
  sed 's/periodSeconds: 10$/periodsSeconds: 10/' "$source/packaging/kubernetes/sidecar.yaml" >"$work/run/wrong.yaml"
  ! "$work/python/bin/kubernetes-validate" --strict --kubernetes-version 1.29 "$work/run/wrong.yaml" >"$work/run/said" 2>&1 &&
    grep "'periodsSeconds' was unexpected" "$work/run/said"
}

manifest_config() {
  rm -rf "$work/pod" && mkdir -p "$work/pod/bin"
  "$work/python/bin/python" - "$source/packaging/kubernetes/sidecar.yaml" >"$work/pod/gateway.toml" <<'END' || return
import sys, yaml
config, deployment = yaml.safe_load_all(open(sys.argv[1], encoding="utf-8"))
pod = deployment["spec"]["template"]["spec"]
sidecar, = pod["initContainers"]
sidecar["restartPolicy"] == "Always" or sys.exit("no sidecar")
# What is mounted and named must be there.
{mount["name"] for mount in sidecar["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]} or sys.exit("volumes")
print(config["data"]["gateway.toml"])
END
  # The places of the pod, here.
  "$binary" token new app --file "$work/pod/tokens" && ln -s /bin/true "$work/pod/bin/mcp-server-everything" || return
  sed -i "s|/etc/mcp-tokens|$work/pod|" "$work/pod/gateway.toml"
  PATH=$work/pod/bin:$PATH "$binary" check-config "$work/pod/gateway.toml"
}
