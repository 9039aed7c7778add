//! A group's result does not depend on the batch around it, bit for bit.

use crate::agreement::answer;
use crate::common::problem::{Problem, Random, bits, check_regrouped, group_bits, random_problem};
use crate::{context, seeds};
use softadapt::gpu::{Choice, KernelOptions, Kernels, Stage, Tuning};
use softadapt::host::DevicePath;
use softadapt::{BalancerConfig, BalancerPlan, Batch, Config, Layout, Normalize, Outputs, Plan, Shape, Strides};

pub(crate) fn a_group_has_the_same_bits_in_any_batch_and_place() {
    for seed in seeds(6000..6120) {
        let problem = random_problem(seed);
        let groups = problem.plan.shape().groups();
        if groups == 0 {
            continue;
        }
        let whole = answer(&problem);
        let random = &mut Random(seed);
        check_regrouped(&problem, &whole, random, answer);
        // A ragged group as a uniform batch of one.
        if problem.plan.shape().offsets().is_some() && problem.plan.shape().layout() == Layout::RowMajor {
            let group = random.below(groups);
            let components = problem.plan.shape().components(group);
            if components > 0 {
                let part = problem.of_groups(&[group], Layout::RowMajor);
                let shape = Shape::new(1, components, part.plan.shape().window()).unwrap();
                let uniform = Problem { plan: part.plan.with_shape(shape).unwrap(), ..part };
                assert_eq!(
                    group_bits(&uniform, &answer(&uniform), 0),
                    group_bits(&problem, &whole, group),
                    "seed {seed}, ragged group {group} of {components} components alone"
                );
            }
        }
    }
}

pub(crate) fn chunks_and_layouts_do_not_show() {
    for seed in seeds(7000..7060) {
        let problem = random_problem(seed);
        let whole = answer(&problem);
        for bytes in [1, 200, 5000] {
            let context = context().clone().with_chunk_bytes(bytes);
            let parts = context.weigh(&problem.plan, &problem.batch()).unwrap();
            for group in 0..problem.plan.shape().groups() {
                assert_eq!(
                    group_bits(&problem, &parts, group),
                    group_bits(&problem, &whole, group),
                    "seed {seed}, group {group}, chunks of {bytes} bytes"
                );
            }
        }
    }
}

/// Where a group has more components than a team has lanes, teams differ between layouts: the bits must not.
pub(crate) fn large_groups_have_the_same_bits_in_every_layout() {
    for components in [33, 100, 129, 256, 300, 700, 1025, 4096] {
        let config = Config::loss_weighted().with_normalize(Normalize::L1).with_order(1).with_floor(1e-5);
        let plan = Plan::new(config, Shape::new(3, components, 2).unwrap()).unwrap();
        let losses = (0..plan.shape().losses_len()).map(|i| 1.0 + ((i * 7919) % 1013) as f32 / 97.0).collect();
        let problem = Problem { plan, losses, betas: None, points: None, previous: None };
        let row_major = answer(&problem);
        let n = components as u64;
        let strided = |groups: u64| {
            Layout::Strided(Strides {
                group: 1,
                component: groups,
                time: groups * n,
                weight_group: 1,
                weight_component: groups,
            })
        };
        for groups in [vec![0, 1, 2], vec![1], vec![2, 0]] {
            for layout in [Layout::RowMajor, Layout::TimeMajor, strided(groups.len() as u64)] {
                let other = problem.of_groups(&groups, layout);
                let found = answer(&other);
                for (new, &old) in groups.iter().enumerate() {
                    assert_eq!(
                        group_bits(&other, &found, new),
                        group_bits(&problem, &row_major, old),
                        "{components} components, group {old} of {groups:?}, {layout:?}"
                    );
                }
            }
        }
    }
}

pub(crate) fn repeated_runs_have_the_same_bits() {
    let problem = random_problem(7);
    let first = answer(&problem);
    for _ in 0..50 {
        let again = answer(&problem);
        assert_eq!(bits(&again.weights), bits(&first.weights));
        assert_eq!(again.status, first.status);
    }
}

