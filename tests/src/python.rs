//! The Python SDK as a neighbour: an environment of its own, and scripts that run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installed::{self, run};

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
/// The tools that look at what is served over HTTP.
const HTTP_TOOLS: &str = include_str!("../python/requirements-http.txt");

/// The virtual environment with the packages of `tests/python/requirements.txt`.
pub fn venv() -> PathBuf {
    environment("python-venv", REQUIREMENTS)
}

/// The last official admin server, ready to be given its arguments. It needs an older SDK than the other scripts.
pub fn admin_server() -> Command {
    let venv = environment("python-admin-venv", include_str!("../python/admin_requirements.txt"));
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/admin_server.py"));
    command
}

/// A virtual environment with the packages that the lines of `requirements` name.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    installed::once(name, requirements, |home| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home));
        run(Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(requirements.lines()));
    })
}

/// A program of the environment with the packages of `tests/python/requirements-http.txt`.
pub fn http_tool(name: &str) -> Command {
    Command::new(environment("python-http-venv", HTTP_TOOLS).join("bin").join(name))
}

/// A script of `tests/python` for that environment.
pub fn http_script(name: &str) -> Command {
    let mut command = http_tool("python");
    command.arg(scripts().join(name));
    command
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// A script of `tests/python`, ready to be given its arguments.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(venv().join("bin/python"));
    command.arg(scripts().join(name));
    command
}
