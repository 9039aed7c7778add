//! The stages in their order for one block: as many groups as there are lanes, or one group with many components.

use super::Job;
use super::NARROW;
use super::exp::parts;
use super::lanes::{Across, Components, Float, Groups, LANES, Lanes, LargeGroups, any, registers};
use super::normalize::normalize;
use super::outputs::{Chunk, Members};
use super::points::{Places, Read, Reads, Spread};
use super::softmax::{Factors, plain, weighted};
use super::summary::summarise;
use crate::config::{Normalize, OnNegativeMean, OnNonFinite};
use crate::status::Status;
use pulp::{Simd, WithSimd};

/// Components between a row of a large group and one that is loaded soon.
const AHEAD: usize = 4 * LANES;

/// What the stages leave behind for each vector of rows.
struct Scratch<'a> {
    slopes: &'a mut [Lanes<f32>],
    means: &'a mut [Lanes<f32>],
    scores: &'a mut [Lanes<f32>],
    weights: &'a mut [Lanes<f32>],
    mantissas: &'a mut [Lanes<f32>],
    exponents: &'a mut [Lanes<u32>],
    terms: &'a mut [Lanes<u32>],
}

/// What is known of the group of each lane before its losses are read.
struct Known {
    /// Points so far, at most the window; `None` where all windows are full.
    points: Option<Lanes<u32>>,
    beta: Lanes<f32>,
}

impl Known {
    #[inline(always)]
    fn of_lanes(job: &Job<'_>, groups: &Members<'_>) -> Self {
        let window = job.window as u32;
        let mut known = Self { points: None, beta: Lanes::splat(job.beta) };
        if let Some(all) = job.points {
            let mut points = Lanes::splat(window);
            for lane in 0..LANES {
                points[lane] = all[groups.group(lane)].min(window);
            }
            known.points = Some(points);
        }
        if let Some(betas) = job.betas {
            for lane in 0..LANES {
                known.beta[lane] = betas[groups.group(lane)];
            }
        }
        known
    }

    fn of_group(job: &Job<'_>, group: usize) -> Self {
        Self {
            points: job.points.map(|points| Lanes::splat(points[group].min(job.window as u32))),
            beta: Lanes::splat(job.betas.map_or(job.beta, |betas| betas[group])),
        }
    }
}

/// Weighs the groups of `chunk`.
#[inline(always)]
pub(super) fn weigh_chunk<S: Simd>(simd: S, job: &Job<'_>, chunk: &mut Chunk<'_>) {
    let mut reads = Reads::new(job);
    if let Some(n) = job.uniform_components {
        let groups = chunk.groups.clone();
        let blocks = groups.clone().step_by(LANES).map(|first| (first, (groups.end - first).min(LANES)));
        if n <= NARROW {
            let mut scratch = NarrowScratch::new();
            for (first, count) in blocks {
                let members = Members::Run { first, count };
                weigh_groups::<S, Groups>(simd, job, &members, &mut reads, scratch.rows(n), chunk);
            }
            return;
        }
        // Large groups beside each other are read a group a lane, all others a component a lane.
        let adjacent = job.group_stride == 1 && job.time_stride != 1;
        let mut of_block = WideScratch::new(if adjacent { n } else { 0 });
        let mut of_group = WideScratch::new(n.div_ceil(LANES));
        for (first, count) in blocks {
            if adjacent && count == LANES {
                let groups = &Members::Run { first, count };
                simd.vectorize(Large { job, groups, reads: &mut reads, rows: of_block.rows(), chunk });
            } else {
                for group in first..first + count {
                    simd.vectorize(Wide { job, n, group, reads: &mut reads, scratch: &mut of_group, chunk });
                }
            }
        }
        return;
    }
    // Ragged: groups with equally many components share a block.
    let mut order: Vec<usize> = chunk.groups.clone().collect();
    order.sort_by_key(|&group| job.components(group));
    let mut scratch = NarrowScratch::new();
    for alike in order.chunk_by(|&a, &b| job.components(a) == job.components(b)) {
        let n = job.components(alike[0]);
        if n <= NARROW {
            for members in alike.chunks(LANES) {
                let members = Members::Listed(members);
                weigh_groups::<S, Groups>(simd, job, &members, &mut reads, scratch.rows(n), chunk);
            }
        } else {
            let mut scratch = WideScratch::new(n.div_ceil(LANES));
            for &group in alike {
                simd.vectorize(Wide { job, n, group, reads: &mut reads, scratch: &mut scratch, chunk });
            }
        }
    }
}

