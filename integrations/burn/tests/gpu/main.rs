//! Tests on Burn's wgpu backend, hardware or software. Where there is no adapter they are reported as ignored, and fail in
//! CI, which installs one.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it cannot run")]

#[path = "../common/mod.rs"]
mod common;

mod agreement;
mod checkpoint;
mod devices;
mod gradient;
mod tensors;
mod threads;

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
    let trials = trials![
        gradient::of_the_total_is_the_weighted_sum,
        gradient::of_members_do_not_mix,
        agreement::at_every_step_of_a_run,
        agreement::of_populations_and_of_the_fallback,
        agreement::over_a_thousand_steps,
        agreement::of_resets_copies_betas_and_epochs,
        tensors::of_any_layout_give_the_same_bits,
        tensors::of_one_member_may_have_one_axis_or_two,
        tensors::of_nobody_are_empty,
        tensors::of_later_steps_may_be_begun_first,
        tensors::that_came_back_stay_as_they_are,
        tensors::of_half_precision_are_weighed_in_single,
        threads::with_balancers_of_their_own_do_not_meet,
        threads::can_hand_one_balancer_around,
        threads::take_over_from_unfinished_steps,
        checkpoint::resumes_to_the_last_bit,
        checkpoint::moves_between_device_and_fallback,
        checkpoint::of_another_plan_is_refused,
        devices::that_burn_made_work,
        devices::that_the_host_made_work_beside_its_own_kernels,
        devices::that_the_program_registers_work,
        devices::that_are_unknown_fall_back,
        devices::of_another_backend_cannot_be_registered,
        devices::with_a_wrong_setup_are_an_error,
        devices::are_not_mixed,
    ];
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
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !conclusion.has_failed() {
        leave();
    }
    conclusion.exit();
}

/// Ends the process with status 0 and without its exit handlers. Burn's threads outlive the tests, and Mesa's software driver
/// (22.3.6) was seen to abort in its handlers beside them, once all tests had passed. Returns only where that cannot be done.
fn leave() {
    #[cfg(unix)]
    {
        use std::io::Write as _;
        use std::os::unix::process::CommandExt as _;
        let _ = std::io::stdout().flush();
        let _ = std::process::Command::new("true").exec();
    }
}
