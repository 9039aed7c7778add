//! The points that the stages read, a vector for each age: from whatever layout the losses have.
//!
//! Every layout ends in the same vectors, so that a group's result does not depend on it:
//!
//! * Rows that lie beside each other (time-major) have their points of one age in one load.
//! * Rows whose points lie beside each other (row-major) are loaded eight numbers at a time, in the order of the memory, and
//!   turned: short windows whole, of long ones the newest points. A mean over a long window is added up before it is turned,
//!   because its partial sums are as many as a load has numbers.
//! * Anything else is loaded number by number.

use super::Job;
use super::NARROW;
use super::average::partial_sums;
use super::lanes::{LANES, Lanes};
use pulp::{Simd, WithSimd};

/// Points that are taken together; also the number of partial sums of a mean.
pub(super) const CHUNK: usize = crate::single::POINTS_PER_SUM;

/// A vector for each of some neighbouring ages, the newest last.
pub(super) type Columns = [Lanes<f32>];

/// What is read of the rows of a block's components before any of them is used.
pub(super) struct Reads {
    /// Points of rows of at most [`CHUNK`] points, component by component.
    short: [Lanes<f32>; NARROW * CHUNK],
    /// Of longer rows, the newest points, and the partial sums of their means.
    long: Option<LongReads>,
    /// A component's rows before they are turned.
    rows: [[f32; CHUNK]; LANES],
    /// A component's newest points, and its partial sums.
    newest: [Lanes<f32>; CHUNK],
    sums: [Lanes<f32>; CHUNK],
}

/// Numbers of long rows before they are turned. Components lie beside each other, as in the losses.
struct LongReads {
    newest: [[[f32; CHUNK]; NARROW]; LANES],
    sums: [[[f32; CHUNK]; NARROW]; LANES],
}

impl Reads {
    #[inline(always)]
    pub(super) fn new(job: &Job<'_>) -> Self {
        const EMPTY: LongReads =
            LongReads { newest: [[[0.0; CHUNK]; NARROW]; LANES], sums: [[[0.0; CHUNK]; NARROW]; LANES] };
        Self {
            short: [Lanes([0.0; LANES]); NARROW * CHUNK],
            long: (job.time_stride == 1 && job.window > CHUNK).then_some(EMPTY),
            rows: [[0.0; CHUNK]; LANES],
            newest: [Lanes([0.0; LANES]); CHUNK],
            sums: [Lanes([0.0; LANES]); CHUNK],
        }
    }
}

/// Where the newest points of the rows of a vector lie.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// Lane by lane, but for `offset`.
    pub(super) lanes: Spread<'a>,
    /// To be added to each place. Wraps: it may be negative.
    pub(super) offset: usize,
    /// How far on the rows lie that are loaded soon.
    pub(super) ahead: usize,
}

/// How the lanes of a vector are spread over the losses.
#[derive(Clone, Copy)]
pub(super) enum Spread<'a> {
    /// From each to the next as far.
    Even(usize),
    /// Anyhow.
    Listed(&'a [usize; LANES]),
}

impl Places<'_> {
    /// The same rows `distance` further on.
    #[inline(always)]
    pub(super) fn moved(mut self, distance: usize) -> Self {
        self.offset = self.offset.wrapping_add(distance);
        self
    }

    #[inline(always)]
    fn newest(&self, lane: usize) -> usize {
        let place = match self.lanes {
            Spread::Even(step) => lane * step,
            Spread::Listed(places) => places[lane],
        };
        place.wrapping_add(self.offset)
    }
}

/// Reads the rows of a block's first `components` components, as far as it is better done for all of them together. A unit
/// of compilation of its own: fewer things are to be kept in registers that way.
pub(super) struct Read<'a, 'j> {
    pub(super) job: &'a Job<'j>,
    pub(super) components: usize,
    /// Those of the first component.
    pub(super) places: &'a Places<'a>,
    /// How many points each lane has.
    pub(super) counts: &'a Option<Lanes<u32>>,
    pub(super) reads: &'a mut Reads,
}

impl WithSimd for Read<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { job, components, places, counts, reads } = self;
        if job.time_stride != 1 || components == 0 {
            // An age of a component is one load, or as many as there are lanes.
        } else if let Some(long) = &mut reads.long {
            if averages_long_rows(job) {
                read_and_add_long_rows(job, components, places, counts, long);
            } else {
                read_long_rows(job, components, places, long);
            }
        } else if job.component_stride == job.window {
            // The rows of a group are one long row.
            turn_short_rows(job, places, &mut reads.rows, &mut reads.short[..components * job.window]);
        } else {
            for (component, columns) in reads.short.chunks_mut(job.window).take(components).enumerate() {
                turn_short_rows(job, &places.moved(component * job.component_stride), &mut reads.rows, columns);
            }
        }
    }
}