/// Scratch of a block of small groups, on the stack.
struct NarrowScratch {
    floats: [[Lanes<f32>; NARROW]; 5],
    integers: [[Lanes<u32>; NARROW]; 2],
}

impl NarrowScratch {
    #[inline(always)]
    fn new() -> Self {
        Self { floats: [[Lanes::splat(0.0); NARROW]; 5], integers: [[Lanes::splat(0u32); NARROW]; 2] }
    }

    #[inline(always)]
    fn rows(&mut self, n: usize) -> Scratch<'_> {
        let [slopes, means, scores, weights, mantissas] = &mut self.floats;
        let [exponents, terms] = &mut self.integers;
        Scratch {
            slopes: &mut slopes[..n],
            means: &mut means[..n],
            scores: &mut scores[..n],
            weights: &mut weights[..n],
            mantissas: &mut mantissas[..n],
            exponents: &mut exponents[..n],
            terms: &mut terms[..n],
        }
    }
}

/// Scratch of one large group, or of a block of them: 28 bytes for each number of a vector.
struct WideScratch {
    floats: [Vec<Lanes<f32>>; 5],
    integers: [Vec<Lanes<u32>>; 2],
}

impl WideScratch {
    fn new(vectors: usize) -> Self {
        Self {
            floats: std::array::from_fn(|_| vec![Lanes::splat(0.0); vectors]),
            integers: std::array::from_fn(|_| vec![Lanes::splat(0u32); vectors]),
        }
    }

    fn rows(&mut self) -> Scratch<'_> {
        let [slopes, means, scores, weights, mantissas] = &mut self.floats;
        let [exponents, terms] = &mut self.integers;
        Scratch { slopes, means, scores, weights, mantissas, exponents, terms }
    }
}

/// A block of groups with equally many components, a group a lane.
#[inline(always)]
fn weigh_groups<S: Simd, A: Across>(
    simd: S,
    job: &Job<'_>,
    groups: &Members<'_>,
    reads: &mut Reads,
    mut rows: Scratch<'_>,
    chunk: &mut Chunk<'_>,
) {
    let n = rows.slopes.len();
    let known = Known::of_lanes(job, groups);
    let last = (job.window - 1) * job.time_stride;
    let mut bases = [0; LANES];
    let ahead = LANES * job.group_stride;
    let places = match *groups {
        Members::Run { first, count: LANES } => {
            Places { lanes: Spread::Even(job.group_stride), offset: job.loss_base(first) + last, ahead }
        }
        _ => {
            for lane in 0..LANES {
                bases[lane] = job.loss_base(groups.group(lane));
            }
            Places { lanes: Spread::Listed(&bases), offset: last, ahead }
        }
    };
    simd.vectorize(Read { job, components: n, places: &places, counts: &known.points, reads });
    for component in 0..n {
        let places = places.moved(component * job.component_stride);
        let (newest, sums) = reads.component(job, component, &places);
        (rows.slopes[component], rows.means[component]) = summarise(simd, job, &places, &known.points, newest, sums);
    }
    let status = weigh_rows::<S, A>(simd, job, n, &known, &mut rows, |lane| job.weight_base(groups.group(lane)));
    store_groups(job, groups, &rows, &status, chunk);
}

/// A block of groups with many components. A unit of compilation of its own, so that blocks of small groups stay small.
struct Large<'a, 'c, 'j> {
    job: &'a Job<'j>,
    groups: &'a Members<'a>,
    reads: &'a mut Reads,
    rows: Scratch<'a>,
    chunk: &'a mut Chunk<'c>,
}

impl WithSimd for Large<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { job, groups, reads, rows, chunk } = self;
        weigh_groups::<S, LargeGroups>(simd, job, groups, reads, rows, chunk);
    }
}

