//! What JavaScript sees. Conversions only: everything that computes is in the files that `lib.rs` lists.

mod engine;
mod loader;
mod text_model;
mod values;

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use crate::Error;
use crate::runtime::device;

/// Runs once when the module is instantiated.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        console_error_panic_hook::hook(panic);
        // What JavaScript catches is a trap that says `unreachable`; it looks here for the words (pkg/src/errors.ts).
        let _ = Reflect::set(&js_sys::global(), &"setokimPanic".into(), &panic.to_string().into());
    }));
    // An error here means that a logger is set already, by a page that instantiates the module twice.
    if log::set_logger(&CONSOLE).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Warnings and errors, burn's and wgpu's too, in the browser's console.
struct Console;

static CONSOLE: Console = Console;

impl log::Log for Console {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = JsValue::from(format!("{}: {}", record.target(), record.args()));
        match record.level() {
            log::Level::Error => web_sys::console::error_1(&line),
            log::Level::Warn => web_sys::console::warn_1(&line),
            _ => {}
        }
    }

    fn flush(&self) {}
}

/// A JavaScript `Error` with `code` and `remedy` beside its `message`.
fn js_error(error: Error) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    object.set_name("SetokimError");
    for (key, value) in [("code", error.code()), ("remedy", error.remedy())] {
        // Setting a property of a fresh, extensible object cannot fail.
        let _ = Reflect::set(&object, &key.into(), &value.into());
    }
    object.into()
}

/// The device that `auto` would take and why; never fails.
#[wasm_bindgen]
pub async fn probe() -> JsValue {
    values::js_value(&device::probe().await)
}

/// The report of [`probe`] in another worker of the same page: the kernels need no second test on its adapter.
#[wasm_bindgen]
pub fn remember_probe(report: JsValue) {
    // One that cannot be read, as by an older version of the package, only costs the test.
    if let Ok(earlier) = serde_wasm_bindgen::from_value(report) {
        device::remember(earlier);
    }
}
