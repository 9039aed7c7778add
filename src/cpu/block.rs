//! The stages in their order for one block: as many groups as there are lanes, or one group with many components.

use super::Job;
use super::average::Average;
use super::exp::parts;
use super::lanes::{Across, Components, Groups, LANES, Lanes, any};
use super::normalize::normalize;
use super::outputs::{Chunk, Places};
use super::points::{CHUNK, Rows};
use super::slopes::Slopes;
use super::softmax::{Factors, plain, weighted};
use crate::config::{Normalize, OnNegativeMean, OnNonFinite};
use crate::status::Status;

/// Groups with up to this many components are weighed a lane each, larger ones with a lane for each component. It
/// depends on nothing but the group's own size, so that a group's result is the same in any batch.
pub(super) const NARROW: usize = 16;

/// What the stages leave behind for each vector of rows.
struct Scratch<'a> {
    slopes: &'a mut [Lanes<f32>],
    means: &'a mut [Lanes<f32>],
    scores: &'a mut [Lanes<f32>],
    weights: &'a mut [Lanes<f32>],
    mantissas: &'a mut [Lanes<f32>],
    exponents: &'a mut [Lanes<i32>],
    terms: &'a mut [Lanes<i32>],
}

/// What is known of the group of each lane before its losses are read.
struct Members {
    /// Points so far, at most the window.
    points: Lanes<u32>,
    beta: Lanes<f32>,
}

/// Weighs the groups of `chunk`.
#[inline(always)]
pub(super) fn weigh_chunk(job: &Job<'_>, chunk: &mut Chunk<'_>) {
    if let Some(n) = job.uniform_components {
        let groups = chunk.groups.clone();
        if n <= NARROW {
            let mut scratch = NarrowScratch::new();
            for start in groups.clone().step_by(LANES) {
                let mut members = [0; LANES];
                let count = (groups.end - start).min(LANES);
                for (lane, member) in members.iter_mut().enumerate() {
                    *member = start + lane;
                }
                weigh_narrow(job, n, &members[..count], &mut scratch, chunk);
            }
        } else {
            let mut scratch = WideScratch::new(n);
            for group in groups {
                weigh_wide(job, n, group, &mut scratch, chunk);
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
                weigh_narrow(job, n, members, &mut scratch, chunk);
            }
        } else {
            let mut scratch = WideScratch::new(n);
            for &group in alike {
                weigh_wide(job, n, group, &mut scratch, chunk);
            }
        }
    }
}

/// Scratch of a block of small groups, on the stack.
struct NarrowScratch {
    floats: [[Lanes<f32>; NARROW]; 5],
    integers: [[Lanes<i32>; NARROW]; 2],
}

impl NarrowScratch {
    #[inline(always)]
    fn new() -> Self {
        Self { floats: [[Lanes::splat(0.0); NARROW]; 5], integers: [[Lanes::splat(0); NARROW]; 2] }
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

/// Scratch of one large group.
struct WideScratch {
    floats: [Vec<Lanes<f32>>; 5],
    integers: [Vec<Lanes<i32>>; 2],
}

impl WideScratch {
    fn new(n: usize) -> Self {
        let vectors = n.div_ceil(LANES);
        Self {
            floats: std::array::from_fn(|_| vec![Lanes::splat(0.0); vectors]),
            integers: std::array::from_fn(|_| vec![Lanes::splat(0); vectors]),
        }
    }

    fn rows(&mut self) -> Scratch<'_> {
        let [slopes, means, scores, weights, mantissas] = &mut self.floats;
        let [exponents, terms] = &mut self.integers;
        Scratch { slopes, means, scores, weights, mantissas, exponents, terms }
    }
}

#[inline(always)]
fn weigh_narrow(job: &Job<'_>, n: usize, groups: &[usize], scratch: &mut NarrowScratch, chunk: &mut Chunk<'_>) {
    let count = groups.len();
    // Lanes without a group repeat the last one.
    let mut member = [0; LANES];
    for (lane, member) in member.iter_mut().enumerate() {
        *member = groups[lane.min(count - 1)];
    }
    let mut rows = scratch.rows(n);
    let mut members = Members { points: Lanes::splat(job.window as u32), beta: Lanes::splat(job.beta) };
    let mut newest = Lanes::splat(0usize);
    for lane in 0..LANES {
        let group = member[lane];
        if let Some(points) = job.points {
            members.points[lane] = points[group].min(job.window as u32);
        }
        if let Some(betas) = job.betas {
            members.beta[lane] = betas[group];
        }
        newest[lane] = job.loss_base(group) + (job.window - 1) * job.time_stride;
    }
    for component in 0..n {
        let (slope, mean) = summarise(job, newest, &members.points);
        rows.slopes[component] = slope;
        rows.means[component] = mean;
        newest = newest.map(|place| place + job.component_stride);
    }
    let mut bases = [0; LANES];
    let mut local = [0; LANES];
    for lane in 0..count {
        bases[lane] = job.weight_base(groups[lane]);
        local[lane] = groups[lane] - chunk.groups.start;
    }
    let places = Places {
        bases: &bases[..count],
        groups: &local[..count],
        group_stride: job.weight_group_stride,
        component_stride: job.weight_component_stride,
    };
    let status = weigh_rows::<Groups>(job, n, &members, &mut rows, &places);
    let weights = &rows.weights[..];
    chunk.weights.store_groups(&places, weights);
    if let Some(slopes) = &mut chunk.slopes {
        slopes.store_groups(&places, rows.slopes);
    }
    if let Some(means) = &mut chunk.means {
        means.store_groups(&places, rows.means);
    }
    if let Some(statuses) = &mut chunk.status {
        for lane in 0..count {
            statuses[local[lane]] = Status::from_bits(status[lane]);
        }
    }
}

fn weigh_wide(job: &Job<'_>, n: usize, group: usize, scratch: &mut WideScratch, chunk: &mut Chunk<'_>) {
    pulp::Arch::new().dispatch(Wide { job, n, group, scratch, chunk });
}

/// Its own unit of compilation, so that blocks of small groups stay small.
struct Wide<'a, 'c, 'j> {
    job: &'a Job<'j>,
    n: usize,
    group: usize,
    scratch: &'a mut WideScratch,
    chunk: &'a mut Chunk<'c>,
}

