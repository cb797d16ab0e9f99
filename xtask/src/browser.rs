//! The browser and the GPU that the tests run on. Neither needs hardware: without a real GPU, Chromium brings
//! SwiftShader for WebGPU and Mesa brings lavapipe for Vulkan.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    debian,
    shell::{find, root, target_dir},
};

/// The flags for every start of Chromium, here and in Playwright's configuration.
const FLAGS: &str = "tests/browser/chromium-flags.json";
const VULKAN_DRIVERS: &str = "/usr/share/vulkan/icd.d";

const CHROMIUMS: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

pub fn install() -> Result<()> {
    if chromium().is_err() || chromedriver().is_err() {
        debian::install(&["chromium", "chromium-driver", "fonts-liberation"], "Chromium with ChromeDriver")?;
    }
    if cfg!(target_os = "linux") && !has_gpu() && lavapipe().is_none() {
        debian::install(&["libvulkan1", "mesa-vulkan-drivers"], "a Vulkan driver")?;
    }
    Ok(())
}

/// The browser: `$CHROMIUM`, or the first on the `PATH`.
pub fn chromium() -> Result<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let found = || CHROMIUMS.iter().find_map(|name| find(name));
    named.or_else(found).ok_or_else(|| anyhow!("Chromium is missing; install it or set CHROMIUM to where it lies"))
}

/// Lets a native test find a GPU: a real one, or else lavapipe by name, so that no other driver is tried.
pub fn with_gpu(mut tests: Command) -> Command {
    if let (false, Some(driver)) = (has_gpu(), lavapipe()) {
        tests.env("VK_DRIVER_FILES", &driver).env("VK_ICD_FILENAMES", &driver);
    }
    tests
}

/// Lets `cargo test` for the browser run: in a dedicated worker of headless Chromium, as the package does.
pub fn with_chromium(mut tests: Command) -> Result<Command> {
    tests.env("CHROMEDRIVER", chromedriver()?).env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", webdriver_settings()?);
    tests.env("WASM_BINDGEN_USE_DEDICATED_WORKER", "1");
    // For all tests together: a software GPU takes seconds for what a real one does in milliseconds.
    tests.env("WASM_BINDGEN_TEST_TIMEOUT", "1500").env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60");
    Ok(tests)
}

fn chromedriver() -> Result<PathBuf> {
    let named = std::env::var_os("CHROMEDRIVER").map(PathBuf::from);
    named
        .or_else(|| find("chromedriver"))
        .ok_or_else(|| anyhow!("ChromeDriver is missing; install the version of your Chromium or set CHROMEDRIVER"))
}

/// Writes what ChromeDriver is told about the browser.
fn webdriver_settings() -> Result<PathBuf> {
    let flags = fs::read_to_string(root().join(FLAGS)).context(FLAGS)?;
    let chromium = chromium()?;
    let settings = target_dir().join("webdriver.json");
    fs::write(&settings, format!("{{\"goog:chromeOptions\": {{\"binary\": {chromium:?}, \"args\": {flags}}}}}\n"))?;
    Ok(settings)
}

fn has_gpu() -> bool {
    ["/dev/dri", "/dev/nvidia0"].iter().any(|device| Path::new(device).exists())
}

/// Mesa's Vulkan driver that computes on the CPU.
fn lavapipe() -> Option<PathBuf> {
    let mut drivers = fs::read_dir(VULKAN_DRIVERS).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    drivers.find(|driver| driver.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
}
