# The workflows of a public forge. Sourced by run.

test_workflows() {
  check "workflows: the checker (actionlint, pinned)" python_tools || return
  check "workflows: actionlint has nothing to say" lint_workflows
  check "workflows: a wrong workflow is found" wrong_workflow_found
  check "workflows: actions are pinned, and permissions are small" small_permissions
  check "workflows: every script that they run is there" scripts_exist
}

# A program of others: it gets neither privileges nor a network.
actionlint() { unshare --net setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$work/python/bin/actionlint" -no-color "$@"; }

lint_workflows() {
  actionlint "$source"/.github/workflows/*.yml
}

wrong_workflow_found() {
  sed 's/matrix.runner/matrix.ruler/' "$source/.github/workflows/release.yml" >"$work/run/wrong.yml"
  ! actionlint "$work/run/wrong.yml" >"$work/run/said" 2>&1 && grep 'property "ruler" is not defined' "$work/run/said"
}

small_permissions() {
  local file faults=0
  for file in "$source"/.github/workflows/*.yml; do
    grep -oE 'uses: .*' "$file" | grep -vE 'uses: [a-z-]+/[a-z-]+@(v[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]{40})$' && faults=1
    is "$(sed -n '/^permissions:/,/^[^ ]/p' "$file" | grep '^  ')" "  contents: read" || faults=1
    ! grep -nE 'pull_request_target|write-all|\$\{\{ *github\.(event|head_ref)' "$file" || faults=1
  done
  ((faults == 0))
}

scripts_exist() {
  local path
  for path in $(grep -ohE '(^|[ "])(packaging|\.ci)/[a-z/-]+' "$source"/.github/workflows/*.yml | tr -d '" ' | sort -u); do
    [[ -e $source/$path ]] || { echo "no $path"; return 1; }
    echo "$path"
  done
}
