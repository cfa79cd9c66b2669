//! The rooms and who may name whom (ARCHITECTURE.md), read from the source itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may name. `metrics`, `budget`, `memory`, `principal` and `shutdown` are leaves.
const ROOMS: [(&str, &[&str]); 30] = [
    ("protocol", &[]),
    ("budget", &[]),
    ("memory", &[]),
    ("seal", &[]),
    ("principal", &["seal"]),
    ("shutdown", &[]),
    ("workers", &[]),
    ("prefetch", &[]),
    ("shards", &[]),
    ("few", &[]),
    ("tide", &[]),
    ("auth", &["principal"]),
    ("ledger", &["principal", "shards"]),
    ("quota", &["ledger", "principal"]),
    ("tls", &[]),
    ("notify", &[]),
    ("metrics", &["protocol"]),
    ("config", &[]),
    ("telemetry", &["config"]),
    ("child", &["config", "budget", "metrics"]),
    ("link", &["child", "protocol", "budget", "few", "metrics", "prefetch"]),
    ("bridge", &["link", "protocol", "seal", "budget"]),
    ("pool", &["bridge", "ledger", "link", "child", "config", "protocol", "budget", "memory", "metrics", "principal", "seal"]),
    ("session", &["pool", "bridge", "few", "link", "protocol", "metrics", "prefetch", "principal", "quota"]),
    (
        "server",
        &[
            "pool",
            "bridge",
            "session",
            "link",
            "config",
            "protocol",
            "budget",
            "memory",
            "metrics",
            "principal",
            "seal",
            "child",
            "quota",
            "shards",
        ],
    ),
    (
        "http",
        &[
            "server",
            "pool",
            "bridge",
            "session",
            "link",
            "child",
            "config",
            "protocol",
            "metrics",
            "prefetch",
            "principal",
            "shards",
            "shutdown",
            "workers",
            "auth",
            "quota",
            "tls",
            "notify",
        ],
    ),
    (
        "gateway",
        &[
            "http",
            "server",
            "session",
            "link",
            "child",
            "config",
            "metrics",
            "shutdown",
            "workers",
            "auth",
            "budget",
            "memory",
            "principal",
            "tide",
            "tls",
            "notify",
        ],
    ),
    ("demo", &[]),
    ("cli", &["auth", "config", "tls"]),
    ("fuzzing", &["auth", "session", "bridge", "link", "child", "config", "protocol", "budget", "metrics", "principal", "seal"]),
];

/// Pure files: no I/O, no clock, no randomness, nothing awaited.
const PURE: [&str; 20] = [
    "protocol/",
    "bridge/",
    "session/router.rs",
    "session/router/",
    "session/recall.rs",
    "session/bridged/seat.rs",
    "link/log.rs",
    "link/log/evict.rs",
    "link/log/pressure.rs",
    "link/log/streams.rs",
    "link/stream.rs",
    "link/block.rs",
    "link/cursor.rs",
    "link/state.rs",
    "link/route.rs",
    "link/effects.rs",
    "quota.rs",
    "child/outbox.rs",
    "child/restart.rs",
    "child/framer.rs",
];

/// Files that may switch off the ban on `unsafe`, each with its reason beside it.
const UNSAFE: [&str; 5] = ["child/spawner.rs", "child/pipe.rs", "http/inherited.rs", "prefetch.rs", "tide.rs"];

/// Every source file by its path below `src`, its unit tests left out.
fn sources() -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let below = |path: &PathBuf| path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
    found
        .iter()
        .filter(|path| !path.ends_with("tests.rs"))
        .filter(|path| path.strip_prefix(&root).is_ok_and(|below| below.iter().all(|part| part != "tests")))
        .map(|path| (below(path), fs::read_to_string(path).expect("a text")))
        .map(|(path, text)| (path, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()))
        .collect()
}

fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn rooms_name_only_the_rooms_below_them() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room(&path)) else {
            assert!(
                matches!(path.as_str(), "lib.rs" | "main.rs"),
                "{path} is in no room: add it to ROOMS and to ARCHITECTURE.md"
            );
            continue;
        };
        for named in text.split("crate::").skip(1) {
            let named: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if named != room(&path) && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{path} names {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_do_nothing_but_decide() {
    let impure = [
        "Instant::now",
        ".await",
        "async fn",
        "tokio::spawn",
        "tokio::net",
        "tokio::io",
        "std::fs",
        "std::net",
        "std::io::Read",
        "std::process",
        "std::thread",
        "rustix",
        "getrandom",
        "SystemTime",
        "tracing::",
    ];
    for (path, text) in sources() {
        if PURE.iter().any(|pure| path.starts_with(pure)) {
            let found: Vec<&&str> = impure.iter().filter(|word| text.contains(**word)).collect();
            assert!(found.is_empty(), "{path}: {found:?}");
        }
    }
}

#[test]
fn unsafe_code_stands_in_few_files_with_its_reason() {
    for (path, text) in sources() {
        let allows = text.contains("allow(unsafe_code)");
        assert_eq!(allows, UNSAFE.contains(&path.as_str()), "{path}");
        let blocks = text.matches("unsafe {").count();
        assert!(text.matches("// SAFETY:").count() >= blocks, "{path}: an unsafe block without its reason");
    }
}

#[test]
fn dates_are_compared_in_one_file() {
    for (path, text) in sources() {
        assert!(path == "protocol/revision.rs" || !text.contains("Revision::V"), "{path}: ask the revision for a property");
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= 400, "{path}");
    }
}

#[test]
fn locks_for_many_readers_stand_in_one_file() {
    // What all calls look at would be behind one.
    for (path, text) in sources() {
        let is_parted = path == "shards.rs" || !text.contains("RwLock");
        assert!(is_parted, "{path}: exchange it as a whole (arc-swap), or find it in a part (shards)");
    }
}
