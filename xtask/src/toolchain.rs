//! The compiler for other targets than this machine.

use std::{ffi::OsStr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{
    debian,
    shell::{command, read, succeeds_within},
};

/// Debian's own build of a current Rust. It has no ready standard library for other targets, but everything to build one.
const DEBIAN_PACKAGES: [&str; 6] =
    ["cargo-web", "rustc-web", "rust-web-clippy", "rust-web-llvm", "rust-web-src", "lld-22"];

/// Who compiles for a target.
#[derive(Clone, Copy)]
pub struct Toolchain {
    target: &'static str,
    rust: Rust,
}

#[derive(Clone, Copy)]
enum Rust {
    /// The one that runs this, with the target installed.
    Own,
    /// Debian's, which builds the standard library from source: for machines where rustup cannot download.
    Debian,
}

impl Toolchain {
    /// The first that works, installing it where that is possible.
    pub fn find(target: &'static str) -> Result<Self> {
        let rust = if own_has(target)? {
            Rust::Own
        } else if debian_is_complete() {
            Rust::Debian
        } else if rustup_adds(target) && own_has(target)? {
            Rust::Own
        } else {
            debian::install(&DEBIAN_PACKAGES, &format!("Rust's target {target}"))
                .with_context(|| format!("`rustup target add {target}` did not work"))?;
            Rust::Debian
        };
        Ok(Self { target, rust })
    }

    /// `cargo` for the target.
    pub fn cargo<I>(self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut cargo = match self.rust {
            Rust::Own => command("cargo", arguments),
            Rust::Debian => {
                let mut cargo = command("/usr/bin/cargo", arguments);
                // Building the standard library is unstable, and this is how a stable toolchain lets it through. Its `test`
                // is named for every command, because the set of these crates is part of what each crate depends on:
                // the tests would otherwise compile burn a second time.
                cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort,test");
                cargo.env("RUSTC", "/usr/bin/rustc");
                cargo
            }
        };
        cargo.env_remove("RUSTFLAGS").env("CARGO_BUILD_TARGET", self.target);
        cargo
    }

    /// The compiler with clippy in it; a rustup beside Debian's Rust has one too, of another version.
    pub fn clippy_driver(self) -> &'static str {
        match self.rust {
            Rust::Own => "clippy-driver",
            Rust::Debian => "/usr/bin/clippy-driver",
        }
    }
}

fn own_has(target: &str) -> Result<bool> {
    let sysroot = read(command("rustc", ["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir())
}

fn debian_is_complete() -> bool {
    let parts =
        ["bin/cargo", "bin/rustc", "bin/clippy-driver", "bin/rust-lld", "lib/rustlib/src/rust/library/Cargo.lock"];
    debian::is_here() && parts.iter().all(|part| Path::new("/usr").join(part).exists())
}

/// Asks rustup for the target; says no quickly where there is no rustup or nothing can be downloaded.
fn rustup_adds(target: &str) -> bool {
    let mut add = command("rustup", ["target", "add", target]);
    add.env("RUSTUP_MAX_RETRIES", "0");
    succeeds_within(add, Duration::from_secs(120))
}
