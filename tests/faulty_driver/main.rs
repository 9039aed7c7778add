//! What the library does on a driver that fails: a Vulkan layer of our own (`layer.c`) loses devices, runs out of memory and
//! skips work on demand. Every case is a process of its own, because layers are chosen by environment variables.
//!
//! | what can go wrong | case |
//! |---|---|
//! | a device is lost at a submit, or while somebody waits for it, where wgpu's `poll` panics | `lost_at_submit`, `lost_at_wait`, `lost_under_a_balancer`, `lost_under_two_threads`, `lost_with_work_in_flight` |
//! | after a loss, wgpu creates and submits without a word | `guests_learn_of_a_loss` |
//! | the host's handlers and scopes | `guests_learn_of_a_loss`, `guests_run_out_of_memory`; without a fault `gpu::faults` |
//! | no memory for a buffer | `out_of_memory_means_smaller_chunks`, `guests_run_out_of_memory`, `a_failed_push_changes_nothing` |
//! | no memory for a pipeline | `no_memory_for_a_pipeline` |
//! | no device, or a driver that fails while it makes one | `no_device` |
//! | work that is dropped without an error | `skipped_submits_are_seen`, `skipped_dispatches_are_seen`, `guests_see_skipped_dispatches`, `skipped_pushes_are_counted` |
//! | a driver that never finishes | `waits_end` |
//!
//! Without a fault: bindings of 2 GiB, workgroup memory and other limits, slices, mappings: `gpu::faults`, `gpu::embedding`.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it cannot run")]

mod cases;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that the layer reads.
const FAULTS: &str = "SOFTADAPT_FAULTS";
/// Names the case that a process is for.
const CASE: &str = "SOFTADAPT_FAULT_CASE";
const LAYER: &str = "VK_LAYER_SOFTADAPT_faults";

/// Builds the layer and its description; returns the folder that they lie in.
fn build_layer() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-layer");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faulty_driver/layer.c");
    let library = folder.join("libsoftadapt_faults.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = Command::new(&compiler)
        .args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"])
        .args(["-shared", "-fPIC", "-fvisibility=hidden", "-pthread", "-o"])
        .arg(&library)
        .arg(source)
        .output()
        .map_err(|error| format!("no C compiler ({compiler}): {error}"))?;
    if !built.status.success() {
        return Err(format!("{compiler} fails; is libvulkan-dev there? {}", String::from_utf8_lossy(&built.stderr)));
    }
    let description = serde_json::json!({
        "file_format_version": "1.1.2",
        "layer": {
            "name": LAYER,
            "type": "GLOBAL",
            "library_path": library,
            "api_version": "1.3.0",
            "implementation_version": "1",
            "description": "fails on demand",
            "functions": {
                "vkGetInstanceProcAddr": "softadapt_GetInstanceProcAddr",
                "vkGetDeviceProcAddr": "softadapt_GetDeviceProcAddr",
            },
        },
    });
    std::fs::write(folder.join("layer.json"), description.to_string()).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Runs a case in a process of its own.
fn run(name: &str, folder: &Path) -> Result<(), Failed> {
    let faults = folder.join(name);
    _ = std::fs::remove_file(faults.with_extension("log"));
    std::fs::write(&faults, "")?;
    let output = Command::new(std::env::current_exe()?)
        .env(CASE, name)
        .env(FAULTS, &faults)
        .env("VK_LAYER_PATH", folder)
        .env("VK_INSTANCE_LAYERS", LAYER)
        // Each case's chunks and buffers are its own.
        .env_remove("WGPU_BACKEND")
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn main() {
    if let Ok(name) = std::env::var(CASE) {
        let case = cases::ALL.iter().find(|case| case.0 == name).unwrap();
        (case.1)();
        return;
    }
    let arguments = Arguments::from_args();
    let must_run = std::env::var_os("CI").is_some();
    let has_vulkan = softadapt::host::adapters().iter().any(|adapter| adapter.backend == "vulkan");
    let folder = if has_vulkan { build_layer() } else { Err("no Vulkan adapter".to_owned()) };
    if let (Err(reason), false) = (&folder, must_run) {
        eprintln!("{reason}: all tests of this binary are ignored");
    }
    let ignored = folder.is_err() && !must_run;
    let trials = cases::ALL.iter().map(|&(name, _)| {
        let folder = folder.clone();
        Trial::test(name, move || run(name, &folder?)).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
