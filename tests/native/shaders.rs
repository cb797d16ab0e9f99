//! Every WGSL file is valid, and says of itself what Rust launches. No GPU is needed.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use setokim::kernels::{Kernel, SHADERS};

/// What the WebGPU specification promises on every adapter.
const MAX_INVOCATIONS: u32 = 256;
const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;
/// Eight, less the one that burn's runtime keeps for itself.
const MAX_STORAGE_BINDINGS: usize = 7;

fn source(kernel: &Kernel) -> String {
    [kernel.shared, &[kernel.source]].concat().concat()
}

fn module(kernel: &Kernel) -> Module {
    let source = source(kernel);
    let parsed = naga::front::wgsl::parse_str(&source);
    parsed.unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&source)))
}

#[test]
fn every_shader_passes_validation() {
    for kernel in &SHADERS {
        // No capabilities: no f16, no subgroups, nothing that an adapter may lack.
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
        let result = validator.validate(&module(kernel));
        assert!(result.is_ok(), "{}: {:?}", kernel.name, result.err());
    }
}

#[test]
fn workgroup_sizes_are_those_that_rust_launches() {
    for kernel in &SHADERS {
        let module = module(kernel);
        let [entry] = module.entry_points.as_slice() else { panic!("{}: one entry point", kernel.name) };
        assert_eq!(entry.name, "main", "{}", kernel.name);
        assert_eq!(entry.workgroup_size, [kernel.workgroup, 1, 1], "{}", kernel.name);
        assert!(kernel.workgroup <= MAX_INVOCATIONS, "{}", kernel.name);
    }
}

#[test]
fn bindings_are_those_that_rust_binds_and_no_more_than_every_adapter_has() {
    for kernel in &SHADERS {
        let module = module(kernel);
        let mut bindings: Vec<u32> = Vec::new();
        for (_, variable) in module.global_variables.iter() {
            if let (AddressSpace::Storage { access }, Some(binding)) = (variable.space, &variable.binding) {
                assert_eq!(binding.group, 0, "{}", kernel.name);
                assert!(access.contains(StorageAccess::LOAD), "{}", kernel.name);
                bindings.push(binding.binding);
            }
        }
        bindings.sort_unstable();
        let expected: Vec<u32> = (0..kernel.bindings as u32).collect();
        assert_eq!(bindings, expected, "{}", kernel.name);
        assert!(bindings.len() <= MAX_STORAGE_BINDINGS, "{}", kernel.name);
    }
}

#[test]
fn workgroup_memory_fits_the_smallest_adapter() {
    for kernel in &SHADERS {
        let module = module(kernel);
        let mut bytes = 0;
        for (_, variable) in module.global_variables.iter() {
            if variable.space == AddressSpace::WorkGroup {
                let TypeInner::Array { size: naga::ArraySize::Constant(length), stride, .. } =
                    module.types[variable.ty].inner
                else {
                    panic!("{}: workgroup variables are arrays", kernel.name)
                };
                bytes += length.get() * stride;
            }
        }
        assert!(bytes <= MAX_WORKGROUP_BYTES, "{}: {bytes} bytes", kernel.name);
    }
}

#[test]
fn sources_are_free_of_what_portable_wgsl_must_not_have() {
    for kernel in &SHADERS {
        let source = source(kernel);
        for word in ["subgroup", "enable ", "{{"] {
            assert!(!source.contains(word), "{}: `{word}`", kernel.name);
        }
        assert!(source.starts_with("// "), "{}: begins with what it does", kernel.name);
    }
}

#[test]
fn names_tell_kernels_apart() {
    let mut names: Vec<_> = SHADERS.iter().map(|kernel| kernel.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SHADERS.len(), "a name is the pipeline's key");
}
