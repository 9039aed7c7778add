//! Staged and fused kernels against the reference and the CPU path.

use crate::common::edge_cases;
use crate::common::oracle::check_oracle;
use crate::common::problem::{
    POISON, POISON_STATUS, Problem, Random, Tally, bits, compare, outputs, poisoned, random_losses, random_problem,
};
use crate::{context, is_swiftshader, seeds};
use softadapt::gpu::{Choice, KernelOptions, Stage};
use softadapt::{Config, Layout, LossWeighting, Normalize, OnNegativeMean, Outputs, Plan, Shape, Slope, Weights, cpu};

/// The staged kernels' answer, after the fused kernel's was found to have the same bits.
pub(crate) fn answer(problem: &Problem) -> Weights<f32> {
    let mut staged = poisoned(&problem.plan);
    context().weigh_into(&problem.plan, &problem.batch(), &mut outputs(&mut staged)).unwrap();
    let mut weights = vec![POISON; staged.weights.len()];
    let mut status = vec![POISON_STATUS; staged.status.len()];
    let mut fused = Outputs::new(&mut weights);
    fused.status = Some(&mut status);
    context().weigh_into(&problem.plan, &problem.batch(), &mut fused).unwrap();
    assert_eq!(bits(&weights), bits(&staged.weights), "weights of fused and staged kernels, {:?}", problem.plan);
    assert_eq!(status, staged.status, "status of fused and staged kernels, {:?}", problem.plan);
    staged
}

/// The CPU path's answer is compared too: with both within the bound of the reference, they are within twice the bound of
/// each other.
fn check(problem: &Problem, tally: &mut Tally, label: &str) {
    compare(problem, &answer(problem), tally, &format!("{label}, GPU"));
    let mut by_cpu = poisoned(&problem.plan);
    cpu::weigh_into(&problem.plan, &problem.batch(), &mut outputs(&mut by_cpu)).unwrap();
    compare(problem, &by_cpu, tally, &format!("{label}, CPU"));
}

pub(crate) fn oracle_cases_come_out_within_the_derived_bounds() {
    check_oracle(answer);
}

pub(crate) fn awkward_inputs_get_their_documented_answers() {
    edge_cases::check_single(answer);
}

pub(crate) fn random_plans_agree_with_the_reference_and_the_cpu() {
    let mut tally = Tally::default();
    for seed in seeds(5000..5250) {
        check(&random_problem(seed), &mut tally, &format!("seed {seed}"));
    }
    let Tally { groups, claimed, finite } = tally;
    assert!(claimed * 10 > groups * 7 && finite * 10 > groups * 4, "{claimed} claimed, {finite} ok of {groups}");
}

fn problem(config: Config, shape: Shape, seed: u64) -> Problem {
    let plan = Plan::new(config, shape).unwrap();
    let losses = random_losses(&mut Random(seed), plan.shape());
    Problem { plan, losses, betas: None, points: None, previous: None }
}

fn weighted() -> Config {
    Config::loss_weighted().with_normalize(Normalize::L1).with_on_negative_mean(OnNegativeMean::AsIs).with_order(1)
}

/// Every number of components up to past the border of a subgroup and a workgroup, and around the larger borders.
pub(crate) fn components_across_every_border() {
    let mut tally = Tally::default();
    let sizes = (1..=70).chain([127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1025, 2049, 4095, 4096]);
    for components in sizes {
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            let shape = Shape::new(5, components, 3).unwrap().with_layout(layout).unwrap();
            check(&problem(weighted(), shape, components as u64), &mut tally, &format!("{components} components"));
        }
        let offsets = [0, 0, 1, 1 + components, 1 + components + components / 2].map(|o| o as u32);
        let shape = Shape::ragged(offsets, 3).unwrap();
        check(&problem(weighted(), shape, components as u64), &mut tally, &format!("{components} components, ragged"));
    }
}

/// Every window up to past several tiles, and long ones.
pub(crate) fn windows_across_every_border() {
    let mut tally = Tally::default();
    for window in (2..=70).chain([127, 128, 129, 255, 257, 1023, 1025, 4095, 4096]) {
        let slopes = [Slope::LeastSquares, Slope::Backward { order: Some((window - 1).min(3) as u32) }];
        for (slope, layout) in slopes.into_iter().zip([Layout::RowMajor, Layout::TimeMajor]) {
            let config = Config::original().with_slope(slope).with_loss_weighting(LossWeighting::Window);
            let shape = Shape::new(9, 3, window).unwrap().with_layout(layout).unwrap();
            check(&problem(config, shape, window as u64), &mut tally, &format!("window {window}"));
        }
    }
}

