//! Host and shader say the same thing: every fact that is written twice is compared here, on the texts, without a GPU.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod front_ends;

use super::balancer::{self, Action, Balance};
use super::error::KernelError;
use super::kernels::constants;
use super::params::Params;
use super::slots::{BALANCE_BINDING, KernelOptions, Role, Slot, Stage, is_writable, slots};
use super::source::{Source, Team};
use super::tuning::{Choice, MAX_ROUNDS, MAX_WORKGROUP, Reads, Tuning};
use crate::balancer::{BATCHES_PER_SUM, BalancerConfig, BalancerPlan, BetaSchedule, Feed, Smoothing, Window, layout};
use crate::config::{Config, LossWeighting, Normalize, Slope};
use crate::plan::Plan;
use crate::shape::{Layout, Shape};
use crate::{Status, single};
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Literal, Module, ScalarKind, StorageAccess, TypeInner};
use std::collections::{BTreeMap, HashSet};
use std::mem::offset_of;

const SUBGROUPS: Option<(u32, u32)> = Some((32, 32));

fn parse(text: &str) -> (Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|error| panic!("{}", error.emit_to_string(text)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(text)));
    (module, info)
}

/// One plan for every text and every override value that the library can ask for.
fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    let shapes = [
        Shape::new(1000, 3, 5).unwrap(),
        Shape::new(7, 300, 5).unwrap(),
        Shape::new(7, 4096, 5).unwrap(),
        Shape::new(1000, 3, 5).unwrap().with_layout(Layout::TimeMajor).unwrap(),
        Shape::new(10, 600, 5).unwrap().with_layout(Layout::TimeMajor).unwrap(),
        Shape::new(10, 8, 16).unwrap(),
        Shape::new(10, 8, 70).unwrap(),
        Shape::ragged(vec![0, 2, 2, 7], 5).unwrap(),
        Shape::ragged(vec![0, 2, 2, 700], 5).unwrap().with_layout(Layout::TimeMajor).unwrap(),
    ];
    for shape in shapes {
        for prior in [false, true] {
            for loss_weighting in [LossWeighting::None, LossWeighting::Window] {
                for normalize in [Normalize::None, Normalize::SignedSum] {
                    let mut config =
                        Config::original().with_order(4).with_loss_weighting(loss_weighting).with_normalize(normalize);
                    if prior {
                        config = config.with_prior(vec![0.5; shape.max_components()]);
                    }
                    plans.push(Plan::new(config, shape.clone()).unwrap());
                }
            }
        }
    }
    let shape = Shape::new(1000, 3, 5).unwrap();
    plans.push(Plan::new(Config::original().with_slope(Slope::LeastSquares), shape).unwrap());
    plans
}

fn options() -> Vec<KernelOptions> {
    (0..16u8)
        .map(|bits| KernelOptions {
            status: bits & 1 != 0,
            per_group_beta: bits & 2 != 0,
            per_group_points: bits & 4 != 0,
            keep_previous: bits & 8 != 0,
            means: false,
            choice: Choice::default(),
        })
        .collect()
}

fn tuning(plan: &Plan, stage: Stage, subgroups: Option<(u32, u32)>) -> Tuning {
    Tuning::choose(plan, stage, Choice::default(), subgroups, 65_535).unwrap()
}

/// A text with a plan, a stage and options that lead to it.
struct Text {
    plan: Plan,
    stage: Stage,
    options: KernelOptions,
    tuning: Tuning,
    source: Source,
}

/// Every distinct text.
fn texts() -> Vec<Text> {
    let mut seen = HashSet::new();
    let mut reads = HashSet::new();
    let mut texts = Vec::new();
    for plan in plans() {
        for options in options() {
            for subgroups in [None, SUBGROUPS] {
                for shared in [false, true] {
                    for stage in Stage::ALL {
                        let tuning = tuning(&plan, stage, subgroups);
                        reads.insert((tuning.reads, Source::new(&plan, options, &tuning, shared).team));
                        let source = Source::new(&plan, options, &tuning, shared);
                        if seen.insert(source) {
                            texts.push(Text { plan: plan.clone(), stage, options, tuning, source });
                        }
                    }
                }
            }
        }
    }
    for reading in [Reads::Direct, Reads::Vectors, Reads::Whole, Reads::Tiled] {
        assert!(reads.iter().any(|(r, _)| *r == reading), "no plan reads {reading:?}");
    }
    for team in [Team::Alone, Team::Subgroup, Team::Workgroup] {
        assert!(reads.iter().any(|(_, t)| *t == team), "no team is {team:?}");
    }
    texts
}

