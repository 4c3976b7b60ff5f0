//! The house's own rules, checked in its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The source of a crate's folder: path below it, and text without its test module.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
                found.insert(path.strip_prefix(&root).unwrap().display().to_string(), code);
            }
        }
    }
    assert!(found.len() > 2, "{folder} has hardly any source");
    found
}

/// The body of each `fn` of a source, by name; good enough for formatted code.
fn functions(code: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for part in code.split("fn ").skip(1) {
        let name = part.split(['(', '<']).next().unwrap_or_default();
        found.insert(name, part);
    }
    found
}

#[test]
fn rooms_know_only_what_is_below_them() {
    // Room, and what its files must not name.
    let rules: [(&str, &[&str]); 6] = [
        ("model/", &["sqlx", "tokio", "crate::store", "crate::engine", "crate::datasource"]),
        ("store/", &["crate::engine", "crate::datasource", "SystemTime"]),
        ("store/postgres/", &["super::sqlite", "store::sqlite"]),
        ("store/sqlite/", &["super::postgres", "store::postgres"]),
        ("engine/", &["sqlx::", "SELECT ", "INSERT ", "feature = \"postgres\"", "feature = \"sqlite\""]),
        ("payload/", &["crate::store", "crate::engine", "tokio"]),
    ];
    for (path, code) in sources("dbos-runtime/src") {
        for (room, forbidden) in rules {
            for name in forbidden.iter().filter(|_| path.starts_with(room)) {
                let line =
                    code.lines().find(|line| line.contains(name) && !line.trim_start().starts_with("//"));
                assert_eq!(line, None, "{path} names {name}");
            }
        }
    }
}

#[test]
fn dbos_axum_sees_only_the_public_face() {
    for (path, code) in sources("dbos-axum/src") {
        for name in ["sqlx", "dbos_runtime::__private"] {
            assert!(!code.contains(name), "{path} names {name}");
        }
    }
}

// S10.
#[test]
fn signatures_are_compared_in_constant_time() {
    let files = sources("dbos-axum/src/webhooks");
    let comparing: Vec<_> = files.iter().filter(|(_, code)| code.contains(".verify_slice(")).collect();
    assert_eq!(comparing.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["keys.rs"]);
    for (path, code) in &files {
        for line in code.lines().filter(|line| line.contains("==") || line.contains("!=")) {
            for name in ["signature", "mac", "tag", "secret", ".sign("] {
                assert!(!line.contains(name), "{path} compares: {line}");
            }
        }
    }
}

#[test]
fn both_backends_have_the_same_rooms() {
    let names = |backend: &str| -> BTreeSet<String> {
        let files = sources(&format!("dbos-runtime/src/store/{backend}"));
        files.into_keys().filter(|path| !path.contains('/')).collect()
    };
    let (postgres, sqlite) = (names("postgres"), names("sqlite"));
    let only: Vec<_> = postgres.symmetric_difference(&sqlite).map(String::as_str).collect();
    // Arrays, parts and plain parameters are how Postgres takes a batch, and channels are its own; SQLite works
    // through a batch inside a transaction, with rows of VALUES.
    let expected = [
        "batch.rs",
        "columns.rs",
        "lone.rs",
        "parts.rs",
        "starts.rs",
        "statements.rs",
        "values.rs",
        "wakeups.rs",
    ];
    assert_eq!(only, expected);
}

#[test]
fn every_write_path_has_a_failpoint() {
    // Hot writes pass the journal's one door.
    let journal = &sources("dbos-runtime/src/store")["journal.rs"];
    let commit = functions(journal)["commit"];
    for side in ["Side::Before", "Side::After"] {
        assert!(commit.contains(&format!("batch.pass({side})")), "the journal's commit does not pass {side}");
    }
    // Every other statement that writes is behind a question of the store, and the question passes a boundary.
    let store = sources("dbos-runtime/src/store");
    let asked: Vec<&str> = store
        .iter()
        .filter(|(path, code)| !path.contains('/') && code.contains("ask!("))
        .map(|(_, code)| code.as_str())
        .collect();
    let asked = asked.join("\n");
    let questions = functions(&asked);
    let mut writing = 0;
    for backend in ["postgres", "sqlite"] {
        let files = sources(&format!("dbos-runtime/src/store/{backend}"));
        // All but what the journal's lane is made of, and the migrations.
        let journals =
            ["batch.rs", "columns.rs", "lane.rs", "lone.rs", "migrate.rs", "parts.rs", "verify.rs"];
        for code in files.iter().filter(|(file, _)| !journals.contains(&file.as_str())).map(|(_, code)| code)
        {
            for (name, body) in functions(code).into_iter().filter(|(name, _)| questions.contains_key(name)) {
                if statements(code)
                    .iter()
                    .any(|(constant, sql)| body.contains(constant.as_str()) && writes(sql))
                {
                    writing += 1;
                    assert!(
                        questions[name].contains("failpoint::pass"),
                        "{backend}: {name} has no failpoint"
                    );
                }
            }
        }
    }
    assert!(writing >= 16, "only {writing} writing questions were found");
    // The datasource commits in two places.
    let datasource = sources("dbos-runtime/src/datasource");
    for (file, boundary) in [("transaction.rs", "Boundary::Transaction"), ("witness.rs", "Boundary::Witness")]
    {
        assert_eq!(datasource[file].matches(&format!("failpoint::pass({boundary}")).count(), 2, "{file}");
    }
}

/// The constants of a source that hold SQL.
fn statements(code: &str) -> Vec<(String, String)> {
    code.split("\nconst ")
        .skip(1)
        .filter_map(|part| {
            let (name, rest) = part.split_once(": &str")?;
            Some((format!("{name})"), rest.split("\";").next()?.to_owned()))
        })
        .collect()
}

fn writes(sql: &str) -> bool {
    ["INSERT INTO", "UPDATE {s}", "UPDATE workflow", "UPDATE application", "DELETE FROM"]
        .iter()
        .any(|verb| sql.contains(verb))
}

#[test]
fn no_file_has_grown_past_its_welcome() {
    for folder in ["dbos-runtime/src", "dbos-axum/src", "example-widget-store/src"] {
        for (path, code) in sources(folder) {
            let lines = code
                .lines()
                .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
                .count();
            assert!(lines <= 320, "{folder}/{path} has {lines} lines of code: it is two ideas by now");
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for folder in ["dbos-runtime/src", "dbos-axum/src", "example-widget-store/src"] {
        for (path, code) in sources(folder) {
            for name in ["todo!(", "unimplemented!(", "TODO", "FIXME", ".unwrap()", ".expect("] {
                let line =
                    code.lines().find(|line| line.contains(name) && !line.trim_start().starts_with("//"));
                assert_eq!(line, None, "{folder}/{path}");
            }
        }
    }
}
