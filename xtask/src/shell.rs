//! Running other programs, and saying which and for how long.

use std::{
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// The root of the repository: every command runs there.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository")
}

/// Where cargo builds natively: `target`, or what `$CARGO_TARGET_DIR` or cargo's configuration names.
pub fn target_dir() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let metadata = read(command("cargo", ["metadata", "--no-deps", "--format-version", "1"]));
        let metadata: Value = metadata.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        metadata["target_directory"].as_str().map_or_else(|| root().join("target"), PathBuf::from)
    });
    &FOLDER
}

/// A command that runs in the root of the repository.
pub fn command<I>(program: impl AsRef<Path>, arguments: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<std::ffi::OsStr>,
{
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(root());
    command
}

/// Runs to the end, showing what the program prints.
pub fn run(mut command: Command) -> Result<()> {
    let status = spawn(&mut command)?.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(&command));
    }
    Ok(())
}

/// Runs to the end, showing what the program prints on stdout and returning it too.
pub fn run_and_read(mut command: Command) -> Result<String> {
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    let mut text = String::new();
    for printed in BufReader::new(child.stdout.take().expect("stdout is piped")).lines() {
        let printed = printed?;
        println!("{printed}");
        text += &printed;
        text += "\n";
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(&command));
    }
    Ok(text)
}

/// What the program prints on stdout; nothing is shown.
pub fn read(mut command: Command) -> Result<String> {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`{}` failed ({}): {said}", line(&command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Whether the program ends well within `limit`; nothing is shown.
pub fn succeeds_within(mut command: Command, limit: Duration) -> bool {
    let Ok(mut child) = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())) else {
        return false;
    };
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(100)),
            Err(_) => return false,
        }
    }
    child.kill().ok();
    child.wait().ok();
    false
}

/// Where a program lies on the `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| file.is_file())
}

/// Does one named piece of work, saying what it is and how long it took.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {name}");
    let start = Instant::now();
    let result = work().with_context(|| format!("{name} did not work"))?;
    println!("    {name}: {:.1} s", start.elapsed().as_secs_f32());
    Ok(result)
}

/// Copies a folder's files (not its folders), making the target where it is missing.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        match error.kind() {
            ErrorKind::NotFound => anyhow!("`{program}` is not installed; install it and try again"),
            _ => anyhow!("`{program}` could not be started: {error}"),
        }
    })
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
