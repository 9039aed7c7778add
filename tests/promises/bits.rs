//! The same bits: run to run, in any batch and place, in chunks of any size, on any number of threads.

use crate::common::problem::{Problem, Random, bits, group_bits, random_losses};
use crate::{Extent, Path};
use softadapt::{Config, Layout, Normalize, Plan, Shape, Slope, Weights, cpu};
use std::sync::atomic::{AtomicBool, Ordering};

/// Configurations that take different ways through the kernels.
fn configs(components: usize) -> [Config; 4] {
    [
        Config::original(),
        Config::normalized().with_slope(Slope::LeastSquares),
        Config::loss_weighted().with_normalize(Normalize::L2).with_floor(0.5 / components as f64),
        Config::loss_weighted().with_prior((0..components).map(|i| 1.0 + i as f64).collect::<Vec<_>>()),
    ]
}

fn problem(config: Config, shape: Shape, seed: u64) -> Problem {
    let plan = Plan::new(config, shape).unwrap();
    let losses = random_losses(&mut Random(seed), plan.shape());
    Problem { plan, losses, betas: None, points: None, previous: None }
}

/// Runs `work` while every core has something else to do.
fn loaded<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn same(a: &Weights<f32>, b: &Weights<f32>) -> bool {
    bits(&a.weights) == bits(&b.weights)
        && bits(&a.slopes) == bits(&b.slopes)
        && bits(&a.means) == bits(&b.means)
        && a.status == b.status
}

/// Repeats four batches on a loaded machine. Returns the repetitions of each.
pub(crate) fn repeated_runs(paths: &[Path], extent: Extent) -> usize {
    let repeats = if extent == Extent::Full { 1000 } else { 20 };
    let shapes = [(500, 3, 5), (40, 33, 9), (4, 700, 3), (300, 5, 16)];
    for path in paths {
        if extent == Extent::Full {
            eprintln!("repeated runs: {}", path.name());
        }
        for (i, (groups, components, window)) in shapes.into_iter().enumerate() {
            let layout = [Layout::RowMajor, Layout::TimeMajor][i % 2];
            let shape = Shape::new(groups, components, window).unwrap().with_layout(layout).unwrap();
            let problem = problem(configs(components)[i].clone(), shape, i as u64);
            let (details, weights) = (path.details(&problem), path.weights(&problem));
            loaded(|| {
                for repeat in 0..repeats {
                    let name = || format!("{}, repeat {repeat}, {:?}", path.name(), problem.plan);
                    // Half by the staged kernels, half by the fused one.
                    if repeat % 2 == 0 {
                        assert!(same(&path.details(&problem), &details), "{}", name());
                    } else {
                        assert!(same(&path.weights(&problem), &weights), "{}", name());
                    }
                }
            });
        }
    }
    repeats
}

/// Groups of the batch that groups are compared in.
pub(crate) const BATCH: usize = 100_000;

/// Groups alone against the same groups at every place of a batch, in chunks of several sizes and on several numbers of
/// threads. Returns the number of groups compared.
pub(crate) fn batches_and_threads(paths: &[Path], extent: Extent) -> u64 {
    let mut compared = 0;
    let shapes: &[(usize, usize, usize)] = if extent == Extent::Full { &[(3, 5, 4), (5, 9, 1)] } else { &[(3, 5, 1)] };
    for &(components, window, wanted) in shapes {
        for (i, config) in configs(components).into_iter().rev().take(wanted).enumerate() {
            let layout = [Layout::RowMajor, Layout::TimeMajor][i % 2];
            let shape = Shape::new(1, components, window).unwrap();
            let alone = problem(config, shape, 77 + i as u64);
            // Once the group stands at the even places, once at the odd ones; its neighbours are random.
            for parity in [0, 1] {
                let shape = Shape::new(BATCH, components, window).unwrap().with_layout(layout).unwrap();
                let mut batch = problem(alone.plan.config().clone(), shape, 1000 + parity as u64);
                let shape = batch.plan.shape().clone();
                for group in (parity..BATCH).step_by(2) {
                    for component in 0..components {
                        for time in 0..window {
                            batch.losses[shape.loss_index(group, component, time)] =
                                alone.losses[alone.plan.shape().loss_index(0, component, time)];
                        }
                    }
                }
                for path in paths {
                    let own = group_bits(&alone, &path.details(&alone), 0);
                    for (way, answer) in ways(path, &batch, extent) {
                        for group in (parity..BATCH).step_by(2) {
                            let found = group_bits(&batch, &answer, group);
                            assert_eq!(found, own, "{}, {way}, place {group}, {:?}", path.name(), batch.plan);
                            compared += 1;
                        }
                        if extent == Extent::Full {
                            eprintln!("batches: {}, {way}: {compared} groups so far", path.name());
                        }
                    }
                }
            }
        }
    }
    compared
}

/// The answer in chunks of several sizes, or on several numbers of threads.
fn ways(path: &Path, batch: &Problem, extent: Extent) -> Vec<(String, Weights<f32>)> {
    match path {
        Path::Cpu => {
            let numbers: &[usize] = if extent == Extent::Full { &[1, 2, 3, 7, 16] } else { &[1, 3] };
            let on = |&threads: &usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let answer = pool.install(|| cpu::weigh(&batch.plan, &batch.batch()).unwrap());
                (format!("{threads} threads"), answer)
            };
            numbers.iter().map(on).collect()
        }
        Path::Gpu(context) => {
            let sizes: &[u64] =
                if extent == Extent::Full { &[u64::MAX, 1 << 20, 30_001] } else { &[u64::MAX, 100_000] };
            let by = |&bytes: &u64| {
                let context = context.clone().with_chunk_bytes(bytes);
                (format!("chunks of {bytes} bytes"), Path::Gpu(Box::new(context)).details(batch))
            };
            sizes.iter().map(by).collect()
        }
    }
}
