//! Refuses a build that would not be the product: the static recipe of `.cargo/config.toml` is lost as soon as a
//! `RUSTFLAGS` stands in the environment. Also passes on the release's commit and, for test builds, the mutants' cfg.
#![expect(clippy::print_stderr, clippy::disallowed_methods, reason = "how a build script refuses")]

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RUSTFLAGS");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    println!("cargo:rerun-if-env-changed=RINGFORT_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // A new file there is compiled into the binary.
    println!("cargo:rerun-if-changed=static");
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let fuzzing = env::var("CARGO_CFG_FUZZING").is_ok();
    let is_static = features.split(',').any(|feature| feature == "crt-static");
    let has_recipe = is_static && flags.contains("linux_getrandom");
    if !has_recipe && !fuzzing {
        eprintln!("error: this build would not be static: the flags of .cargo/config.toml are not in force.");
        eprintln!("       Nothing was built. Unset RUSTFLAGS (it replaces them) and build from the repository's root.");
        std::process::exit(1);
    }
    println!("cargo:rustc-env=RINGFORT_COMMIT={}", commit());
}

/// The commit of the sources, or `unknown` where they are not in a git checkout.
fn commit() -> String {
    if let Ok(commit) = env::var("RINGFORT_COMMIT") {
        return commit;
    }
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let head = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    head.ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