/// Group counts around those of a workgroup, and more workgroups than one dimension has.
pub(crate) fn group_counts_across_every_border() {
    let mut tally = Tally::default();
    for groups in (0..=70).chain([127, 128, 129, 255, 256, 257, 1000, 4096, 4097, 20_000]) {
        for layout in [Layout::RowMajor, Layout::TimeMajor] {
            let shape = Shape::new(groups, 3, 5).unwrap().with_layout(layout).unwrap();
            check(&problem(Config::normalized(), shape, groups as u64), &mut tally, &format!("{groups} groups"));
        }
    }
    // A workgroup a group: 70 000 of them. Distinct, cheap to check, and without the reference's time. Barriers are slow on
    // SwiftShader: one number on each side of the border.
    const COMPONENTS: usize = 33;
    let counts: &[usize] = if is_swiftshader() { &[65_535, 65_536] } else { &[65_535, 65_536, 65_537, 70_000] };
    for &groups in counts {
        let shape = Shape::new(groups, COMPONENTS, 2).unwrap();
        let plan = Plan::new(Config::original().with_beta(1.0), shape).unwrap();
        // Group g: component 0 rises by g steps of 1e-4, the others stay.
        let mut losses = vec![0.0f32; plan.shape().losses_len()];
        for group in 0..groups {
            losses[plan.shape().loss_index(group, 0, 1)] = group as f32 * 1e-4;
        }
        let mut weights = vec![POISON; plan.shape().weights_len()];
        // A component a lane, so that few components fill a workgroup.
        let choice = Choice { workgroup: Some(64), rounds: Some(1), ..Choice::default() };
        let options = KernelOptions { choice, ..KernelOptions::default() };
        let kernel = context().kernels().kernel(&plan, Stage::Fused, options).unwrap();
        assert_eq!(kernel.tuning().workgroups[1], if groups > 65_535 { 2 } else { 1 });
        let whole = context().clone().with_chunk_bytes(u64::MAX).with_choice(choice);
        whole.weigh_into(&plan, &softadapt::Batch::new(&losses), &mut Outputs::new(&mut weights)).unwrap();
        for group in 0..groups {
            let e = f64::from(group as f32 * 1e-4).exp();
            let row = &weights[group * COMPONENTS..(group + 1) * COMPONENTS];
            let others = (COMPONENTS - 1) as f64;
            let exact = e / (e + others);
            assert!((f64::from(row[0]) - exact).abs() < 2e-5 * exact, "group {group}: {} for {exact}", row[0]);
            let other = 1.0 / (e + others);
            assert!(row[1..].iter().all(|&w| (f64::from(w) - other).abs() < 2e-5 * other), "group {group}");
        }
    }
}

/// The kernels' exponential through the whole pipeline: two components, beta 1, scores 0 and x, so that the smaller weight
/// is exp(x) / (1 + exp(x)). The division and the sum add 3 ULP to the function's 2.
pub(crate) fn exponential_is_within_two_ulp() {
    const GROUPS: usize = 1 << 18;
    let shape = Shape::new(GROUPS, 2, 2).unwrap();
    let plan = Plan::new(Config::original().with_beta(1.0), shape).unwrap();
    // Every 4096th f32 from -87 to the smallest magnitude that shows.
    let (low, high) = (1e-6f32.to_bits(), 87.0f32.to_bits());
    let x = |group: usize| -f32::from_bits(low + ((high - low) as u64 * group as u64 / GROUPS as u64) as u32);
    let losses: Vec<f32> = (0..GROUPS).flat_map(|group| [0.0, 0.0, 0.0, x(group)]).collect();
    let mut weights = vec![POISON; 2 * GROUPS];
    context().weigh_into(&plan, &softadapt::Batch::new(&losses), &mut Outputs::new(&mut weights)).unwrap();
    let mut worst = 0.0f64;
    for group in 0..GROUPS {
        let e = f64::from(x(group)).exp();
        let exact = e / (1.0 + e);
        let ulp = f64::from((exact as f32).next_up() - exact as f32);
        worst = worst.max((f64::from(weights[2 * group + 1]) - exact).abs() / ulp);
    }
    assert!(worst < 5.0, "{worst} ULP");
}