/// An entry point uses the slots that it is said to use, with the access that they are bound with, and no other.
fn check_slots(module: &Module, info: &ModuleInfo, entry_point: &str, said: Vec<(Slot, Role)>, shared: bool) {
    let index = module.entry_points.iter().position(|e| e.name == entry_point).unwrap();
    let usage = info.get_entry_point(index);
    let mut expected: BTreeMap<u32, Role> = said.into_iter().map(|(slot, role)| (slot.binding(), role)).collect();
    for (handle, global) in module.global_variables.iter() {
        let Some(binding) = global.binding else { continue };
        assert_eq!(binding.group, 0);
        let used = usage[handle];
        if [0, BALANCE_BINDING].contains(&binding.binding) {
            assert_eq!(global.space, AddressSpace::Uniform);
            continue;
        }
        match expected.remove(&binding.binding) {
            None => assert!(used.is_empty(), "{entry_point} uses {:?}, which no slot says", global.name),
            Some(role) => {
                assert!(!used.is_empty(), "{entry_point} does not use {:?}", global.name);
                assert_eq!(used.contains(GlobalUse::WRITE), role == Role::Output, "{entry_point} {:?}", global.name);
                let writable = Slot::ALL.into_iter().find(|s| s.binding() == binding.binding).unwrap();
                let AddressSpace::Storage { access } = global.space else { panic!() };
                assert_eq!(access.contains(StorageAccess::STORE), is_writable(writable, shared));
            }
        }
    }
    assert!(expected.is_empty(), "{entry_point} lacks bindings {expected:?}");
}

#[test]
fn every_text_is_valid_and_uses_just_the_slots_of_its_stages() {
    let texts = texts();
    for Text { plan, options, source, .. } in &texts {
        let (module, info) = parse(&source.text());
        for stage in Stage::ALL {
            check_slots(&module, &info, stage.entry_point(), slots(stage, plan, *options), source.shared);
        }
    }
    assert!(texts.len() > 200, "only {} texts", texts.len());
}

/// Every combination of what changes a balancer's text, over the shapes that change it.
fn balancer_plans() -> Vec<BalancerPlan> {
    let mut configs = Vec::new();
    for feed in [Feed::EveryPush, Feed::EpochMean] {
        for smoothing in [Smoothing::None, Smoothing::Exponential { keep: 0.5 }, Smoothing::CycleMean] {
            for schedule in [BetaSchedule::Constant, BetaSchedule::Cosine { from: 0.0, to: 1.0, over: 9 }] {
                for (log, per_group) in [(0, false), (7, true)] {
                    for window in [Window::Sliding, Window::Tumbling] {
                        let config = BalancerConfig::new(Config::loss_weighted()).with_every(4).with_window(window);
                        configs.push(
                            config
                                .with_feed(feed)
                                .with_smoothing(smoothing)
                                .with_beta_schedule(schedule)
                                .with_log(log)
                                .with_per_group_beta(per_group),
                        );
                    }
                }
            }
        }
    }
    let shapes =
        [Shape::new(1000, 3, 5).unwrap(), Shape::new(7, 600, 5).unwrap(), Shape::ragged(vec![0, 2, 2, 7], 5).unwrap()];
    shapes
        .iter()
        .flat_map(|shape| configs.iter().map(|config| BalancerPlan::new(config.clone(), shape.clone()).unwrap()))
        .collect()
}