#[inline(always)]
fn store_groups(job: &Job<'_>, groups: &Members<'_>, rows: &Scratch<'_>, status: &Lanes<u32>, chunk: &mut Chunk<'_>) {
    let start = chunk.groups.start;
    chunk.weights.store_groups(job, start, groups, rows.weights);
    if let Some(slopes) = &mut chunk.slopes {
        slopes.store_groups(job, start, groups, rows.slopes);
    }
    if let Some(means) = &mut chunk.means {
        means.store_groups(job, start, groups, rows.means);
    }
    if let Some(statuses) = &mut chunk.status {
        for lane in 0..groups.count() {
            statuses[groups.group(lane) - start] = Status::from_bits(status[lane]);
        }
    }
}

/// Its own unit of compilation, so that blocks of small groups stay small.
struct Wide<'a, 'c, 'j> {
    job: &'a Job<'j>,
    n: usize,
    group: usize,
    reads: &'a mut Reads,
    scratch: &'a mut WideScratch,
    chunk: &'a mut Chunk<'c>,
}

impl WithSimd for Wide<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { job, n, group, reads, scratch, chunk } = self;
        let mut rows = scratch.rows();
        let known = Known::of_group(job, group);
        let newest = job.loss_base(group) + (job.window - 1) * job.time_stride;
        let stride = job.component_stride;
        let mut bases = [0; LANES];
        for k in 0..rows.slopes.len() {
            let lanes = if (k + 1) * LANES <= n {
                Spread::Even(stride)
            } else {
                for l in 0..LANES {
                    // Lanes without a component repeat the last one.
                    bases[l] = l.min(n - 1 - k * LANES) * stride;
                }
                Spread::Listed(&bases)
            };
            let places = Places { lanes, offset: newest + k * LANES * stride, ahead: AHEAD * stride };
            let (newest, sums) = reads.load(job, &places, &known.points);
            (rows.slopes[k], rows.means[k]) = summarise(simd, job, &places, &known.points, newest, sums);
        }
        let status = weigh_rows::<S, Components>(simd, job, n, &known, &mut rows, |_| job.weight_base(group));
        let start = chunk.groups.start;
        chunk.weights.store_components(job, start, group, n, rows.weights);
        if let Some(slopes) = &mut chunk.slopes {
            slopes.store_components(job, start, group, n, rows.slopes);
        }
        if let Some(means) = &mut chunk.means {
            means.store_components(job, start, group, n, rows.means);
        }
        if let Some(statuses) = &mut chunk.status {
            statuses[group - start] = Status::from_bits(status[0]);
        }
    }
}

/// What a group gets.
#[derive(Clone, Copy, Default, PartialEq)]
enum Answer {
    #[default]
    Computed,
    /// Weights as if all scores were equal: the prior decides.
    Neutral,
    /// The previous weights.
    Kept,
    NotANumber,
}

