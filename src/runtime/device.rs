//! Where a model runs, and why: a real GPU through wgpu (WebGPU in a page, Vulkan, Metal or DX12 natively), or the CPU.
//!
//! A software GPU adapter (SwiftShader, llvmpipe) is about thirty times slower than vector instructions on the same CPU,
//! so `auto` never takes one.

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use burn::tensor::wgpu::MemoryConfiguration;
use serde::Serialize;

use crate::runtime::selftest::{self, SelfTest};
use crate::{Error, Result};

/// What the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU if there is a real one, else the CPU.
    #[default]
    Auto,
    /// Any GPU adapter, software ones too, or an error.
    Gpu,
    /// The CPU.
    Cpu,
}

impl std::str::FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => Err(Error::Setting(format!("device `{text}` is not one of auto, gpu, cpu"))),
        }
    }
}

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A GPU, through wgpu.
    Gpu,
    /// The CPU.
    Cpu,
}

/// What was taken, why, and what the GPU adapter said of itself if there is one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceReport {
    /// What was taken.
    pub device: DeviceKind,
    /// Why, in words for a person.
    pub reason: String,
    /// The GPU adapter that was found, also where it was not taken.
    pub adapter: Option<AdapterReport>,
    /// What came of running every kernel on the adapter; none where it was not opened.
    pub self_test: Option<SelfTest>,
}

/// What matters of a GPU adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterReport {
    /// Empty where the browser keeps it to itself.
    pub name: String,
    /// Graphics API: `webgpu`, `vulkan`, `metal`, `dx12` or `gl`.
    pub backend: String,
    /// Runs on the CPU.
    pub software: bool,
    /// Has `shader-f16`.
    pub f16: bool,
    /// Has `timestamp-query`.
    pub timestamps: bool,
    /// Largest storage binding in bytes.
    pub max_storage_binding: u64,
}

impl AdapterReport {
    /// What to call it in a sentence.
    pub fn called(&self) -> &str {
        match (self.name.as_str(), self.software) {
            ("", true) => "a software adapter",
            ("", false) => "a GPU",
            (name, _) => name,
        }
    }
}

/// A device to put tensors on.
#[derive(Clone)]
pub struct OpenDevice {
    /// burn's handle of it.
    pub device: Device,
    /// What was taken, and why.
    pub report: DeviceReport,
}

/// What [`open`] takes for `auto`. A GPU has then run every kernel once, so that it is known to compute, and rightly.
pub async fn probe() -> DeviceReport {
    match open(DeviceChoice::Auto).await {
        Ok(open) => open.report,
        Err(error) => on_cpu(error.to_string(), None),
    }
}

/// Opens the device of the caller's choice.
///
/// # Errors
/// [`Error::DeviceUnavailable`] when `gpu` was asked for and there is none that can be used.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice> {
    #[cfg(target_family = "wasm")]
    run_constructors();
    if choice == DeviceChoice::Cpu {
        return Ok(cpu(on_cpu("asked for".into(), None)));
    }
    let adapter = match request_adapter().await {
        Ok(found) => found,
        Err(message) if choice == DeviceChoice::Gpu => return Err(Error::DeviceUnavailable(message)),
        Err(message) => return Ok(cpu(on_cpu(message, None))),
    };
    let report = decide(choice, adapter_report(&adapter));
    if report.device == DeviceKind::Cpu {
        return match choice {
            DeviceChoice::Gpu => Err(Error::DeviceUnavailable(report.reason)),
            _ => Ok(cpu(report)),
        };
    }
    match gpu_and_test().await {
        Ok((device, test)) => {
            let report = apply_self_test(choice, report, test)?;
            Ok(if report.device == DeviceKind::Gpu { OpenDevice { device, report } } else { cpu(report) })
        }
        Err(message) if choice == DeviceChoice::Gpu => Err(Error::DeviceUnavailable(message)),
        Err(message) => Ok(cpu(on_cpu(message, report.adapter))),
    }
}

/// A GPU that computes wrongly is none.
fn apply_self_test(choice: DeviceChoice, report: DeviceReport, test: SelfTest) -> Result<DeviceReport> {
    if test.failed.is_empty() {
        return Ok(DeviceReport { self_test: Some(test), ..report });
    }
    let name = report.adapter.as_ref().map_or("the adapter", AdapterReport::called);
    let reason = format!("{name} gives wrong results in {}", test.failed.join(", "));
    match choice {
        DeviceChoice::Gpu => Err(Error::DeviceUnavailable(reason)),
        _ => Ok(DeviceReport { self_test: Some(test), ..on_cpu(reason, report.adapter) }),
    }
}

fn cpu(report: DeviceReport) -> OpenDevice {
    OpenDevice { device: Device::flex(), report }
}

fn on_cpu(reason: String, adapter: Option<AdapterReport>) -> DeviceReport {
    DeviceReport { device: DeviceKind::Cpu, reason, adapter, self_test: None }
}

