//! The stages in their order for one block: as many groups as there are lanes, or one group with many components.

use super::Job;
use super::average::Average;
use super::exp::parts;
use super::lanes::{Across, Components, Groups, LANES, Lanes, any};
use super::normalize::normalize;
use super::outputs::{Chunk, Members};
use super::points::{CHUNK, Newest, Rows};
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
struct Known {
    /// Points so far, at most the window.
    points: Lanes<u32>,
    beta: Lanes<f32>,
}

impl Known {
    #[inline(always)]
    fn of_lanes(job: &Job<'_>, groups: &Members<'_>) -> Self {
        let mut known = Self { points: Lanes::splat(job.window as u32), beta: Lanes::splat(job.beta) };
        if let Some(points) = job.points {
            for lane in 0..LANES {
                known.points[lane] = points[groups.group(lane)].min(job.window as u32);
            }
        }
        if let Some(betas) = job.betas {
            for lane in 0..LANES {
                known.beta[lane] = betas[groups.group(lane)];
            }
        }
        known
    }

    fn of_group(job: &Job<'_>, group: usize) -> Self {
        let window = job.window as u32;
        Self {
            points: Lanes::splat(job.points.map_or(window, |points| points[group].min(window))),
            beta: Lanes::splat(job.betas.map_or(job.beta, |betas| betas[group])),
        }
    }
}