/// From slopes and means to weights and status words.
#[inline(always)]
fn weigh_rows<S: Simd, A: Across>(
    simd: S,
    job: &Job<'_>,
    n: usize,
    known: &Known,
    rows: &mut Scratch<'_>,
    weight_base: impl Fn(usize) -> usize,
) -> Lanes<u32> {
    let mut beta = known.beta;

    // Scores of rows that do not count are NaN from here on.
    let mut bad = Lanes::splat(0u32);
    for (k, scores) in rows.scores.iter_mut().enumerate() {
        for r in registers::<S>() {
            let score = rows.slopes[k].get(simd, r);
            // Both are finite or NaN.
            let mut nan = score.is_nan();
            if job.uses_means {
                nan = nan | rows.means[k].get(simd, r).is_nan();
            }
            let present = A::present(simd, k, r, n);
            bad.set(r, bad.get(simd, r) | (nan & present).flag(Status::NON_FINITE.bits()));
            scores.set(r, (nan | !present).select(score.all(f32::NAN), score));
        }
    }
    let mut status = A::join(bad, |a, b| a | b);
    for r in registers::<S>() {
        let beta = beta.get(simd, r);
        let usable = beta.abs().is_at_most(beta.all(crate::MAX_BETA as f32));
        let mut flags = status.get(simd, r) | (!usable).flag(Status::NON_FINITE_BETA.bits());
        if let Some(points) = &known.points {
            let early = points.get(simd, r).is_less(flags.all(job.slope_points as u32));
            flags = early.select_int(flags.all(Status::NOT_READY.bits()), flags);
        }
        status.set(r, flags);
    }
    // Nearly always there is nothing to be seen to.
    let answers = if any(simd, &status) { Some(answers::<A>(job, n, &status, rows)) } else { None };
    let mut computed = Lanes::splat(u32::MAX);
    if let Some(answers) = &answers {
        for l in 0..LANES {
            if matches!(answers[l], Answer::Neutral | Answer::Kept) {
                status[l] |= job.held.bits();
            }
            if answers[l] != Answer::Computed {
                computed[l] = 0;
                beta[l] = 0.0;
                for (k, scores) in rows.scores.iter_mut().enumerate() {
                    scores[l] = if A::component(k, l) < n { 0.0 } else { f32::NAN };
                }
            }
        }
    }
    if n == 0 {
        return status;
    }
    // Flags of the stages below are only those of computed weights.
    let mut flags = Lanes::splat(0u32);
    if job.normalize != Normalize::None {
        let zero = normalize::<S, A>(simd, job.normalize, job.epsilon, rows.scores);
        for r in registers::<S>() {
            flags.set(r, zero.get(simd, r).is_nonzero().flag(Status::ZERO_SLOPE_SUM.bits()));
        }
    }
    if job.uses_means || job.prior.is_some() {
        weigh_with_factors::<S, A>(simd, job, n, &beta, &computed, rows, &mut flags);
    } else {
        plain::<S, A>(simd, &beta, job.epsilon, rows.scores, rows.weights);
    }
    if job.floor > 0.0 || job.scales {
        finish::<A>(job, n, rows);
    }
    for r in registers::<S>() {
        status.set(r, status.get(simd, r) | (computed.get(simd, r) & flags.get(simd, r)));
    }
    if let Some(answers) = &answers {
        settle::<A>(job, n, answers, rows, weight_base);
    }
    status
}

/// Weights that are not computed.
#[inline(never)]
fn settle<A: Across>(
    job: &Job<'_>,
    n: usize,
    answers: &Lanes<Answer>,
    rows: &mut Scratch<'_>,
    weight_base: impl Fn(usize) -> usize,
) {
    for (k, weights) in rows.weights.iter_mut().enumerate() {
        for l in 0..LANES {
            match (answers[l], job.previous) {
                (Answer::NotANumber, _) => weights[l] = f32::NAN,
                (Answer::Kept, Some(previous)) if A::component(k, l) < n => {
                    weights[l] = previous[weight_base(l) + A::component(k, l) * job.weight_component_stride];
                }
                _ => {}
            }
        }
    }
}

/// What the groups get, given the flags that stand before anything is weighed.
#[inline(never)]
fn answers<A: Across>(job: &Job<'_>, n: usize, status: &Lanes<u32>, rows: &Scratch<'_>) -> Lanes<Answer> {
    let mut left = Lanes::splat(false);
    for (k, scores) in rows.scores.iter().enumerate() {
        for l in 0..LANES {
            let component = A::component(k, l);
            let prior = component < n && job.prior.is_none_or(|prior| prior[component].0 > 0.0);
            left[l] |= !scores[l].is_nan() && prior;
        }
    }
    let left = A::join(left, |a, b| a | b);
    let held = if job.previous.is_some() { Answer::Kept } else { Answer::Neutral };
    let mut answer = Lanes([Answer::Computed; LANES]);
    for l in 0..LANES {
        let status = Status::from_bits(status[l]);
        answer[l] = if status.is_ok() {
            Answer::Computed
        } else if status.contains(Status::NOT_READY) {
            held
        } else {
            match job.on_non_finite {
                OnNonFinite::Propagate => Answer::NotANumber,
                OnNonFinite::Mask if left[l] && !status.contains(Status::NON_FINITE_BETA) => Answer::Computed,
                OnNonFinite::Mask | OnNonFinite::Hold => held,
            }
        };
    }
    answer
}

