//! Tests on Burn's wgpu backend, hardware or software. Where there is no adapter they are reported as ignored, and fail in
//! CI, which installs one.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it cannot run")]

mod gradient;

use burn::tensor::Device;
use burn::tensor::wgpu::WgpuSetup;
use libtest_mimic::{Arguments, Failed, Trial};
use softadapt::host;
use std::sync::OnceLock;

/// The device that Burn makes, and its handles: one for all tests, since Burn makes each selector's device once.
pub(crate) fn burn_made() -> &'static (Device, WgpuSetup) {
    static DEVICE: OnceLock<(Device, WgpuSetup)> = OnceLock::new();
    DEVICE.get_or_init(|| softadapt_burn::burn_device(Device::wgpu_options()).unwrap())
}

pub(crate) fn device() -> Device {
    burn_made().0.clone()
}

/// A test by its function's name.
macro_rules! trials {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

fn main() {
    let arguments = Arguments::from_args();
    let can_run = host::adapters().iter().any(|adapter| adapter.backend != "gl");
    let must_run = std::env::var_os("CI").is_some();
    if !can_run && !must_run {
        eprintln!("no GPU adapter, not even a software one: all tests of this binary are ignored");
    }
    let trials = trials![gradient::of_the_total_is_the_weighted_sum];
    let trials = trials
        .into_iter()
        .map(|(name, test)| {
            let run = move || {
                if can_run {
                    test();
                    Ok(())
                } else {
                    Err(Failed::from("no GPU adapter: install a software one (see scripts/test)"))
                }
            };
            Trial::test(name, run).with_ignored_flag(!can_run && !must_run)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
