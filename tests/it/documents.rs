//! What the documents say about the source is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows of `cases.md` that nothing holds yet.
const OPEN_CASES: usize = 0;
const CASES: usize = 502;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source of a file that a row of `cases.md` names.
fn source(file: &str) -> String {
    let path = match file.split_once('/') {
        Some(("runtime", rest)) => format!("dbos-runtime/src/{rest}"),
        Some(("macros", rest)) => format!("dbos-runtime/macros/src/{rest}"),
        Some(("axum", rest)) => format!("dbos-axum/src/{rest}"),
        _ => format!("tests/it/{file}"),
    };
    let found = [format!("{path}.rs"), format!("{path}/mod.rs")]
        .iter()
        .find_map(|path| fs::read_to_string(root().join(path)).ok());
    found.unwrap_or_else(|| panic!("there is no file {file}"))
}

#[test]
fn every_case_of_the_official_suites_has_one_row_and_its_tests_exist() {
    let page = fs::read_to_string(root().join("tests/cases.md")).unwrap();
    let (mut numbers, mut open, mut tests) = (BTreeSet::new(), 0, 0);
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some(number) = cells.get(1).and_then(|cell| cell.parse::<usize>().ok()) else { continue };
        let [_, _, behaviour, holder, _] = cells[..] else { panic!("not a row: {line}") };
        assert!(numbers.insert(number), "case {number} has two rows");
        assert!(!behaviour.is_empty(), "case {number} says nothing");
        if holder == "open" {
            open += 1;
        } else if !holder.starts_with("n/a: ") {
            let named = holder.split('`').filter_map(|text| text.split_once("::")).inspect(|(file, name)| {
                let code = source(file);
                assert!(code.contains(&format!("fn {name}(")), "case {number}: no test {file}::{name}");
            });
            let named = named.count();
            assert!(named > 0, "case {number} names no test");
            tests += named;
        }
    }
    assert_eq!(numbers, (1..=CASES).collect());
    assert!(tests > 200, "only {tests} tests are named");
    assert_eq!(open, OPEN_CASES, "so many cases are open");
}

#[test]
fn every_threat_of_the_page_about_security_has_one_row_and_its_tests_exist() {
    const THREATS: usize = 34;
    /// Rows that nothing holds yet.
    const OPEN: usize = 0;
    let page = fs::read_to_string(root().join("docs/guide/security.md")).unwrap();
    let (mut numbers, mut open) = (BTreeSet::new(), 0);
    for line in page.lines().filter(|line| line.starts_with("| S")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, threat, holds, tests, _] = cells[..] else { panic!("not a row: {line}") };
        let number: usize = number[1..].parse().unwrap();
        assert!(numbers.insert(number), "S{number:02} has two rows");
        assert!(!threat.is_empty() && !holds.is_empty(), "{line}");
        if holds == "open" || holds.starts_with("n/a: ") {
            assert_eq!(tests, "", "{line}");
            open += usize::from(holds == "open");
            continue;
        }
        let mut bears_the_number = false;
        for (file, name) in tests.split('`').filter_map(|text| text.split_once("::")) {
            assert!(source(file).contains(&format!("fn {name}(")), "S{number:02}: no test {file}::{name}");
            bears_the_number |= name.starts_with(&format!("s{number:02}_"));
        }
        assert!(bears_the_number, "S{number:02}: none of its tests is named after it");
    }
    assert_eq!(numbers, (1..=THREATS).collect());
    assert_eq!(open, OPEN, "so many rows are open");
}

#[test]
fn every_promise_of_the_readme_names_tests_that_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| promise"))
        .take_while(|l| !l.is_empty())
        .collect();
    let mut named = 0;
    for row in rows.iter().skip(2) {
        let holders = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for holder in holders.split('`').filter(|text| !text.trim_matches([' ', ',']).is_empty()) {
            assert!(!source(holder).is_empty(), "{holder}");
            named += 1;
        }
    }
    assert!(named > 20, "only {named} are named");
}

#[test]
fn every_route_is_on_its_page() {
    for (table, page, count) in [
        ("axum/api/operation", "http-api", 10),
        ("axum/admin/operation", "admin", 18),
        ("axum/webhooks/operation", "webhooks", 3),
    ] {
        let page = fs::read_to_string(root().join(format!("docs/guide/{page}.md"))).unwrap();
        let table = source(table);
        let rows = table.lines().skip_while(|line| !line.contains("ROUTES")).take_while(|line| *line != "];");
        let rows = rows.filter_map(|row| Some((row, row.split('"').nth(1)?)));
        let rows = rows.inspect(|(row, path)| {
            let method = if row.to_lowercase().contains("post") { "POST" } else { "GET" };
            assert!(page.contains(&format!("`{method} {path}`")), "{method} {path}");
        });
        assert_eq!(rows.count(), count);
    }
    for page in ["http-api", "admin"] {
        let page = fs::read_to_string(root().join(format!("docs/guide/{page}.md"))).unwrap();
        assert!(page.contains("`GET /openapi.json`"));
    }
}

#[test]
fn every_page_of_the_guide_is_compiled_and_listed() {
    let crates = ["dbos-runtime", "dbos-axum"].map(|name| root().join(name).join("src/guide.rs"));
    let compiled = crates.map(|path| fs::read_to_string(path).unwrap()).concat();
    let listed = fs::read_to_string(root().join("docs/guide/README.md")).unwrap();
    let mut pages = 0;
    for entry in fs::read_dir(root().join("docs/guide")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".md").unwrap();
        if name == "README" {
            continue;
        }
        assert!(compiled.contains(&format!("\"{name}\"")), "{file} is not compiled");
        assert!(listed.contains(&format!("({file})")), "{file} is not listed");
        pages += 1;
    }
    assert_eq!(listed.matches(".md) |").count(), pages, "a page is listed that is not there");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![
        "README.md",
        "ARCHITECTURE.md",
        "DESIGN.md",
        "CHANGELOG.md",
        "docs/state_machine.md",
        "example-widget-store/README.md",
    ]
    .into_iter()
    .map(|file| root().join(file))
    .collect::<Vec<_>>();
    documents.extend(fs::read_dir(root().join("docs/guide")).unwrap().map(|entry| entry.unwrap().path()));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.ends_with(".md") && !link.contains("://") {
                let target = document.parent().unwrap().join(file);
                assert!(target.exists(), "{} links to {link}", document.display());
                let text = fs::read_to_string(target).unwrap();
                let mut headings =
                    text.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_matches(['#', ' '])));
                let found = headings.any(|heading| {
                    heading.to_lowercase().replace(' ', "-").replace([',', '?'], "") == anchor
                });
                assert!(anchor.is_empty() || found, "{} links to {link}", document.display());
                links += 1;
            }
        }
    }
    assert!(links > 40, "only {links} links were found");
}
