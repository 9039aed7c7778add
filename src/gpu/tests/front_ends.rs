//! What other compilers say of the texts: `spirv-val` of naga's SPIR-V, here; Tint by `scripts/tint`, which this file writes the
//! texts, inputs and expected answers for.

use super::{Text, Values, balancer_texts, parse, texts, tuning};
use crate::balancer::{BalancerConfig, BalancerPlan, Smoothing};
use crate::batch::Batch;
use crate::config::{Config, Normalize};
use crate::gpu::balancer::{self, Action, Balance};
use crate::gpu::kernels::constants;
use crate::gpu::params::{self, Params};
use crate::gpu::slots::{BALANCE_BINDING, KernelOptions, Slot, Stage, is_writable, slots};
use crate::gpu::source::{Source, Team};
use crate::plan::Plan;
use crate::reference;
use crate::shape::{Layout, Shape};
use crate::status::Status;
use naga::back::{PipelineConstants, pipeline_constants, spv};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every text with a name and the values of its overrides.
fn all_texts() -> Vec<(String, Source, Values)> {
    let batch = texts()
        .into_iter()
        .map(|Text { plan, stage, options, tuning, source }| (source, constants(stage, &plan, options, &tuning)));
    let balancers = balancer_texts().into_iter().map(|(_, _, source, values)| (source, values));
    let name = |number: usize, source: &Source| {
        let kind = if source.balancer.is_some() { "balancer" } else { "batch" };
        format!("{kind}-{number:04}{}", if uses_subgroups(source) { "-subgroups" } else { "" })
    };
    let numbered = batch.chain(balancers).enumerate();
    numbered.map(|(number, (source, values))| (name(number, &source), source, values)).collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("softadapt-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
#[ignore = "needs spirv-val (Debian: spirv-tools)"]
fn every_text_is_valid_spir_v() {
    let folder = folder("spir-v");
    let texts = all_texts();
    for (name, source, values) in &texts {
        let (module, info) = parse(&source.text());
        let constants: PipelineConstants =
            values.iter().map(|&(name, value)| (name.to_owned(), f64::from(value))).collect();
        let (module, info) = pipeline_constants::process_overrides(&module, &info, None, &constants).unwrap();
        // As wgpu has it on Vulkan 1.1: subgroups need it.
        let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
        let words = spv::write_vec(&module, &info, &options, None).unwrap();
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let file = folder.join(format!("{name}.spv"));
        std::fs::write(&file, bytes).unwrap();
        let verdict = Command::new("spirv-val")
            .args(["--target-env", "vulkan1.1"])
            .arg(&file)
            .output()
            .expect("spirv-val: install spirv-tools");
        let words = String::from_utf8_lossy(&verdict.stderr);
        assert!(verdict.status.success(), "{name}: {words}\n{source:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(texts.len() > 300, "only {} texts", texts.len());
}

/// Writes what `scripts/tint` needs to the folder that `SOFTADAPT_TINT` names.
#[test]
fn texts_inputs_and_answers_for_tint() {
    let (folder, is_kept) = match std::env::var_os("SOFTADAPT_TINT") {
        Some(folder) => (PathBuf::from(folder), true),
        None => (folder("tint"), false),
    };
    let texts = all_texts();
    if is_kept {
        for (name, source, _) in &texts {
            write_text(&folder, name, *source);
        }
    }
    let runs: Vec<Value> = batch_runs(&folder).into_iter().chain(balancer_runs(&folder)).collect();
    assert!(runs.len() >= 20, "only {} runs", runs.len());
    let names: Vec<&String> = texts.iter().map(|(name, ..)| name).collect();
    std::fs::write(folder.join("runs.json"), json!({ "texts": names, "runs": runs }).to_string()).unwrap();
    if !is_kept {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn uses_subgroups(source: &Source) -> bool {
    matches!(source.team, Team::Subgroup)
}

fn write_text(folder: &Path, name: &str, source: Source) {
    // naga 30 refuses the directive, Tint wants it.
    let enable = if uses_subgroups(&source) { "enable subgroups;\n" } else { "" };
    std::fs::write(folder.join(format!("{name}.wgsl")), format!("{enable}{}", source.text())).unwrap();
}

fn values_json(values: &[(&'static str, u32)]) -> Value {
    values.iter().map(|&(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn words_of<T: bytemuck::NoUninit>(block: &T) -> Vec<u32> {
    bytemuck::cast_slice(bytemuck::bytes_of(block)).to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Falling losses with a kink, every one different.
fn losses(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| 0.5 + (((i + seed) * 7919) % 10_007) as f32 / 1009.0).collect()
}

/// f64 numbers of JSON; no bound is infinite here.
fn expected(values: &[f64], bounds: &[f64]) -> Value {
    assert!(bounds.iter().all(|bound| bound.is_finite()));
    json!({ "values": values, "bounds": bounds })
}

/// A buffer of a run.
fn buffer(slot: Slot, words: &[u32]) -> Value {
    json!({ "binding": slot.binding(), "words": words, "read_only": !is_writable(slot, false) })
}

fn uniform(binding: u32, words: &[u32]) -> Value {
    json!({ "binding": binding, "words": words, "uniform": true })
}

/// The fused kernel over layouts, variants and numbers of components.
fn batch_runs(folder: &Path) -> Vec<Value> {
    let mut runs = Vec::new();
    let shapes = [(33, 3, 5), (7, 40, 9), (2, 300, 3), (1, 700, 4)];
    let configs = |components: usize| {
        [
            Config::original(),
            Config::normalized().with_normalize(Normalize::L1),
            Config::loss_weighted().with_prior((0..components).map(|i| 1.0 + i as f64 / 7.0).collect::<Vec<_>>()),
        ]
    };
    for (groups, components, window) in shapes {
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            for config in configs(components) {
                for subgroups in [None, Some((4, 4))] {
                    let shape = Shape::new(groups, components, window).unwrap().with_layout(layout).unwrap();
                    let plan = Plan::new(config.clone().with_order(2), shape).unwrap();
                    let options = KernelOptions { status: true, ..KernelOptions::default() };
                    let tuning = tuning(&plan, Stage::Fused, subgroups);
                    let source = Source::new(&plan, options, &tuning, false);
                    let name = format!("run-fused-{}", runs.len());
                    write_text(folder, &name, source);
                    let losses = losses(plan.shape().losses_len(), runs.len());
                    let wide: Vec<f64> = losses.iter().map(|&loss| loss.into()).collect();
                    let exact = reference::weigh(&plan, &Batch::new(&wide)).unwrap();
                    let bounds = reference::error_bounds(&plan, &Batch::new(&wide)).unwrap();
                    let block = Params::new(&plan, &tuning, plan.points_used());
                    let mut buffers = vec![uniform(0, &words_of(&block))];
                    for (slot, _) in slots(Stage::Fused, &plan, options) {
                        let words = match slot {
                            Slot::Losses => bits(&losses),
                            Slot::Table => params::table(&plan),
                            _ => vec![u32::MAX; slot.words(&plan) as usize],
                        };
                        buffers.push(buffer(slot, &words));
                    }
                    runs.push(json!({
                        "text": name,
                        "entry_point": Stage::Fused.entry_point(),
                        "constants": values_json(&constants(Stage::Fused, &plan, options, &tuning)),
                        "subgroups": uses_subgroups(&source),
                        "workgroups": tuning.workgroups,
                        "buffers": buffers,
                        "losses": Slot::Losses.binding(),
                        "weights": Slot::Weights.binding(),
                        "status": Slot::Status.binding(),
                        "steps": [{ "status": vec![Status::OK.bits(); groups], "weights": expected(&exact.weights, &bounds.weights) }],
                    }));
                }
            }
        }
    }
    runs
}

/// The history kernel: pushes one after the other, weights after each.
fn balancer_runs(folder: &Path) -> Vec<Value> {
    const PUSHES: usize = 9;
    let mut runs = Vec::new();
    for (groups, components, window) in [(33, 3, 5), (7, 40, 4), (1, 600, 3)] {
        for config in [Config::original().with_order(2), Config::loss_weighted().with_order(2)] {
            for subgroups in [None, Some((4, 4))] {
                let shape = Shape::new(groups, components, window).unwrap();
                let config = BalancerConfig::new(config.clone()).with_smoothing(Smoothing::None).with_log(3);
                let plan = BalancerPlan::new(config, shape).unwrap();
                let tuning = tuning(plan.plan(), Stage::Fused, subgroups);
                let (source, values) = balancer::text(&plan, &tuning);
                let name = format!("run-step-{}", runs.len());
                write_text(folder, &name, source);
                let points: Vec<Vec<f32>> = (0..PUSHES).map(|i| losses(plan.losses_len(), 31 * i)).collect();
                let block = Params::new(plan.plan(), &tuning, plan.plan().points_used());
                let mut buffers =
                    vec![uniform(0, &words_of(&block)), uniform(BALANCE_BINDING, &words_of(&Balance::new(&plan)))];
                for (slot, role) in Action::Step.slots(&plan) {
                    let words = match slot {
                        Slot::Losses => vec![0; plan.losses_len()],
                        Slot::Table => balancer::table(&plan),
                        Slot::State => vec![0; plan.layout().words],
                        Slot::WeightLog => vec![0; plan.layout().log_words],
                        Slot::Weights => bits(plan.initial_weights().as_slice()),
                        Slot::Status => vec![Status::NOT_READY.bits(); groups],
                        _ => panic!("{slot} ({role:?}) is not expected"),
                    };
                    buffers.push(buffer(slot, &words));
                }
                let steps: Vec<Value> = (0..PUSHES).map(|i| balancer_step(&plan, &points, i)).collect();
                runs.push(json!({
                    "text": name,
                    "entry_point": Action::Step.entry_point(),
                    "constants": values_json(&values),
                    "subgroups": uses_subgroups(&source),
                    "workgroups": tuning.workgroups,
                    "buffers": buffers,
                    "losses": Slot::Losses.binding(),
                    "weights": Slot::Weights.binding(),
                    "status": Slot::Status.binding(),
                    "steps": steps,
                }));
            }
        }
    }
    runs
}

/// A push's losses, and the weights behind it: those of the batch path for the window that ends with it.
fn balancer_step(plan: &BalancerPlan, points: &[Vec<f32>], push: usize) -> Value {
    let batch_plan = plan.plan();
    let shape = batch_plan.shape();
    let (groups, window) = (shape.groups(), shape.window());
    let known = (push + 1).min(window);
    let mut losses = vec![0.0; shape.losses_len()];
    for back in 0..known {
        for group in 0..groups {
            for component in 0..shape.components(group) {
                let time = window - 1 - back;
                losses[shape.loss_index(group, component, time)] =
                    f64::from(points[push - back][shape.weight_index(group, component)]);
            }
        }
    }
    let known = vec![known as u32; groups];
    let previous: Vec<f64> = plan.initial_weights().iter().map(|&weight| f64::from(weight)).collect();
    let batch = Batch { losses: &losses, betas: None, points: Some(&known), previous: Some(&previous) };
    let exact = reference::weigh(batch_plan, &batch).unwrap();
    let bounds = reference::error_bounds(batch_plan, &batch).unwrap();
    let status: Vec<u32> = exact.status.iter().map(|status| status.bits()).collect();
    json!({
        "losses": bits(&points[push]),
        "status": status,
        "weights": expected(&exact.weights, &bounds.weights),
    })
}
