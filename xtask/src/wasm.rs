//! `cargo xtask wasm`: the crate for the browser, in pkg/wasm.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    setup,
    shell::{command, copy_files, read, root, run, step},
};

pub const TARGET: &str = "wasm32-unknown-unknown";
pub const DEFAULT_PROFILE: &str = "release";

/// Apart from target/, so that native and browser builds do not evict each other.
const TARGET_DIR: &str = "target/web";

/// Debian's own build of a current Rust. It has no ready standard library for wasm, but everything to build one.
const DEBIAN_PACKAGES: [&str; 6] =
    ["cargo-web", "rustc-web", "rust-web-clippy", "rust-web-llvm", "rust-web-src", "lld-22"];

/// What the package weighed gzipped when somebody last looked, in bytes: less is better, and more by [`GROWTH`] wants a
/// reason and a new figure here.
const GZIPPED: u64 = 2_970_000;
const GROWTH: f64 = 1.02;

/// Who compiles for the browser.
#[derive(Clone, Copy, PartialEq)]
pub enum Toolchain {
    /// The Rust that runs this, with the wasm target installed.
    Own,
    /// Debian's, which builds the standard library from source: for machines where rustup cannot download.
    Debian,
}

impl Toolchain {
    /// The first that works, installing it where that is possible.
    pub fn find() -> Result<Self> {
        if own_has_target()? {
            Ok(Self::Own)
        } else if debian_is_complete() {
            Ok(Self::Debian)
        } else if setup::rustup_adds_wasm() && own_has_target()? {
            Ok(Self::Own)
        } else {
            setup::debian_packages(&DEBIAN_PACKAGES, &format!("Rust's target {TARGET}"))
                .with_context(|| format!("`rustup target add {TARGET}` did not work"))?;
            Ok(Self::Debian)
        }
    }

    /// `cargo` for the browser; the flags come from .cargo/config.toml.
    pub fn cargo<I>(self, arguments: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut cargo = match self {
            Self::Own => command("cargo", arguments),
            Self::Debian => {
                let mut cargo = command("/usr/bin/cargo", arguments);
                // Building the standard library is unstable, and this is how a stable toolchain lets it through. Its `test`
                // is named for every command, because the set of these crates is part of what each crate depends on:
                // the tests would otherwise compile burn a second time.
                cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort,test");
                cargo.env("RUSTC", "/usr/bin/rustc");
                cargo
            }
        };
        cargo.env_remove("RUSTFLAGS").env("CARGO_BUILD_TARGET", TARGET).env("CARGO_TARGET_DIR", TARGET_DIR);
        // All crates are optimised as one, for the size of the package; a native program would only be built more slowly.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "fat").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
        cargo
    }

    /// The compiler with clippy in it; a rustup beside Debian's Rust has one too, of another version.
    pub fn clippy_driver(self) -> &'static str {
        match self {
            Self::Own => "clippy-driver",
            Self::Debian => "/usr/bin/clippy-driver",
        }
    }
}

/// Builds and binds the package, and prints its size.
pub fn build(profile: &str) -> Result<()> {
    let toolchain = step("wasm: toolchain", Toolchain::find)?;
    step("wasm: tools", setup::wasm_bindgen)?;
    step("wasm: cargo build", || compile(toolchain, profile))?;
    step("wasm: wasm-bindgen", || bind(profile))?;
    step("wasm: pkg/wasm", publish)
}

fn compile(toolchain: Toolchain, profile: &str) -> Result<()> {
    run(toolchain.cargo(["build", "--lib", "--no-default-features", "--profile", profile]))
}

fn bind(profile: &str) -> Result<()> {
    let folder = if profile == "dev" { "debug" } else { profile };
    let built = web_dir().join(TARGET).join(folder).join("setokim.wasm");
    let mut bind =
        command(setup::wasm_bindgen_tool("wasm-bindgen"), ["--remove-name-section", "--target", "web", "--out-dir"]);
    bind.arg(bound_dir()).arg(built);
    run(bind)
}

fn publish() -> Result<()> {
    copy_files(&bound_dir(), &root().join("pkg/wasm"))?;
    print_size()
}

/// Bytes of the built package, as they are and as a server sends them.
pub fn print_size() -> Result<()> {
    let Ok(built) = fs::metadata(package()) else {
        println!("    pkg/wasm is not built: `cargo xtask wasm` builds it");
        return Ok(());
    };
    println!("    wasm: {:.2} MB, {:.2} MB gzipped", megabytes(built.len()), megabytes(gzipped()?));
    Ok(())
}

/// Fails when the built package has grown.
pub fn check_size() -> Result<()> {
    let (limit, now) = ((GZIPPED as f64 * GROWTH) as u64, gzipped()?);
    ensure!(now <= limit, "the package has grown to {now} bytes gzipped; {GZIPPED} and a little were expected");
    Ok(())
}

fn gzipped() -> Result<u64> {
    let gzip = "zlib.gzipSync(fs.readFileSync(process.argv[1]), { level: 9 }).length";
    let mut node = command("node", ["-p", gzip]);
    node.arg(package());
    Ok(read(node)?.parse()?)
}

fn package() -> PathBuf {
    root().join("pkg/wasm/setokim_bg.wasm")
}

fn own_has_target() -> Result<bool> {
    let sysroot = read(command("rustc", ["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn debian_is_complete() -> bool {
    let parts =
        ["bin/cargo", "bin/rustc", "bin/clippy-driver", "bin/rust-lld", "lib/rustlib/src/rust/library/Cargo.lock"];
    setup::is_debian() && parts.iter().all(|part| Path::new("/usr").join(part).exists())
}

fn web_dir() -> PathBuf {
    root().join(TARGET_DIR)
}

fn bound_dir() -> PathBuf {
    web_dir().join("bindgen")
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