impl pulp::NullaryFnOnce for Wide<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { job, n, group, scratch, chunk } = self;
        let mut rows = scratch.rows();
        let window = job.window as u32;
        let members = Members {
            points: Lanes::splat(job.points.map_or(window, |points| points[group].min(window))),
            beta: Lanes::splat(job.betas.map_or(job.beta, |betas| betas[group])),
        };
        let newest = job.loss_base(group) + (job.window - 1) * job.time_stride;
        for k in 0..rows.slopes.len() {
            let mut places = Lanes::splat(0usize);
            for l in 0..LANES {
                // Lanes without a component repeat the last one.
                places[l] = newest + Components::component(k, l).min(n - 1) * job.component_stride;
            }
            (rows.slopes[k], rows.means[k]) = summarise(job, places, &members.points);
        }
        let places = Places {
            bases: &[job.weight_base(group)],
            groups: &[group - chunk.groups.start],
            group_stride: job.weight_group_stride,
            component_stride: job.weight_component_stride,
        };
        let status = weigh_rows::<Components>(job, n, &members, &mut rows, &places);
        chunk.weights.store_components(&places, n, rows.weights);
        if let Some(slopes) = &mut chunk.slopes {
            slopes.store_components(&places, n, rows.slopes);
        }
        if let Some(means) = &mut chunk.means {
            means.store_components(&places, n, rows.means);
        }
        if let Some(statuses) = &mut chunk.status {
            statuses[places.groups[0]] = Status::from_bits(status[0]);
        }
    }
}

/// Slopes and means of a vector of rows in one pass over their points, newest first. Means only where they are wanted.
#[inline(always)]
fn summarise(job: &Job<'_>, newest: Lanes<usize>, points: &Lanes<u32>) -> (Lanes<f32>, Lanes<f32>) {
    let rows = Rows::new(job.losses, newest, job.time_stride);
    // One chunk of a length known to the compiler has no loops.
    let (slopes, means) = match job.ages {
        2 => one_chunk::<2>(job, &rows, points),
        3 => one_chunk::<3>(job, &rows, points),
        4 => one_chunk::<4>(job, &rows, points),
        5 => one_chunk::<5>(job, &rows, points),
        6 => one_chunk::<6>(job, &rows, points),
        7 => one_chunk::<7>(job, &rows, points),
        8 => one_chunk::<8>(job, &rows, points),
        ages => {
            let averaged = points.map(|points| points.min(job.mean_points));
            let mut slopes = Slopes::new();
            let mut average = Average::new();
            let mut age = 0;
            while age < ages {
                let count = (ages - age).min(CHUNK);
                let chunk = rows.chunk(age, count);
                if age < job.slope_points {
                    slopes.add(job.differences, &chunk, age, (job.slope_points - age).min(CHUNK));
                }
                if job.wants_means {
                    average.add(&averaged, &chunk, age, count);
                }
                age += CHUNK;
            }
            (slopes.finish(), average.finish(&averaged))
        }
    };
    (slopes.zip(*points, |slope, points| if points as usize >= job.slope_points { slope } else { f32::NAN }), means)
}

