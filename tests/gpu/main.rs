//! Tests that need an adapter, hardware or software. Where there is none they are reported as ignored, and fail in CI,
//! which installs one.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it cannot run")]

#[path = "../common/mod.rs"]
mod common;

mod agreement;
mod balancer;
mod embedding;
mod faults;
mod invariance;

use libtest_mimic::{Arguments, Failed, Trial};
use softadapt::host::{AdapterChoice, Context};
use std::sync::OnceLock;

/// The adapter that `SOFTADAPT_TEST_ADAPTER` names, or the best there is.
pub(crate) fn choice() -> AdapterChoice {
    std::env::var("SOFTADAPT_TEST_ADAPTER").map_or(AdapterChoice::Any, AdapterChoice::Named)
}

/// One context for all tests: they may share a device, and making one takes longer than most of them.
pub(crate) fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new(&choice()).unwrap_or_else(|error| panic!("{error}")))
}

/// The seeds of random plans: a share of them, because software drivers take up to half a second to make a plan's pipelines;
/// all with `SOFTADAPT_ALL_SEEDS=1`.
pub(crate) fn seeds(all: std::ops::Range<u64>) -> impl Iterator<Item = u64> {
    let all_of_them = std::env::var_os("SOFTADAPT_ALL_SEEDS").is_some();
    all.step_by(if all_of_them {
        1
    } else if is_swiftshader() {
        10
    } else {
        3
    })
}

pub(crate) fn is_swiftshader() -> bool {
    context().adapter().name.contains("SwiftShader")
}

/// A test by its function's name.
macro_rules! trials {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

fn main() {
    let arguments = Arguments::from_args();
    // OpenGL will not do: some tests make devices of their own, with what WebGPU guarantees.
    let can_run = softadapt::host::adapters().iter().any(|adapter| adapter.backend != "gl");
    let must_run = std::env::var_os("CI").is_some();
    if !can_run && !must_run {
        eprintln!("no GPU adapter, not even a software one: all tests of this binary are ignored");
    }
    if can_run {
        eprintln!("adapter: {}", context().adapter());
    }
    let trials = trials![
        agreement::oracle_cases_come_out_within_the_derived_bounds,
        agreement::awkward_inputs_get_their_documented_answers,
        agreement::random_plans_agree_with_the_reference_and_the_cpu,
        agreement::components_across_every_border,
        agreement::windows_across_every_border,
        agreement::group_counts_across_every_border,
        agreement::exponential_is_within_two_ulp,
        invariance::a_group_has_the_same_bits_in_any_batch_and_place,
        invariance::chunks_and_layouts_do_not_show,
        invariance::large_groups_have_the_same_bits_in_every_layout,
        invariance::repeated_runs_have_the_same_bits,
        invariance::subgroups_and_workgroup_memory_give_the_same_bits,
        invariance::every_choice_of_layout_gives_the_same_bits,
        invariance::every_choice_for_a_step_gives_the_same_bits,
        invariance::chunks_that_are_copied_in_pieces_do_not_show,
        invariance::workloads_repeat_their_groups,
        embedding::requirements_of_small_batches_are_the_downlevel_defaults,
        embedding::limits_that_are_too_low_are_named,
        embedding::buffers_are_described_and_just_large_enough,
        embedding::bad_bindings_are_refused_and_the_kernel_lives,
        embedding::inputs_and_outputs_can_share_a_buffer,
        embedding::two_plans_in_one_encoder_do_not_disturb_each_other,
        embedding::later_dispatches_see_earlier_results,
        embedding::betas_can_be_rewritten_between_submits,
        embedding::recorded_again_flags_do_not_stay,
        embedding::stages_work_alone,
        embedding::passes_of_our_own_take_timestamps,
        embedding::empty_batches_record_nothing,
        embedding::everything_works_on_the_noop_device,
        embedding::types_are_send_sync_and_clone,
        balancer::real_runs_get_the_batch_paths_weights_at_every_step,
        balancer::random_scripts_show_what_lists_of_losses_would,
        balancer::tumbling_windows_reproduce_the_loop_of_the_packages_readme,
        balancer::what_befalls_a_group_changes_no_bit_of_another,
        balancer::schedules_follow_their_formulas,
        balancer::means_of_long_epochs_are_near,
        balancer::counters_never_overflow,
        balancer::a_resumed_run_has_the_bits_of_an_uninterrupted_one,
        balancer::states_move_between_cpu_and_gpu,
        balancer::ten_thousand_steps_allocate_submit_and_wait_for_nothing,
        balancer::steps_of_one_pass_run_in_order,
        balancer::the_log_is_read_while_the_loop_goes_on,
        balancer::bad_buffers_are_refused_and_the_balancer_lives,
        balancer::lists_on_the_device_may_hold_anything,
        balancer::small_devices_are_enough_and_others_are_named,
        balancer::no_groups_are_no_trouble,
        balancer::a_lost_device_is_an_error,
        balancer::types_are_send_sync_and_clone,
        faults::host_handlers_and_scopes_see_nothing_of_ours,
        faults::a_lost_device_is_an_error_and_a_new_context_works,
        faults::buffers_of_another_device_are_refused,
        faults::wrong_slices_are_refused,
        faults::adapters_that_do_not_exist_are_named,
        faults::batches_beyond_one_binding_are_split,
        faults::two_threads_share_a_context,
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
    libtest_mimic::run(&arguments, trials).exit();
}
