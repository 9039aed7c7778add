//! Slopes and means of vectors of rows: the stages `slopes` and `average` on the points that were loaded.

use super::Job;
use super::average::Average;
use super::lanes::{Int, Lanes, registers};
use super::points::{CHUNK, Columns, Places, load_columns, load_older_points};
use super::slopes::Slopes;
use pulp::Simd;

/// Slopes and means of the rows at `places`, of which the `newest` points are loaded, and the partial `sums` of long means
/// whose points lie beside each other. Slopes are NaN where a row is not ready, means unless they are wanted.
#[inline(always)]
pub(super) fn summarise<S: Simd>(
    simd: S,
    job: &Job<'_>,
    places: &Places<'_>,
    counts: &Option<Lanes<u32>>,
    newest: &Columns,
    sums: &[Lanes<f32>; CHUNK],
) -> (Lanes<f32>, Lanes<f32>) {
    // A length known to the compiler leaves no loops.
    let (mut slopes, means) = match job.ages {
        2 => short::<S, 2>(simd, job, counts, newest),
        3 => short::<S, 3>(simd, job, counts, newest),
        4 => short::<S, 4>(simd, job, counts, newest),
        5 => short::<S, 5>(simd, job, counts, newest),
        6 => short::<S, 6>(simd, job, counts, newest),
        7 => short::<S, 7>(simd, job, counts, newest),
        8 => short::<S, 8>(simd, job, counts, newest),
        _ => long(simd, job, places, counts, newest, sums),
    };
    if let Some(counts) = counts {
        let needed = job.slope_points as u32;
        for r in registers::<S>() {
            let slope = slopes.get(simd, r);
            let early = counts.get(simd, r).is_less(Int::splat(simd, needed));
            slopes.set(r, early.select(slope.all(f32::NAN), slope));
        }
    }
    (slopes, means)
}

/// Windows of which `AGES` points are needed.
#[inline(always)]
fn short<S: Simd, const AGES: usize>(
    simd: S,
    job: &Job<'_>,
    counts: &Option<Lanes<u32>>,
    newest: &Columns,
) -> (Lanes<f32>, Lanes<f32>) {
    let Some(newest) = newest.last_chunk::<AGES>() else { return (Lanes::splat(f32::NAN), Lanes::splat(f32::NAN)) };
    let mut slopes = Slopes::new();
    slopes.add(simd, job.differences, newest, 0, if job.slope_points == AGES { AGES } else { job.slope_points });
    let mut means = Lanes::splat(f32::NAN);
    if job.wants_means {
        let mut average = Average::new();
        let count = job.mean_points as usize;
        average.add(simd, counts, newest, 0, if count == AGES { AGES } else { count });
        means = average.finish(simd, job.mean_points, counts);
    }
    (slopes.finish(simd), means)
}

/// Windows of which more than [`CHUNK`] points are needed.
#[inline(always)]
fn long<S: Simd>(
    simd: S,
    job: &Job<'_>,
    places: &Places<'_>,
    counts: &Option<Lanes<u32>>,
    newest: &Columns,
    sums: &[Lanes<f32>; CHUNK],
) -> (Lanes<f32>, Lanes<f32>) {
    let in_rows = job.time_stride == 1;
    // Partial sums of rows whose points lie beside each other were made when they were loaded.
    let mean_points = if job.wants_means { job.mean_points as usize } else { 0 };
    let has_sums = in_rows && mean_points > CHUNK;
    let mut average = if has_sums { Average::of_sums(*sums) } else { Average::new() };
    let to_add = if has_sums { 0 } else { mean_points };

    let mut slopes = Slopes::new();
    slopes.add(simd, job.differences, newest, 0, job.slope_points.min(CHUNK));
    average.add(simd, counts, newest, 0, to_add.min(CHUNK));
    let last = job.slope_points.max(to_add);
    let mut columns = [Lanes::splat(0.0); CHUNK];
    for age in (CHUNK..last).step_by(CHUNK) {
        if in_rows {
            columns = load_older_points(job, places, age);
        } else {
            load_columns(job, places, age, &mut columns[CHUNK - (last - age).min(CHUNK)..]);
        }
        if age < job.slope_points {
            slopes.add(simd, job.differences, &columns, age, (job.slope_points - age).min(CHUNK));
        }
        if age < to_add {
            average.add(simd, counts, &columns, age, (to_add - age).min(CHUNK));
        }
    }
    let means = if job.wants_means { average.finish(simd, job.mean_points, counts) } else { Lanes::splat(f32::NAN) };
    (slopes.finish(simd), means)
}