#[inline(always)]
fn one_chunk<const AGES: usize>(
    job: &Job<'_>,
    rows: &Rows<'_>,
    points: &Lanes<u32>,
) -> (Lanes<f32>, Lanes<f32>) {
    let chunk = rows.chunk(0, AGES);
    let mut slopes = Slopes::new();
    if job.slope_points == AGES {
        slopes.add(job.differences, &chunk, 0, AGES);
    } else {
        slopes.add(job.differences, &chunk, 0, job.slope_points);
    }
    let mut means = Lanes::splat(f32::NAN);
    if job.wants_means {
        let averaged = points.map(|points| points.min(job.mean_points));
        let mut average = Average::new();
        average.add(&averaged, &chunk, 0, AGES);
        means = average.finish(&averaged);
    }
    (slopes.finish(), means)
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
fn weigh_rows<A: Across>(
    job: &Job<'_>,
    n: usize,
    members: &Members,
    rows: &mut Scratch<'_>,
    places: &Places<'_>,
) -> Lanes<u32> {
    let vectors = rows.slopes.len();
    let mut beta = members.beta;

    // Scores of rows that do not count are NaN from here on.
    let mut bad = Lanes::splat(0u32);
    for k in 0..vectors {
        for l in 0..LANES {
            let finite = rows.slopes[k][l].is_finite() & (!job.uses_means | rows.means[k][l].is_finite());
            let present = A::component(k, l) < n;
            bad[l] |= u32::from(!finite & present);
            rows.scores[k][l] = if finite & present { rows.slopes[k][l] } else { f32::NAN };
        }
    }
    let bad = A::join(bad, |a, b| a | b);
    let mut status = Lanes::splat(0u32);
    for l in 0..LANES {
        let ready = members.points[l] as usize >= job.slope_points;
        let bad_beta = !(beta[l].abs() <= crate::MAX_BETA as f32);
        let flags = if bad_beta { Status::NON_FINITE_BETA.bits() } else { 0 }
            | if bad[l] != 0 { Status::NON_FINITE.bits() } else { 0 };
        status[l] = if ready { flags } else { Status::NOT_READY.bits() };
    }
    let mut answer = Lanes([Answer::Computed; LANES]);
    let exceptional = any(&status);
    if exceptional {
        answer = answers::<A>(job, n, &status, rows);
        for l in 0..LANES {
            if answer[l] != Answer::Computed {
                beta[l] = 0.0;
                for k in 0..vectors {
                    rows.scores[k][l] = if A::component(k, l) < n { 0.0 } else { f32::NAN };
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
        let zero = normalize::<A>(job.normalize, job.epsilon, rows.scores);
        flags = zero.map(|zero| if zero != 0 { Status::ZERO_SLOPE_SUM.bits() } else { 0 });
    }
    if job.uses_means || job.prior.is_some() {
        weigh_with_factors::<A>(job, n, &beta, &answer, rows, &mut flags);
    } else {
        plain::<A>(&beta, job.epsilon, rows.scores, rows.weights);
    }
    if job.floor > 0.0 || job.scales {
        finish::<A>(job, n, rows);
    }
    for l in 0..LANES {
        status[l] |= if answer[l] == Answer::Computed { flags[l] } else { 0 };
    }
    if exceptional {
        for l in 0..LANES {
            for k in 0..vectors {
                match answer[l] {
                    Answer::Computed | Answer::Neutral => {}
                    Answer::NotANumber => rows.weights[k][l] = f32::NAN,
                    Answer::Kept => {
                        if let (Some(previous), Some(base)) = (job.previous, places.bases.get(A::group(l)))
                            && A::component(k, l) < n
                        {
                            rows.weights[k][l] = previous[base + A::component(k, l) * places.component_stride];
                        }
                    }
                }
            }
        }
    }
    status
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
fn weigh_with_factors<A: Across>(
    job: &Job<'_>,
    n: usize,
    beta: &Lanes<f32>,
    answer: &Lanes<Answer>,
    rows: &mut Scratch<'_>,
    flags: &mut Lanes<u32>,
) {
    let vectors = rows.slopes.len();
    let mut without_means = answer.map(|answer| !job.uses_means || answer != Answer::Computed);
    let mut negative = Lanes::splat(0u32);
    loop {
        for k in 0..vectors {
            for l in 0..LANES {
                let component = A::component(k, l);
                let (prior, prior_exponent) = match job.prior {
                    Some(prior) if component < n => prior[component],
                    _ => (1.0, 0),
                };
                let mut mean = rows.means[k][l];
                negative[l] |= u32::from(mean < 0.0 && !rows.scores[k][l].is_nan());
                if job.on_negative_mean == OnNegativeMean::Clamp && mean < 0.0 {
                    mean = 0.0;
                }
                let (mantissa, exponent) = if without_means[l] { (1.0, 0) } else { parts(mean) };
                rows.mantissas[k][l] = prior * mantissa;
                rows.exponents[k][l] = prior_exponent + exponent;
            }
        }
        let factors = Factors { mantissas: rows.mantissas, exponents: rows.exponents };
        let none = weighted::<A>(beta, job.epsilon_parts, rows.scores, &factors, rows.terms, rows.weights);
        let mut again = false;
        for l in 0..LANES {
            let zero = none[l] != 0 && !without_means[l];
            without_means[l] |= zero;
            flags[l] |= if zero { Status::ZERO_MEAN_LOSS.bits() } else { 0 };
            again |= zero;
        }
        if !again {
            break;
        }
    }
    if job.uses_means {
        let negative = A::join(negative, |a, b| a | b);
        for l in 0..LANES {
            flags[l] |= if negative[l] != 0 { Status::NEGATIVE_MEAN_LOSS.bits() } else { 0 };
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
