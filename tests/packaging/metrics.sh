# Alerts and dashboard, against Prometheus's own tools and a gateway that runs. Sourced by run.

test_metrics() {
  local rules=$source/packaging/prometheus
  check "metrics: promtool accepts the alert rules" promtool check rules "$rules/alerts.yaml"
  check "metrics: each alert fires when it should, and only then" promtool test rules "$rules/alerts_test.yaml"
  check "metrics: every alert has a test" alerts_tested
  check "metrics: a gateway runs, and is used" scraped || return
  check "metrics: promtool check metrics has nothing to say" promtool_metrics
  check "metrics: what alerts and dashboard name is there" names_exist
  check "metrics: the dashboard is well formed" dashboard
}

alerts_tested() {
  local alert
  for alert in $(sed -n 's/^ *- alert: //p' "$source/packaging/prometheus/alerts.yaml"); do
    grep -qE "exp_alerts: \[\{" <(grep -A1 "alertname: $alert\$" "$source/packaging/prometheus/alerts_test.yaml") ||
      grep -q "alertname=\"$alert\"" "$source/packaging/prometheus/alerts_test.yaml" || { echo "no test that $alert fires"; return 1; }
  done
}

scraped() {
  local status=0
  "$binary" --demo --listen 127.0.0.1:0 --admin-listen "unix:$work/run/admin.sock" --ready-file "$work/run/address" >"$work/log/gateway.txt" 2>&1 &
  local gateway=$! tries url
  for ((tries = 0; tries < 100; tries++)); do
    [[ -s $work/run/address ]] && break
    sleep 0.1
  done
  url=http://$(sed 's|^http://||; s|/.*||' "$work/run/address")/mcp
  "$here/ask.py" "$url" echo && ! "$here/ask.py" "$url" nothing-of-this-name
  curl --silent --output /dev/null "$url" "${url%mcp}nowhere"
  curl --silent --fail --unix-socket "$work/run/admin.sock" http://localhost/metrics >"$work/run/metrics" || status=1
  curl --silent --fail --header 'accept: application/openmetrics-text; version=1.0.0' --unix-socket "$work/run/admin.sock" \
    http://localhost/metrics >"$work/run/openmetrics" || status=1
  kill -TERM "$gateway"
  wait "$gateway"
  [[ -s $work/run/metrics ]] && ((status == 0))
}

promtool_metrics() {
  promtool check metrics <"$work/run/metrics"
}

# A family that has counted nothing yet is not told: then its registration stands for it.
names_exist() {
  python3 "$here/names.py" "$work/run/metrics" "$source/src" "$source/packaging/prometheus/alerts.yaml" \
    "$source/packaging/prometheus/alerts_test.yaml" "$source/packaging/grafana/dashboard.json"
}

dashboard() {
  python3 - "$source/packaging/grafana/dashboard.json" <<'END'
import json, re, sys
board = json.load(open(sys.argv[1], encoding="utf-8"))
faults, seen, places = [], set(), {}
names = {variable["name"] for variable in board["templating"]["list"]}
for panel in board["panels"]:
    at = panel["gridPos"]
    if panel["id"] in seen:
        faults.append(f"id {panel['id']} twice")
    seen.add(panel["id"])
    for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
        if cell in places or cell[0] >= 24:
            faults.append(f"{panel['title']} and {places.get(cell)} overlap")
            break
        places[cell] = panel["title"]
    if panel["type"] != "row" and not panel["description"]:
        faults.append(f"{panel['title']}: no description")
    for target in panel.get("targets", []):
        used = set(re.findall(r"\$(?:\{)?([a-z]+)", target["expr"])) - {"__rate"}
        faults += [f"{panel['title']}: ${name} is no variable" for name in used - names]
        if target["expr"].count("(") != target["expr"].count(")"):
            faults.append(f"{panel['title']}: brackets")
print(f"NOTE: {len(seen)} panels")
sys.exit("\n".join(faults) if faults else 0)
END
  local status=$?
  # Every expression as a rule, which promtool parses; what Grafana fills in is filled in.
  python3 - "$source/packaging/grafana/dashboard.json" >"$work/run/dashboard-rules.yaml" <<'END' || return
import json, sys
board = json.load(open(sys.argv[1], encoding="utf-8"))
expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
rules = [{"record": f"dashboard:{at}", "expr": text.replace("$__rate_interval", "5m")} for at, text in enumerate(expressions)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
END
  promtool check rules --lint=none "$work/run/dashboard-rules.yaml" && ((status == 0))
}