/// Weighs the groups of `chunk`.
#[inline(always)]
pub(super) fn weigh_chunk(job: &Job<'_>, chunk: &mut Chunk<'_>) {
    if let Some(n) = job.uniform_components {
        let groups = chunk.groups.clone();
        if n <= NARROW {
            let mut scratch = NarrowScratch::new();
            for first in groups.clone().step_by(LANES) {
                let members = Members::Run { first, count: (groups.end - first).min(LANES) };
                weigh_narrow(job, n, &members, &mut scratch, chunk);
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
                weigh_narrow(job, n, &Members::Listed(members), &mut scratch, chunk);
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
fn weigh_narrow(job: &Job<'_>, n: usize, groups: &Members<'_>, scratch: &mut NarrowScratch, chunk: &mut Chunk<'_>) {
    let mut rows = scratch.rows(n);
    let known = Known::of_lanes(job, groups);
    let last = (job.window - 1) * job.time_stride;
    let mut newest = match *groups {
        Members::Run { first, count: LANES } => {
            Newest::Even { first: job.loss_base(first) + last, step: job.group_stride }
        }
        _ => {
            let mut places = Lanes::splat(0usize);
            for lane in 0..LANES {
                places[lane] = job.loss_base(groups.group(lane)) + last;
            }
            Newest::Each(places)
        }
    };
    for component in 0..n {
        (rows.slopes[component], rows.means[component]) = summarise(job, newest, &known.points);
        newest.advance(job.component_stride);
    }
    let status = weigh_rows::<Groups>(job, n, &known, &mut rows, |lane| job.weight_base(groups.group(lane)));
    chunk.weights.store_groups(job, chunk.groups.start, groups, rows.weights);
    if let Some(slopes) = &mut chunk.slopes {
        slopes.store_groups(job, chunk.groups.start, groups, rows.slopes);
    }
    if let Some(means) = &mut chunk.means {
        means.store_groups(job, chunk.groups.start, groups, rows.means);
    }
    if let Some(statuses) = &mut chunk.status {
        for lane in 0..groups.count() {
            statuses[groups.group(lane) - chunk.groups.start] = Status::from_bits(status[lane]);
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
        let known = Known::of_group(job, group);
        let newest = job.loss_base(group) + (job.window - 1) * job.time_stride;
        for k in 0..rows.slopes.len() {
            let first = newest + k * LANES * job.component_stride;
            let places = if (k + 1) * LANES <= n {
                Newest::Even { first, step: job.component_stride }
            } else {
                // Lanes without a component repeat the last one.
                let mut places = Lanes::splat(0usize);
                for l in 0..LANES {
                    places[l] = newest + Components::component(k, l).min(n - 1) * job.component_stride;
                }
                Newest::Each(places)
            };
            (rows.slopes[k], rows.means[k]) = summarise(job, places, &known.points);
        }
        let status = weigh_rows::<Components>(job, n, &known, &mut rows, |_| job.weight_base(group));
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

/// Slopes and means of a vector of rows in one pass over their points, newest first. Means only where they are wanted.
#[inline(always)]
fn summarise(job: &Job<'_>, newest: Newest, points: &Lanes<u32>) -> (Lanes<f32>, Lanes<f32>) {
    let rows = Rows { losses: job.losses, newest, stride: job.time_stride, turn: job.turn };
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
fn one_chunk<const AGES: usize>(job: &Job<'_>, rows: &Rows<'_>, points: &Lanes<u32>) -> (Lanes<f32>, Lanes<f32>) {
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
    known: &Known,
    rows: &mut Scratch<'_>,
    weight_base: impl Fn(usize) -> usize,
) -> Lanes<u32> {
    let vectors = rows.slopes.len();
    let mut beta = known.beta;

    // Scores of rows that do not count are NaN from here on.
    let mut bad = Lanes::splat(0u32);
    for k in 0..vectors {
        let mut scores = rows.slopes[k];
        let means = if job.uses_means { rows.means[k] } else { scores };
        for l in 0..LANES {
            let present = A::component(k, l) < n;
            // Both are finite or NaN.
            let nan = scores[l].is_nan() | means[l].is_nan();
            bad[l] |= u32::from(nan & present);
            scores[l] = if nan | !present { f32::NAN } else { scores[l] };
        }
        rows.scores[k] = scores;
    }
    let bad = A::join(bad, |a, b| a | b);
    let mut status = Lanes::splat(0u32);
    for l in 0..LANES {
        let ready = known.points[l] as usize >= job.slope_points;
        let bad_beta = beta[l].is_nan() | (beta[l].abs() > crate::MAX_BETA as f32);
        let flags = if bad_beta { Status::NON_FINITE_BETA.bits() } else { 0 }
            | if bad[l] != 0 { Status::NON_FINITE.bits() } else { 0 };
        status[l] = if ready { flags } else { Status::NOT_READY.bits() };
    }
    // Nearly always there is nothing to be seen to.
    let answers = if any(&status) { Some(answers::<A>(job, n, &status, rows)) } else { None };
    let mut computed = Lanes::splat(u32::MAX);
    if let Some(answers) = &answers {
        for l in 0..LANES {
            if matches!(answers[l], Answer::Neutral | Answer::Kept) {
                status[l] |= job.held.bits();
            }
            if answers[l] != Answer::Computed {
                computed[l] = 0;
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
        weigh_with_factors::<A>(job, n, &beta, &computed, rows, &mut flags);
    } else {
        plain::<A>(&beta, job.epsilon, rows.scores, rows.weights);
    }
    if job.floor > 0.0 || job.scales {
        finish::<A>(job, n, rows);
    }
    for l in 0..LANES {
        status[l] |= computed[l] & flags[l];
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
fn weigh_with_factors<A: Across>(
    job: &Job<'_>,
    n: usize,
    beta: &Lanes<f32>,
    computed: &Lanes<u32>,
    rows: &mut Scratch<'_>,
    flags: &mut Lanes<u32>,
) {
    let vectors = rows.slopes.len();
    let mut without_means = computed.map(|computed| u32::from(!job.uses_means || computed == 0));
    let mut negative = Lanes::splat(0u32);
    loop {
        for k in 0..vectors {
            let mut prior = Lanes::splat(1.0f32);
            let mut prior_exponent = Lanes::splat(0i32);
            if let Some(factors) = job.prior {
                for l in 0..LANES {
                    let component = A::component(k, l);
                    (prior[l], prior_exponent[l]) = if component < n { factors[component] } else { (1.0, 0) };
                }
            }
            if job.uses_means {
                let (means, scores) = (rows.means[k], rows.scores[k]);
                let clamps = job.on_negative_mean == OnNegativeMean::Clamp;
                for l in 0..LANES {
                    let below = means[l] < 0.0;
                    negative[l] |= u32::from(below & !scores[l].is_nan());
                    let (mantissa, exponent) = parts(if clamps & below { 0.0 } else { means[l] });
                    let without = without_means[l] != 0;
                    prior[l] *= if without { 1.0 } else { mantissa };
                    prior_exponent[l] += if without { 0 } else { exponent };
                }
            }
            rows.mantissas[k] = prior;
            rows.exponents[k] = prior_exponent;
        }
        let factors = Factors { mantissas: rows.mantissas, exponents: rows.exponents };
        let none = weighted::<A>(beta, job.epsilon_parts, rows.scores, &factors, rows.terms, rows.weights);
        let mut again = false;
        for l in 0..LANES {
            let zero = none[l] != 0 && without_means[l] == 0;
            without_means[l] |= u32::from(zero);
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
