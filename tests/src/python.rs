//! The Python SDK as a neighbour: an environment of its own, and scripts that run in it.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// What `pip` installs, and how a finished environment is recognised.
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// The virtual environment with the packages of `tests/python/requirements.txt`.
///
/// The first test of a checkout makes it, beside what cargo builds; those of other processes wait for it.
pub fn venv() -> PathBuf {
    let home = target().join("python-venv");
    let done = home.join("requirements.txt");
    let is_done = || fs::read_to_string(&done).is_ok_and(|made| made == REQUIREMENTS);
    if is_done() {
        return home;
    }
    // Closing the file unlocks it.
    let lock = must("the lock of the environment", File::create(home.with_extension("lock")));
    must("the lock of the environment", lock.lock());
    if !is_done() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        run(Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(scripts().join("requirements.txt")));
        must("the end of the environment", fs::write(&done, REQUIREMENTS));
    }
    home
}

/// A script of `tests/python`, ready to be given its arguments.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command.arg(scripts().join(name));
    command
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Where cargo builds: test programs lie in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let program = must("the path of this program", env::current_exe());
    program.ancestors().nth(3).map_or_else(env::temp_dir, Path::to_owned)
}

fn run(command: &mut Command) {
    let output = must(&format!("{command:?}"), command.output());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{complaint}", output.status);
}

fn must<T>(what: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}