/// Whether to take this adapter.
fn decide(choice: DeviceChoice, adapter: AdapterReport) -> DeviceReport {
    // In a page burn 0.22 panics while opening a stream on a device that cannot take time stamps.
    if cfg!(target_family = "wasm") && !adapter.timestamps {
        return on_cpu(format!("{} has no timestamp-query", adapter.called()), Some(adapter));
    }
    if choice == DeviceChoice::Auto && adapter.software {
        let name = if adapter.name.is_empty() { "the only GPU" } else { &adapter.name };
        return on_cpu(format!("{name} is a software adapter, slower than the CPU device"), Some(adapter));
    }
    let reason = if choice == DeviceChoice::Gpu { "asked for".into() } else { format!("found {}", adapter.called()) };
    DeviceReport { device: DeviceKind::Gpu, reason, adapter: Some(adapter), self_test: None }
}

/// Runs what crates registered to run before `main`, once. A wasm module that never calls the linker's function gets a call
/// of it around each of its exports: thousands of registrations for every call from JavaScript.
#[cfg(target_family = "wasm")]
fn run_constructors() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    // SAFETY: made by the linker, and called once.
    ONCE.call_once(|| unsafe { __wasm_call_ctors() });
}

async fn request_adapter() -> std::result::Result<wgpu::Adapter, String> {
    #[cfg(target_family = "wasm")]
    check_webgpu()?;
    // Not OpenGL, which only looks for a display.
    let backends = wgpu::Backends::PRIMARY;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    // Its own words are for who builds wgpu: they list the interfaces that it was compiled without.
    instance.request_adapter(&options).await.map_err(|_| "no GPU was found".to_owned())
}

/// Looks for WebGPU before wgpu does, which panics in a thread that is neither a page nor a worker, as in Node.
#[cfg(target_family = "wasm")]
fn check_webgpu() -> std::result::Result<(), String> {
    use wasm_bindgen::JsValue;
    let get = |object: &JsValue, key: &str| js_sys::Reflect::get(object, &key.into()).unwrap_or(JsValue::UNDEFINED);
    let global: JsValue = js_sys::global().into();
    let known = ["Window", "WorkerGlobalScope"].iter().any(|class| !get(&global, class).is_undefined());
    let gpu = get(&get(&global, "navigator"), "gpu");
    if known && !gpu.is_undefined() && !gpu.is_null() { Ok(()) } else { Err("there is no WebGPU here".into()) }
}

fn adapter_report(adapter: &wgpu::Adapter) -> AdapterReport {
    let (info, features) = (adapter.get_info(), adapter.features());
    let says = |word: &str| info.name.to_lowercase().contains(word) || info.driver.to_lowercase().contains(word);
    let name = [info.name.trim(), info.driver.trim()].into_iter().find(|name| !name.is_empty());
    AdapterReport {
        name: name.unwrap_or_default().to_owned(),
        backend: info.backend.to_string(),
        // Browsers do not always say `Cpu`, so the names of the known software adapters count too.
        software: info.device_type == wgpu::DeviceType::Cpu || says("swiftshader") || says("llvmpipe"),
        f16: features.contains(wgpu::Features::SHADER_F16),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        max_storage_binding: adapter.limits().max_storage_buffer_binding_size,
    }
}

/// The GPU device of this process: burn opens one once, and models share it.
static GPU: Mutex<Option<Device>> = Mutex::new(None);
/// What came of testing it.
static TESTED: Mutex<Option<SelfTest>> = Mutex::new(None);

async fn gpu() -> std::result::Result<Device, String> {
    if let Some(device) = opened() {
        return Ok(device);
    }
    // As in a browser, every tensor gets a buffer of its own: WebGPU forbids a dispatch to read and write one buffer, and
    // burn's natively shared pages would make two tensors one.
    let options = Device::wgpu_options().memory_config(MemoryConfiguration::ExclusivePages);
    match options.init_async().await {
        Ok(device) => {
            *GPU.lock().unwrap_or_else(PoisonError::into_inner) = Some(device.clone());
            Ok(device)
        }
        // Another task may have been quicker.
        Err(_) => opened().ok_or_else(|| "the GPU cannot be opened".into()),
    }
}

fn opened() -> Option<Device> {
    GPU.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Tests the device once; two that ask at the same time both do.
async fn tested(device: &Device) -> std::result::Result<SelfTest, String> {
    let known = TESTED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(test) = known {
        return Ok(test);
    }
    let test = selftest::run(device).await.map_err(|error| error.to_string())?;
    *TESTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(test.clone());
    Ok(test)
}

async fn gpu_and_test() -> std::result::Result<(Device, SelfTest), String> {
    let device = gpu().await?;
    let test = tested(&device).await?;
    Ok((device, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_computes_wrongly_is_passed_over_by_name() {
        let found = DeviceReport { device: DeviceKind::Gpu, reason: "found it".into(), adapter: None, self_test: None };
        let test = |failed: &[&'static str]| SelfTest { kernels: Vec::new(), failed: failed.into(), milliseconds: 1.0 };
        let taken = apply_self_test(DeviceChoice::Auto, found.clone(), test(&[])).expect("a sound GPU");
        assert_eq!((taken.device, taken.self_test), (DeviceKind::Gpu, Some(test(&[]))));
        let taken = apply_self_test(DeviceChoice::Auto, found.clone(), test(&["quant_rows"])).expect("the CPU");
        assert_eq!(taken.device, DeviceKind::Cpu);
        assert!(taken.reason.contains("wrong results in quant_rows"), "{}", taken.reason);
        let error =
            apply_self_test(DeviceChoice::Gpu, found, test(&["quant_rows"])).expect_err("a GPU was insisted on");
        assert_eq!(error.code(), "device-unavailable");
    }
}