impl Reads {
    /// The newest points of a component whose rows were read, and the partial sums of long means; some points that are not
    /// needed may stand before those that are. `places` are the component's.
    #[inline(always)]
    pub(super) fn component(
        &mut self,
        job: &Job<'_>,
        component: usize,
        places: &Places<'_>,
    ) -> (&Columns, &[Lanes<f32>; CHUNK]) {
        if job.time_stride != 1 {
            let newest = &mut self.newest[CHUNK - job.ages.min(CHUNK)..];
            load_columns(job, places, 0, newest);
            return (newest, &self.sums);
        }
        let Some(long) = &self.long else {
            return (&self.short[component * job.window..][..job.window], &self.sums);
        };
        let averages = averages_long_rows(job);
        if !averages || job.window <= LINE {
            prefetch(job, places);
        }
        if averages {
            self.sums = job.turn.columns(|l| &long.sums[l][component]);
        }
        self.newest = job.turn.columns(|l| &long.newest[l][component]);
        (&self.newest, &self.sums)
    }

    /// As [`Reads::component`] for rows that were not read before: those of a large group.
    #[inline(always)]
    pub(super) fn load(
        &mut self,
        job: &Job<'_>,
        places: &Places<'_>,
        counts: &Option<Lanes<u32>>,
    ) -> (&Columns, &[Lanes<f32>; CHUNK]) {
        let Self { rows, newest, sums, .. } = self;
        if job.time_stride != 1 {
            let newest = &mut newest[CHUNK - job.ages.min(CHUNK)..];
            load_columns(job, places, 0, newest);
            return (newest, sums);
        }
        *newest = turn_rows(job, places, rows);
        if averages_long_rows(job) {
            for l in 0..LANES {
                let end = places.newest(l) + 1;
                rows[l] = partial_sums(&job.losses[end - averaged(job, counts, l)..end]);
            }
            *sums = job.turn.columns(|l| &rows[l]);
        } else if touches(job) {
            read_chunks(job, &places.moved(CHUNK.wrapping_sub(job.window)), rows);
            std::hint::black_box(rows);
        } else if job.component_stride > SKIPPED {
            prefetch(job, places);
        }
        (newest, sums)
    }
}

/// Rows of at most [`CHUNK`] points, the components' one behind the other: as one row of `columns.len()` numbers.
#[inline(always)]
fn turn_short_rows(job: &Job<'_>, places: &Places<'_>, rows: &mut [[f32; CHUNK]; LANES], columns: &mut Columns) {
    let length = columns.len();
    let mut start = 0;
    while start < length {
        // The last load ends with the row, if that is long enough.
        let first = if start + CHUNK > length { length.saturating_sub(CHUNK) } else { start };
        // Of the first component's newest point: what is loaded ends CHUNK numbers behind `first`.
        let turned = turn_rows(job, &places.moved((first + CHUNK).wrapping_sub(job.window)), rows);
        let count = CHUNK.min(length);
        columns[first..first + count].copy_from_slice(&turned[..count]);
        start += CHUNK;
    }
}

/// Rows of more than [`CHUNK`] points: read in the order of the memory, which is what hardware expects.
#[inline(always)]
fn read_long_rows(job: &Job<'_>, components: usize, places: &Places<'_>, reads: &mut LongReads) {
    let (between, stride) = between_rows(job, components);
    for l in 0..LANES {
        let end = places.newest(l) + 1;
        read_rows(&job.losses[end - CHUNK..end + between], stride, &mut reads.newest[l]);
        if touches(job) {
            let older = end - job.window;
            touch_rows(&job.losses[older..older + between + CHUNK], stride);
        }
    }
}

/// From the first of some components' rows to the last, and from each to the next: no less than a row, whatever stride a
/// single component may have.
#[inline(always)]
fn between_rows(job: &Job<'_>, components: usize) -> (usize, usize) {
    ((components - 1) * job.component_stride, job.component_stride.max(job.window))
}

/// The first [`CHUNK`] numbers of rows that lie a stride apart.
#[inline(always)]
fn read_rows(losses: &[f32], stride: usize, reads: &mut [[f32; CHUNK]]) {
    for (read, row) in reads.iter_mut().zip(losses.chunks(stride)) {
        read.copy_from_slice(&row[..CHUNK]);
    }
}

/// Whether the older points of rows are read for nothing but the order of the memory: where they fill just one cache line,
/// skipping it costs more than reading it.
#[inline(always)]
fn touches(job: &Job<'_>) -> bool {
    !averages_long_rows(job) && job.component_stride == job.window && (LINE + CHUNK..=SKIPPED).contains(&job.window)
}

/// Reads the first [`CHUNK`] numbers of rows and forgets them.
#[inline(always)]
fn touch_rows(losses: &[f32], stride: usize) {
    let mut reads = [[0.0; CHUNK]; LANES];
    read_rows(losses, stride, &mut reads);
    std::hint::black_box(&reads);
}

