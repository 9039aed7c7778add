//! A group's result does not depend on the batch around it, bit for bit.

use crate::agreement::answer;
use crate::common::problem::{Problem, Random, bits, check_regrouped, group_bits, random_problem};
use crate::{context, seeds};
use softadapt::gpu::{KernelOptions, Kernels, Stage};

use softadapt::{Batch, Config, Layout, Normalize, Outputs, Plan, Shape, Strides};

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
    let with = context();
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
        let kernel = with.kernels().kernel(&problem.plan, Stage::Fused, KernelOptions::default()).unwrap();
        by_shuffles += usize::from(kernel.tuning().subgroups);
        let plain = Batch::new(&problem.losses);
        let mut weights = vec![0.0; problem.plan.shape().weights_len()];
        with.weigh_into(&problem.plan, &plain, &mut Outputs::new(&mut weights)).unwrap();
        assert_eq!(bits(&weights), bits(&without.weigh(&problem)), "number {number}");
    }
    assert!(by_shuffles > 15, "only {by_shuffles} plans used shuffles");
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