/// The softmax with mean losses and prior; without the former where they leave nothing.
#[inline(always)]
fn weigh_with_factors<S: Simd, A: Across>(
    simd: S,
    job: &Job<'_>,
    n: usize,
    beta: &Lanes<f32>,
    computed: &Lanes<u32>,
    rows: &mut Scratch<'_>,
    flags: &mut Lanes<u32>,
) {
    let mut with_means = if job.uses_means { *computed } else { Lanes::splat(0) };
    let mut negative = Lanes::splat(0u32);
    loop {
        for (k, (mantissas, exponents)) in rows.mantissas.iter_mut().zip(&mut *rows.exponents).enumerate() {
            *mantissas = Lanes::splat(1.0);
            *exponents = Lanes::splat(0);
            if let Some(factors) = job.prior {
                for l in 0..LANES {
                    if let Some(&(mantissa, exponent)) =
                        factors.get(A::component(k, l)).filter(|_| A::component(k, l) < n)
                    {
                        (mantissas[l], exponents[l]) = (mantissa, exponent as u32);
                    }
                }
            }
            if !job.uses_means {
                continue;
            }
            for r in registers::<S>() {
                let (mean, score) = (rows.means[k].get(simd, r), rows.scores[k].get(simd, r));
                let zero = Float::splat(simd, 0.0);
                let below = mean.is_less(zero);
                negative.set(r, negative.get(simd, r) | (below & score.equals(score)).flag(1));
                let mean = if job.on_negative_mean == OnNegativeMean::Clamp { below.select(zero, mean) } else { mean };
                let (mantissa, exponent) = parts(mean);
                let with = with_means.get(simd, r).is_nonzero();
                mantissas.set(r, mantissas.get(simd, r) * with.select(mantissa, zero.all(1.0)));
                exponents.set(r, exponents.get(simd, r) + with.select_int(exponent, exponent.all(0)));
            }
        }
        let factors = Factors { mantissas: rows.mantissas, exponents: rows.exponents };
        let none = weighted::<S, A>(simd, beta, job.epsilon_parts, rows.scores, &factors, rows.terms, rows.weights);
        let mut again = Lanes::splat(0u32);
        for r in registers::<S>() {
            let with = with_means.get(simd, r).is_nonzero();
            let zero = none.get(simd, r).is_nonzero() & with;
            again.set(r, zero.flag(1));
            flags.set(r, flags.get(simd, r) | zero.flag(Status::ZERO_MEAN_LOSS.bits()));
            with_means.set(r, (with & !zero).flag(1));
        }
        if !any(simd, &again) {
            break;
        }
    }
    if job.uses_means {
        let negative = A::join(negative, |a, b| a | b);
        for r in registers::<S>() {
            let flag = negative.get(simd, r).is_nonzero().flag(Status::NEGATIVE_MEAN_LOSS.bits());
            flags.set(r, flags.get(simd, r) | flag);
        }
    }
}

/// Minimum weight and scale.
#[inline(always)]
fn finish<A: Across>(job: &Job<'_>, n: usize, rows: &mut Scratch<'_>) {
    let active = |k: usize, l: usize, score: f32| {
        let component = A::component(k, l);
        !score.is_nan() && component < n && job.prior.is_none_or(|prior| prior[component].0 > 0.0)
    };
    let scale = if job.scales { n as f32 } else { 1.0 };
    let mut count = Lanes::splat(0u32);
    for (k, scores) in rows.scores.iter().enumerate() {
        for l in 0..LANES {
            count[l] += u32::from(active(k, l, scores[l]));
        }
    }
    // In f64: where the floor leaves next to nothing to share, f32 would have no digit of it.
    let share = A::join(count, |a, b| a + b).map(|count| (1.0 - f64::from(count) * job.floor) as f32);
    for (k, (scores, weights)) in rows.scores.iter().zip(&mut *rows.weights).enumerate() {
        for l in 0..LANES {
            let floor = if active(k, l, scores[l]) { job.floor as f32 } else { 0.0 };
            weights[l] = scale * (floor + share[l] * weights[l]);
        }
    }
}
