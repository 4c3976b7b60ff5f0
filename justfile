# The commands that everyone needs; `just` lists them.

[private]
default:
    @just --list

# every test on both databases; arguments choose among them
test *arguments:
    scripts/test {{ arguments }}

# format, lints and docs
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# a shell (or another command) beside a private Postgres
postgres *command="bash":
    scripts/postgres run -- {{ command }}

# the shop
shop:
    cargo run -p example-widget-store

# what a change has to pass
ci:
    .ci/run
