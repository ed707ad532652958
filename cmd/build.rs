//! Finds out what `p2p-fed version` says: the commit, and the version of libp2p that the lock file names.

use std::{env, fs, process::Command};

fn main() {
    say("P2P_FED_COMMIT", git(&["rev-parse", "--short=12", "HEAD"]));
    // The log of HEAD grows with each commit and each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        watch(&log);
    }
    say("P2P_FED_LIBP2P", locked("libp2p"));
    watch("../Cargo.lock");
    watch("build.rs");
    say("P2P_FED_FEATURES", Some(features()));
}

/// A value that is not to be had (a source archive has no history) is called so.
fn say(variable: &str, value: Option<String>) {
    order(format_args!("rustc-env={variable}={}", value.as_deref().unwrap_or("unknown")));
}

fn watch(path: &str) {
    order(format_args!("rerun-if-changed={path}"));
}

/// Cargo reads the standard output of this program.
#[allow(clippy::print_stdout)]
fn order(order: std::fmt::Arguments<'_>) {
    println!("cargo::{order}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The features of this package that are on; cargo tells them by variables.
fn features() -> String {
    let on = env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_ascii_lowercase()));
    on.map(|name| name.replace('_', "-")).collect::<Vec<_>>().join(" ")
}

fn locked(package: &str) -> Option<String> {
    let lock = fs::read_to_string("../Cargo.lock").ok()?;
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(entry.split_once('"')?.0.to_owned())
}