/// Two devices of one adapter, with and without the subgroup feature.
pub(crate) fn subgroups_and_workgroup_memory_give_the_same_bits() {
    // A component a lane: otherwise few groups are shared by lanes.
    let choice = Choice { rounds: Some(1), ..Choice::default() };
    let with = context().clone().with_choice(choice);
    let Some((smallest, _)) = with.adapter().subgroup_sizes else { return };
    let without = Portable::new();
    // Teams that fit the smallest subgroup reduce by shuffles.
    let fits = |problem: &Problem| {
        let shape = problem.plan.shape();
        shape.layout() == Layout::RowMajor && shape.groups() > 0 && shape.max_components() <= smallest as usize
    };
    let problems = (8000..8400).map(random_problem).filter(fits).take(25);
    let mut by_shuffles = 0;
    for (number, problem) in problems.enumerate() {
        let options = KernelOptions { choice, ..KernelOptions::default() };
        let kernel = with.kernels().kernel(&problem.plan, Stage::Fused, options).unwrap();
        by_shuffles += usize::from(kernel.tuning().subgroups);
        let plain = Batch::new(&problem.losses);
        let mut weights = vec![0.0; problem.plan.shape().weights_len()];
        with.weigh_into(&problem.plan, &plain, &mut Outputs::new(&mut weights)).unwrap();
        assert_eq!(bits(&weights), bits(&without.weigh(&problem)), "number {number}");
    }
    assert!(by_shuffles > 15, "only {by_shuffles} plans used shuffles");
}

/// Losses that differ everywhere.
fn distinct(words: usize) -> Vec<f32> {
    (0..words).map(|i| 1.0 + ((i * 7919) % 10_007) as f32 / 997.0).collect()
}

/// Workgroups of every size but the middle one: compiling takes most of the time.
fn is_tried(choice: &Choice) -> bool {
    choice.workgroup != Some(128)
}

