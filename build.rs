//! Names the commit that a release build is made from, where git or `XENOGLOT_COMMIT` (an image's build has no git) tells it.
//!
//! Development builds name none: they would be built again after every commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=XENOGLOT_COMMIT");
    let told = std::env::var("XENOGLOT_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = told.or_else(commit_of_release) {
        println!("cargo::rustc-env=XENOGLOT_COMMIT={commit}");
    }
}

/// The first twelve digits, with a plus sign where files differ from it.
fn commit_of_release() -> Option<String> {
    if std::env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    for path in ["HEAD", "index"] {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", path])?);
    }
    // What is checked out moves with its branch.
    if let Some(branch) = git(&["symbolic-ref", "HEAD"]) {
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", &branch])?);
    }
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    Some(if changed { format!("{commit}+") } else { commit })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
