//! What a package manager installs beside what cargo builds: once for a checkout, by the first test that needs it.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// The folder `name`, with what `make` puts into it for this list of `requirements`.
///
/// The tests of other processes wait for the one that makes it. Another list makes it anew.
pub(crate) fn once(name: &str, requirements: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let home = target().join(name);
    let done = home.join("installed.txt");
    let is_done = || fs::read_to_string(&done).is_ok_and(|made| made == requirements);
    if is_done() {
        return home;
    }
    // Closing the file unlocks it.
    let lock = must("the lock of a folder", File::create(home.with_extension("lock")));
    must("the lock of a folder", lock.lock());
    if !is_done() {
        make(&home);
        must("the end of an installation", fs::write(&done, requirements));
    }
    home
}

/// Where cargo builds: test programs lie in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let program = must("the path of this program", env::current_exe());
    program.ancestors().nth(3).map_or_else(env::temp_dir, Path::to_owned)
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &mut Command) {
    let output = must(&format!("{command:?}"), command.output());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{complaint}", output.status);
}

pub(crate) fn must<T>(what: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}