/// Whatever lanes, tiles, vectors and shuffles are chosen: the bits are those of the library's own choice, on every border of
/// a workgroup.
pub(crate) fn every_choice_of_layout_gives_the_same_bits() {
    let shapes = [
        Shape::new(131, 3, 5).unwrap(),
        Shape::new(131, 3, 5).unwrap().with_layout(Layout::TimeMajor).unwrap(),
        Shape::new(67, 6, 12).unwrap(),
        Shape::new(5, 40, 9).unwrap().with_layout(Layout::TimeMajor).unwrap(),
        Shape::ragged(vec![0, 3, 3, 4, 9, 20, 22, 23], 7).unwrap(),
    ];
    let mut tried = 0;
    for shape in shapes {
        let config = Config::loss_weighted().with_normalize(Normalize::L1).with_order(4);
        let plan = Plan::new(config, shape).unwrap();
        let losses = distinct(plan.shape().losses_len());
        let weigh = |choice: Choice| {
            let mut weights = vec![f32::NAN; plan.shape().weights_len()];
            let context = context().clone().with_choice(choice);
            context.weigh_into(&plan, &Batch::new(&losses), &mut Outputs::new(&mut weights)).unwrap();
            bits(&weights)
        };
        let expected = weigh(Choice::default());
        let candidates = Tuning::candidates(&plan, Stage::Fused, context().kernels().subgroup_sizes());
        for choice in candidates.into_iter().filter(is_tried) {
            assert_eq!(weigh(choice), expected, "{choice:?} for {:?}", plan.shape());
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} choices");
}

pub(crate) fn every_choice_for_a_step_gives_the_same_bits() {
    let config = BalancerConfig::new(Config::loss_weighted().with_order(2));
    let plan = BalancerPlan::new(config, Shape::new(70, 6, 4).unwrap()).unwrap();
    let (device, queue) = (context().device(), context().queue());
    let steps: Vec<_> = distinct(7 * plan.losses_len()).chunks_exact(plan.losses_len()).map(<[f32]>::to_vec).collect();
    let run = |choice: Choice| {
        let balancer = context().kernels().balancer_with(&plan, choice).unwrap();
        for losses in &steps {
            let losses = crate::embedding::buffer(device, bytemuck::cast_slice(losses), 0);
            let step = balancer.step(losses.as_entire_buffer_binding()).unwrap();
            crate::embedding::submit(device, queue, |pass| step.record(pass));
        }
        bits(&crate::embedding::read(device, queue, balancer.weights()))
    };
    let expected = run(Choice::default());
    let candidates = Tuning::step_candidates(&plan, context().kernels().subgroup_sizes());
    assert!(candidates.len() > 3);
    for choice in candidates.into_iter().filter(is_tried) {
        assert_eq!(run(choice), expected, "{choice:?}");
    }
}

/// Chunks are copied to staging memory in pieces of 64 KiB, in buffers that are used again by chunks of other sizes.
pub(crate) fn chunks_that_are_copied_in_pieces_do_not_show() {
    let plan = Plan::new(Config::original(), Shape::new(20_001, 3, 5).unwrap()).unwrap();
    let losses = distinct(plan.shape().losses_len());
    let previous = distinct(plan.shape().weights_len());
    let betas: Vec<f32> = (0..20_001).map(|group| group as f32 * 1e-4).collect();
    let batch = Batch { previous: Some(&previous), betas: Some(&betas), ..Batch::new(&losses) };
    let weigh = |bytes: u64| {
        let answer = context().clone().with_chunk_bytes(bytes).weigh(&plan, &batch).unwrap();
        (bits(&answer.weights), bits(&answer.slopes), answer.status)
    };
    let whole = weigh(u64::MAX);
    for bytes in [60_000, 65_536, 65_596, 131_072, 200_000, 600_000, 1_200_000] {
        assert!(weigh(bytes) == whole, "chunks of {bytes} bytes");
    }
}

/// Batches for benchmarks: every group has the bits of the one that it repeats, by every path and in both layouts.
pub(crate) fn workloads_repeat_their_groups() {
    let config = Config::loss_weighted().with_normalize(Normalize::L2).with_order(4);
    let plan = |groups, layout| {
        let shape = Shape::new(groups, 3, 6).unwrap().with_layout(layout).unwrap();
        Plan::new(config.clone(), shape).unwrap()
    };
    for layout in [Layout::RowMajor, Layout::TimeMajor] {
        let (small, large) = (plan(7, layout), plan(100, layout));
        let pattern = distinct(small.shape().losses_len());
        let mut weights = vec![f32::NAN; 21];
        context().weigh_into(&small, &Batch::new(&pattern), &mut Outputs::new(&mut weights)).unwrap();
        let workload = context().workload(&large, &pattern).unwrap();
        for path in [DevicePath::Fused, DevicePath::Staged] {
            let found = workload.weigh(path).unwrap().concat();
            for group in 0..100 {
                for component in 0..3 {
                    let right = weights[small.shape().weight_index(group % 7, component)];
                    let place = large.shape().weight_index(group, component);
                    assert_eq!(found[place].to_bits(), right.to_bits(), "group {group}, {layout:?}, {path:?}");
                }
            }
        }
        for path in [DevicePath::Fused, DevicePath::Staged, DevicePath::Stage(Stage::Slopes), DevicePath::Copy] {
            let laps = workload.time(path, 2, 3).unwrap();
            assert!(laps.len() == 3 && laps.iter().all(|lap| !lap.whole.is_zero()), "{laps:?}");
        }
        assert!(context().workload(&large, &pattern[1..]).is_err());
    }
    let upload = context().clone().with_chunk_bytes(1000).time_upload(&distinct(10_000)).unwrap();
    assert!(!upload.is_zero());
}

/// A device without features.
struct Portable {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Portable {
    fn new() -> Self {
        let (device, queue) = crate::embedding::new_device(wgpu::Features::empty(), wgpu::Limits::default());
        Self { device, queue }
    }

    fn weigh(&self, problem: &Problem) -> Vec<f32> {
        let kernel = Kernels::new(&self.device).kernel(&problem.plan, Stage::Fused, KernelOptions::default()).unwrap();
        assert!(!kernel.tuning().subgroups);
        let losses = crate::embedding::buffer(&self.device, bytemuck::cast_slice(&problem.losses), 0);
        let weights = crate::embedding::poisoned_buffer(&self.device, 4 * problem.plan.shape().weights_len() as u64);
        let bound = crate::embedding::bind(&kernel, &losses, &weights);
        crate::embedding::submit(&self.device, &self.queue, |pass| bound.record(pass));
        crate::embedding::read(&self.device, &self.queue, &weights)[..problem.plan.shape().weights_len()].to_vec()
    }
}