/// Names and values of overrides.
type Values = Vec<(&'static str, u32)>;

/// Every distinct text of a balancer, with a plan that leads to it and the values of its overrides.
fn balancer_texts() -> Vec<(BalancerPlan, Tuning, Source, Values)> {
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for plan in balancer_plans() {
        for subgroups in [None, SUBGROUPS] {
            let tuning = tuning(plan.plan(), Stage::Fused, subgroups);
            let (source, values) = balancer::text(&plan, &tuning);
            if seen.insert(source) {
                texts.push((plan.clone(), tuning, source, values));
            }
        }
    }
    texts
}

#[test]
fn every_text_of_a_balancer_is_valid_and_uses_just_the_slots_of_its_actions() {
    let texts = balancer_texts();
    for (plan, tuning, source, values) in &texts {
        let (module, info) = parse(&source.text());
        for action in Action::ALL {
            // Only what a feed has is ever bound.
            if action == Action::Accumulate && plan.config().feed == Feed::EveryPush {
                continue;
            }
            check_slots(&module, &info, action.entry_point(), action.slots(plan), false);
        }
        let mut declared: Vec<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let mut set: Vec<&str> = values.iter().map(|value| value.0).collect();
        declared.sort_unstable();
        set.sort_unstable();
        assert_eq!(set, declared);
        assert_eq!(tuning.reads, Reads::Direct, "the ring is read directly");
    }
    assert!(texts.len() > 100, "only {} texts", texts.len());
}

/// The members of a structure with their places, and its size.
fn members(module: &Module, name: &str) -> (Vec<(String, usize)>, usize) {
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap();
    let TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is a structure") };
    (members.iter().map(|m| (m.name.clone().unwrap(), m.offset as usize)).collect(), *span as usize)
}

/// Names and places of a structure's fields.
macro_rules! fields {
    ($block:ident: $($field:ident),* $(,)?) => {
        vec![$((stringify!($field).to_owned(), offset_of!($block, $field))),*]
    };
}

#[test]
fn a_balancers_numbers_are_the_hosts() {
    let plan = &balancer_plans()[0];
    let tuning = tuning(plan.plan(), Stage::Fused, None);
    let (module, _) = parse(&balancer::text(plan, &tuning).0.text());
    let host = fields!(Balance:
        clocks, steps, cycle, batches, ring, cycle_sums, epoch_newest, epoch_older, log_length, log_steps, log_status,
        log_weights, first, every, steps_fold, rows, initial, stencils, keep, take, schedule_from, schedule_to,
        schedule_over, padding,
    );
    assert_eq!(members(&module, "Balance"), (host, size_of::<Balance>()));
    for (name, value) in [
        ("FIELD_MASK", layout::FIELD_MASK),
        ("POINTS_SHIFT", layout::POINTS_SHIFT),
        ("PUBLISHED_BIT", layout::PUBLISHED_BIT),
        ("STEPS_FOLD", layout::STEPS_FOLD),
        ("BATCHES_PER_SUM", BATCHES_PER_SUM),
    ] {
        assert_eq!(constant(&module, name), f64::from(value), "{name}");
    }
    // `step` declares two words of workgroup memory beside what the stages do.
    let names: Vec<&str> = module
        .global_variables
        .iter()
        .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
        .map(|(_, global)| global.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["step_votes", "step_is_wanted"]);
    assert_eq!(balancer::STEP_BYTES, 2 * 4);
}

#[test]
fn parameter_block_has_the_same_fields_at_the_same_places() {
    let plan = &plans()[0];
    let (module, _) =
        parse(&Source::new(plan, KernelOptions::default(), &tuning(plan, Stage::Fused, None), false).text());
    let host = fields!(Params:
        groups, workgroups_x, components, window, slope_points, mean_points, points_read, first_point, loss_group,
        loss_component, loss_time, weight_group, weight_component, prior_start, beta, epsilon_mantissa,
        epsilon_exponent, epsilon_norm, floor, least_squares_factor, differences,
    );
    assert_eq!(members(&module, "Params"), (host, size_of::<Params>()));
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params")).unwrap();
    let TypeInner::Struct { members, .. } = &ty.inner else { panic!("Params is a structure") };
    // Kinds, as far as one field can be mistaken for another.
    for member in members {
        let expected = match member.name.as_deref().unwrap() {
            "beta" | "epsilon_mantissa" | "epsilon_norm" | "floor" | "least_squares_factor" => ScalarKind::Float,
            "epsilon_exponent" => ScalarKind::Sint,
            _ => ScalarKind::Uint,
        };
        if let TypeInner::Scalar(scalar) = module.types[member.ty].inner {
            assert_eq!(scalar.kind, expected, "{:?}", member.name);
        }
    }
}

/// The constants of a module by name.
fn constant(module: &Module, name: &str) -> f64 {
    let (_, constant) = module
        .constants
        .iter()
        .find(|(_, c)| c.name.as_deref() == Some(name))
        .unwrap_or_else(|| panic!("no constant {name}"));
    match module.global_expressions[constant.init] {
        Expression::Literal(Literal::F32(value)) => f64::from(value),
        Expression::Literal(Literal::U32(value)) => f64::from(value),
        ref other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn constants_are_the_hosts() {
    let plan = &plans()[0];
    let module = |plan: &Plan| {
        parse(&Source::new(plan, KernelOptions::default(), &tuning(plan, Stage::Fused, None), false).text()).0
    };
    let text = module(plan);
    for (flag, name) in Status::NAMES {
        let name = format!("STATUS_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(constant(&text, &name), f64::from(flag.bits()), "{name}");
    }
    assert_eq!(constant(&text, "POINTS_PER_SUM"), single::POINTS_PER_SUM as f64);
    assert_eq!(constant(&text, "MIN_DIVISOR"), f64::from(single::MIN_DIVISOR));
    assert_eq!(constant(&text, "UNDERFLOW_GAP"), f64::from(single::UNDERFLOW_GAP));
    assert_eq!(constant(&text, "MAX_BETA_BITS"), f64::from((crate::MAX_BETA as f32).to_bits()));
    // Three components of a lane, and one lane for each 16 of a large group.
    assert_eq!(constant(&text, "ROUNDS"), 4.0);
    let many = plans().into_iter().find(|plan| plan.shape().max_components() == 4096).unwrap();
    assert_eq!(constant(&module(&many), "ROUNDS"), f64::from(MAX_ROUNDS));
    // What every WebGPU device and SwiftShader offer.
    for plan in plans() {
        for stage in Stage::ALL {
            let tuning = tuning(&plan, stage, None);
            assert!(tuning.workgroup_bytes() <= 16_352 && tuning.workgroup <= MAX_WORKGROUP, "{tuning}");
            assert!(tuning.rounds <= MAX_ROUNDS && tuning.team.is_power_of_two(), "{tuning}");
            assert!(tuning.team * tuning.rounds >= plan.shape().max_components() as u32, "{tuning}");
        }
    }
}

#[test]
fn workgroup_memory_is_what_the_texts_declare() {
    for plan in plans() {
        for subgroups in [None, SUBGROUPS] {
            for stage in Stage::ALL {
                let tuning = tuning(&plan, stage, subgroups);
                let (module, _) = parse(&Source::new(&plan, KernelOptions::default(), &tuning, false).text());
                let words_a_lane: u32 = module
                    .global_variables
                    .iter()
                    .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
                    .map(|(_, global)| match (global.name.as_deref().unwrap(), tuning.reads) {
                        ("tile", Reads::Whole) => tuning.turns,
                        ("tile", Reads::Tiled) => constant(&module, "TILE_POINTS") as u32 + 1,
                        ("team_scratch", _) => 4,
                        ("team_scratch_bits", _) => 1,
                        (other, reads) => panic!("{other} of {reads:?} is not counted in Tuning::workgroup_bytes"),
                    })
                    .sum();
                assert_eq!(4 * words_a_lane * tuning.workgroup, tuning.workgroup_bytes(), "{tuning}");
            }
        }
    }
}

#[test]
fn choices_are_kept_or_refused_and_candidates_are_all_that_can_be() {
    let plan = Plan::new(Config::original(), Shape::new(1000, 3, 5).unwrap()).unwrap();
    let choose = |choice| Tuning::choose(&plan, Stage::Fused, choice, SUBGROUPS, 65_535);
    let tuning = choose(Choice { workgroup: Some(128), rounds: Some(1), subgroups: Some(false), ..Choice::default() });
    let tuning = tuning.unwrap();
    assert_eq!((tuning.workgroup, tuning.rounds, tuning.team, tuning.subgroups), (128, 1, 4, false));
    // The rest is the table's.
    assert_eq!(tuning.reads, Reads::Whole);
    for (choice, field) in [
        (Choice { workgroup: Some(96), ..Choice::default() }, "workgroup"),
        (Choice { workgroup: Some(512), ..Choice::default() }, "workgroup"),
        (Choice { rounds: Some(0), ..Choice::default() }, "rounds"),
        (Choice { rounds: Some(32), ..Choice::default() }, "rounds"),
        (Choice { reads: Some(Reads::Vectors), ..Choice::default() }, "reads"),
    ] {
        let error = choose(choice).unwrap_err();
        assert!(matches!(&error, KernelError::Choice { what, .. } if *what == field), "{error}");
    }
    let mut seen = HashSet::new();
    for plan in plans() {
        for stage in Stage::ALL {
            let candidates = Tuning::candidates(&plan, stage, SUBGROUPS);
            let tunings: Vec<Tuning> = candidates
                .iter()
                .map(|&choice| Tuning::choose(&plan, stage, choice, SUBGROUPS, u32::MAX).unwrap())
                .collect();
            let table = Tuning::choose(&plan, stage, Choice::default(), SUBGROUPS, u32::MAX).unwrap();
            assert!(tunings.contains(&table), "{stage:?}: the table's own choice is among them: {table}");
            for tuning in &tunings {
                assert!(tuning.workgroup_bytes() <= 16_352, "{tuning}");
                assert!(tuning.team * tuning.rounds >= plan.shape().max_components() as u32, "{tuning}");
                let source = Source::new(&plan, KernelOptions::default(), tuning, false);
                if seen.insert(source) {
                    parse(&source.text());
                }
            }
        }
    }
}

#[test]
fn overrides_are_set_by_name_and_none_is_left_out() {
    for plan in plans() {
        for stage in Stage::ALL {
            let tuning = tuning(&plan, stage, None);
            let (module, _) = parse(&Source::new(&plan, KernelOptions::default(), &tuning, false).text());
            // Those without a name are expressions of the others, such as the length of a tile.
            let mut declared: Vec<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
            let values = constants(stage, &plan, KernelOptions::default(), &tuning);
            let mut set: Vec<&str> = values.iter().map(|c| c.0).collect();
            set.sort_unstable();
            declared.sort_unstable();
            assert_eq!(set, declared);
        }
    }
}

#[test]
fn the_shape_on_the_device_does_not_depend_on_the_number_of_groups() {
    for layout in [Layout::RowMajor, Layout::TimeMajor] {
        for components in [1, 2, 3, 31, 32, 33, 255, 256, 257, 512, 513, 4096] {
            let at = |groups| {
                let shape = Shape::new(groups, components, 2).unwrap().with_layout(layout).unwrap();
                let plan = Plan::new(Config::original(), shape).unwrap();
                Tuning { workgroups: [0; 3], ..tuning(&plan, Stage::Fused, None) }
            };
            for groups in [0, 2, 3, 1000, 100_000] {
                assert_eq!(at(1), at(groups), "{components} components, {layout:?}");
            }
        }
    }
}

#[test]
fn more_workgroups_than_one_dimension_has_spread_over_two() {
    let plan = |groups| Plan::new(Config::original(), Shape::new(groups, 256, 2).unwrap()).unwrap();
    let workgroups =
        |groups| Tuning::choose(&plan(groups), Stage::Softmax, Choice::default(), None, 65_535).map(|t| t.workgroups);
    assert_eq!(workgroups(0), Ok([1, 1, 0]));
    assert_eq!(workgroups(65_535), Ok([65_535, 1, 1]));
    assert_eq!(workgroups(65_536), Ok([32_768, 2, 1]));
    assert_eq!(workgroups(200_000), Ok([50_000, 4, 1]));
    let groups = 65_535 * 65_535 + 1;
    assert_eq!(workgroups(groups), Err(KernelError::TooManyGroups { groups }));
}