/// As [`read_long_rows`], with the partial sums of the means.
#[inline(always)]
fn read_and_add_long_rows(
    job: &Job<'_>,
    components: usize,
    places: &Places<'_>,
    counts: &Option<Lanes<u32>>,
    reads: &mut LongReads,
) {
    let (between, stride) = between_rows(job, components);
    for l in 0..LANES {
        let end = places.newest(l) + 1;
        let count = averaged(job, counts, l);
        let length = count.max(CHUNK);
        let rows = job.losses[end - length..end + between].chunks(stride);
        for ((newest, sums), row) in reads.newest[l].iter_mut().zip(&mut reads.sums[l]).zip(rows) {
            let row = &row[..length];
            newest.copy_from_slice(&row[length - CHUNK..]);
            *sums = partial_sums(&row[length - count..]);
        }
    }
}

/// Asks for the newest points of the rows that are loaded soon. What lies between those of two rows is skipped: hardware
/// does not see that coming.
#[inline(always)]
fn prefetch(job: &Job<'_>, places: &Places<'_>) {
    for l in 0..LANES {
        job.turn.prefetch(job.losses, places.newest(l).wrapping_add(places.ahead));
    }
}

/// How far on is asked for the points of rows that lie beside each other: every age and component is a place of its own in
/// the memory, more than hardware keeps track of.
const AHEAD_COLUMNS: usize = 2 * LANES;

/// Numbers in a cache line.
const LINE: usize = 16;

/// Distance of two rows above which skipping most of each is worth it: where that is just one cache line, hardware fetches
/// it anyway, and better in order.
const SKIPPED: usize = 2 * LINE;

/// Whether there are means over more than [`CHUNK`] points.
#[inline(always)]
fn averages_long_rows(job: &Job<'_>) -> bool {
    job.wants_means && job.mean_points as usize > CHUNK
}

/// Points in the mean of a lane.
#[inline(always)]
fn averaged(job: &Job<'_>, counts: &Option<Lanes<u32>>, lane: usize) -> usize {
    counts.map_or(job.mean_points, |counts| counts[lane].min(job.mean_points)) as usize
}

/// The points of ages from `age` on.
#[inline(always)]
pub(super) fn load_columns(job: &Job<'_>, places: &Places<'_>, age: usize, columns: &mut Columns) {
    for (i, column) in columns.iter_mut().rev().enumerate() {
        let newer = (age + i) * job.time_stride;
        if let Spread::Even(1) = places.lanes {
            let first = places.newest(0) - newer;
            job.turn.prefetch(job.losses, first + AHEAD_COLUMNS);
            column.0.copy_from_slice(&job.losses[first..first + LANES]);
        } else {
            for l in 0..LANES {
                column[l] = job.losses[places.newest(l) - newer];
            }
        }
    }
}

/// As [`load_columns`] for [`CHUNK`] points of rows whose points lie beside each other.
#[inline(always)]
pub(super) fn load_older_points(job: &Job<'_>, places: &Places<'_>, age: usize) -> [Lanes<f32>; CHUNK] {
    let mut rows = [[0.0; CHUNK]; LANES];
    turn_rows(job, &places.moved(age.wrapping_neg()), &mut rows)
}

/// The [`CHUNK`] numbers that end with each of `places`, turned; zeros where there are no losses. `rows` is scratch.
#[inline(always)]
fn turn_rows(job: &Job<'_>, places: &Places<'_>, rows: &mut [[f32; CHUNK]; LANES]) -> [Lanes<f32>; CHUNK] {
    read_chunks(job, places, rows);
    job.turn.columns(|l| &rows[l])
}

/// The [`CHUNK`] numbers that end with each of `places`; zeros where there are no losses.
///
/// Row by row, by one load: hardware foresees where the next one goes, which it does not of sixteen loads that lie pages
/// further on the next time.
#[inline(always)]
fn read_chunks(job: &Job<'_>, places: &Places<'_>, rows: &mut [[f32; CHUNK]; LANES]) {
    let first = places.newest(0).wrapping_add(1).wrapping_sub(CHUNK);
    let last = places.newest(LANES - 1).wrapping_add(1);
    match (places.lanes, job.losses.get(first..last)) {
        (Spread::Even(step), Some(losses)) if step >= CHUNK => {
            let (row, others) = losses.split_at(CHUNK);
            rows[0].copy_from_slice(row);
            let mut next = others;
            for row in &mut rows[1..] {
                // As long as all but the last: the rest of a row, and the next row's points.
                let Some((behind, after)) = next.split_at_checked(step) else { break };
                *row = *behind.last_chunk().unwrap_or(&[0.0; CHUNK]);
                next = after;
            }
        }
        _ => {
            for l in 0..LANES {
                let end = places.newest(l).wrapping_add(1);
                match job.losses.get(end.wrapping_sub(CHUNK)..end) {
                    Some(row) => rows[l].copy_from_slice(row),
                    None => rows[l] = row_at_the_edge(job.losses, end),
                }
            }
        }
    }
}

#[cold]
#[inline(never)]
fn row_at_the_edge(losses: &[f32], end: usize) -> [f32; CHUNK] {
    std::array::from_fn(|i| losses.get(end.wrapping_sub(CHUNK).wrapping_add(i)).copied().unwrap_or(0.0))
}
