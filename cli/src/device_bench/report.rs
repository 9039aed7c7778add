//! Everything about the kernels on one GPU as one table, in a file that says where and how it was made.

use super::{LARGE, LARGE_QUICK, Pattern, Steps, gpu_error, open, plan, time};
use crate::args::{BenchArguments, Variant};
use crate::bench::{losses, parse_shape};
use crate::error::Error;
use crate::output::Output;
use serde::Serialize;
use softadapt::gpu::{KernelOptions, Stage, Traffic, Tuning};
use softadapt::host::{Context, DevicePath};
use softadapt::{Batch, Layout, Outputs, Plan};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Small batches, where fixed costs show.
const SMALL: [[usize; 3]; 7] =
    [[1, 3, 5], [1000, 3, 5], [1000, 8, 16], [1000, 64, 32], [10_000, 3, 5], [10_000, 64, 32], [100_000, 3, 5]];
const SMALL_QUICK: [[usize; 3]; 3] = [[1, 3, 5], [1000, 3, 5], [1000, 8, 16]];
/// Groups of the balancer, each with these components and windows.
const STEPS: [usize; 3] = [1000, 100_000, 1_000_000];
const STEPS_QUICK: [usize; 2] = [1000, 10_000];
const STEP_ROWS: [[usize; 2]; 2] = [[3, 5], [16, 32]];
/// Batches that come from host memory.
const HOST: [[usize; 3]; 2] = [[4_000_000, 3, 5], [400_000, 16, 64]];
const HOST_QUICK: [[usize; 3]; 2] = [[100_000, 3, 5], [2_000, 16, 64]];
/// Copies that are compared with are no longer than this: rates do not change beyond.
const MOST_COPIED: u64 = 1 << 30;
/// Submissions of which the median is taken.
const RUNS: usize = 15;
const RUNS_QUICK: usize = 5;

const VARIANTS: [Variant; 3] = [Variant::Original, Variant::Normalized, Variant::LossWeighted];

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    groups: usize,
    components: usize,
    window: usize,
    layout: &'static str,
    variant: &'static str,
    path: String,
    /// Median and least time, by the device's clock unless `path` says otherwise.
    us: f64,
    least_us: f64,
    /// Bytes that have to be moved, in whole sectors.
    bytes: u64,
    gb_per_s: f64,
    /// The rate as a percentage of what it is compared with: a copy of as many bytes, or a plain upload.
    percent: Option<f64>,
    /// How the kernel is laid out on the device.
    tuning: String,
}

struct Report<'a> {
    context: &'a Context,
    runs: usize,
    json: bool,
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Bytes per nanosecond of copies, by the bytes that they move.
    copies: BTreeMap<u64, f64>,
}

/// Runs the command.
///
/// # Errors
/// No GPU, wrong answers, or a file that cannot be written. What does not fit the device is left out with a note.
pub(crate) fn run(arguments: &BenchArguments, path: &Path) -> Result<(), Error> {
    let output = Output::new(Some(path))?;
    let context = open(arguments)?;
    let asked = arguments.shapes.iter().map(|text| parse_shape(text)).collect::<Result<Vec<[usize; 3]>, Error>>()?;
    let quick = arguments.quick;
    let mut report = Report {
        context: &context,
        runs: if quick { RUNS_QUICK } else { RUNS },
        json: arguments.json,
        rows: Vec::new(),
        notes: Vec::new(),
        copies: BTreeMap::new(),
    };
    if !report.json {
        print(&format!("{}\n\n{HEADER}", context.adapter()))?;
    }
    if asked.is_empty() {
        let large: &[_] = if quick { &LARGE_QUICK } else { &LARGE };
        for &shape in large {
            report.batch(shape, true)?;
        }
        let small: &[_] = if quick { &SMALL_QUICK } else { &SMALL };
        for &shape in small {
            report.batch(shape, false)?;
        }
        report.nothing()?;
        let steps: &[_] = if quick { &STEPS_QUICK } else { &STEPS };
        for [components, window] in STEP_ROWS {
            for &groups in steps {
                report.step([groups, components, window])?;
            }
        }
        let host: &[_] = if quick { &HOST_QUICK } else { &HOST };
        for &shape in host {
            report.host(shape)?;
        }
    } else {
        for &shape in &asked {
            report.batch(shape, true)?;
            report.step(shape)?;
            report.host(shape)?;
        }
    }
    let text = report.text();
    output.write(|out| out.write_all(text.as_bytes()))
}

const HEADER: &str = "| groups x components x window | layout | variant | path | us | least us | GB/s | % | on the device |\n|---|---|---|---|---:|---:|---:|---:|---|";

fn print(line: &str) -> Result<(), Error> {
    Output::Stdout.write(|out| writeln!(out, "{line}"))
}

impl Row {
    fn line(&self) -> String {
        let Self { groups, components, window, layout, variant, path, us, least_us, gb_per_s, tuning, .. } = self;
        let shape = if *groups == 0 { "-".to_owned() } else { format!("{groups}x{components}x{window}") };
        let percent = self.percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0}"));
        format!(
            "| {shape} | {layout} | {variant} | {path} | {us:.2} | {least_us:.2} | {gb_per_s:.2} | {percent} | {tuning} |"
        )
    }
}

impl Report<'_> {
    /// Adds a line, shown at once.
    fn add(&mut self, row: Row) -> Result<(), Error> {
        if self.json {
            let text = serde_json::to_string(&row).map_err(|error| Error::TooLarge { reason: error.to_string() })?;
            print(&text)?;
        } else {
            print(&row.line())?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Passes over what the device has no room for; wrong answers end the command.
    fn or_note<T>(&mut self, what: &str, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::Backend(_)) => {
                let note = format!("{what} not measured: {error}");
                if !self.json {
                    print(&format!("({note})"))?;
                }
                self.notes.push(note);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes per nanosecond of a copy that moves so many bytes, half of them read and half written.
    fn copy_rate(&mut self, moved: u64) -> Result<f64, Error> {
        let bytes = (moved / 2).clamp(32, MOST_COPIED.min(self.context.adapter().max_buffer_bytes)) / 32 * 32;
        if let Some(rate) = self.copies.get(&bytes) {
            return Ok(*rate);
        }
        let (median, _) = time(self.runs, |repeats, runs| self.context.time_copies(bytes, repeats, runs))?;
        let rate = 2.0 * bytes as f64 / median.as_nanos().max(1) as f64;
        self.copies.insert(bytes, rate);
        Ok(rate)
    }

    /// One shape as a batch: in both layouts with all variants and the staged kernels, or row-major and fused alone.
    fn batch(&mut self, shape: [usize; 3], everything: bool) -> Result<(), Error> {
        let [groups, components, window] = shape;
        let pattern = Pattern::new(shape)?;
        let layouts: &[Layout] = if everything { &[Layout::RowMajor, Layout::TimeMajor] } else { &[Layout::RowMajor] };
        for &layout in layouts {
            let name = if layout == Layout::TimeMajor { "time-major" } else { "row-major" };
            let label = format!("{groups}x{components}x{window} {name}");
            let workload = pattern.workload(self.context, groups, layout);
            let Some(workload) = self.or_note(&label, workload)? else { continue };
            let variants: &[Variant] = if everything { &VARIANTS } else { &VARIANTS[..1] };
            for &variant in variants {
                let whole = plan(variant, shape, layout)?;
                let expected = pattern.weights(self.context, variant)?;
                let workload = workload.with_config(whole.config()).map_err(gpu_error)?;
                let mut paths = vec![DevicePath::Fused];
                if everything {
                    paths.push(DevicePath::Staged);
                    paths.extend(stages(&whole).into_iter().map(DevicePath::Stage));
                }
                for path in paths {
                    let (path_name, stages) = match path {
                        DevicePath::Fused => ("fused".to_owned(), vec![Stage::Fused]),
                        DevicePath::Stage(stage) => (stage.entry_point().to_owned(), vec![stage]),
                        _ => ("staged".to_owned(), stages(&whole)),
                    };
                    let measured = if matches!(path, DevicePath::Stage(_)) {
                        Ok(())
                    } else {
                        pattern.check(&workload, path, &expected)
                    }
                    .and_then(|()| time(self.runs, |repeats, runs| workload.time(path, repeats, runs)));
                    let Some((median, least)) = self.or_note(&format!("{label} {path_name}"), measured)? else {
                        continue;
                    };
                    // The sectors of the parts; those that a border between parts cuts do not count.
                    let mut traffic = Traffic::default();
                    for part in workload.plans() {
                        for &stage in &stages {
                            traffic += Traffic::of_stage(part, stage, KernelOptions::default());
                        }
                    }
                    let tuning = match (path, workload.plans().next()) {
                        (DevicePath::Staged, _) | (_, None) => "-".to_owned(),
                        (_, Some(part)) => {
                            let kernel = self.context.kernels().kernel(part, stages[0], KernelOptions::default());
                            kernel.map_or_else(|error| error.to_string(), |kernel| short(kernel.tuning()))
                        }
                    };
                    let copy = self.copy_rate(traffic.total())?;
                    let rate = traffic.total() as f64 / median.as_nanos().max(1) as f64;
                    self.add(Row {
                        groups,
                        components,
                        window,
                        layout: name,
                        variant: variant.name(),
                        path: path_name,
                        us: micros(median),
                        least_us: micros(least),
                        bytes: traffic.total(),
                        gb_per_s: rate,
                        percent: Some(100.0 * rate / copy),
                        tuning,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// A dispatch that does nothing: alone on the device, and with submission and waiting.
    fn nothing(&mut self) -> Result<(), Error> {
        let row = |path: &str, (median, least): (Duration, Duration)| Row {
            groups: 0,
            components: 0,
            window: 0,
            layout: "-",
            variant: "-",
            path: path.to_owned(),
            us: micros(median),
            least_us: micros(least),
            bytes: 0,
            gb_per_s: 0.0,
            percent: None,
            tuning: "-".to_owned(),
        };
        let device = time(self.runs, |repeats, runs| self.context.time_nothing(repeats, runs))?;
        self.add(row("empty dispatch", device))?;
        let whole = wholes(&self.context.time_nothing(1, 10 * self.runs).map_err(gpu_error)?);
        self.add(row("empty dispatch, submitted and waited for", whole))
    }

    /// A step of the balancer.
    fn step(&mut self, [groups, components, window]: [usize; 3]) -> Result<(), Error> {
        let label = format!("step of {groups}x{components}x{window}");
        let result = self.measure_step([groups, components, window]);
        self.or_note(&label, result)?;
        Ok(())
    }

    fn measure_step(&mut self, [groups, components, window]: [usize; 3]) -> Result<(), Error> {
        let steps = Steps::new([groups, components, window])?;
        let (balancer, workload) = (&steps.plan, steps.workload(self.context)?);
        let traffic = Traffic::of_step(balancer);
        let measured = time(self.runs, |repeats, runs| workload.time(repeats, runs))?;
        let whole = wholes(&workload.time(1, 10 * self.runs).map_err(gpu_error)?);
        let copy = self.copy_rate(traffic.total())?;
        for (path, (median, least), on_device) in
            [("step", measured, true), ("step, submitted and waited for", whole, false)]
        {
            let rate = traffic.total() as f64 / median.as_nanos().max(1) as f64;
            self.add(Row {
                groups,
                components,
                window,
                layout: "history",
                variant: Variant::Original.name(),
                path: path.to_owned(),
                us: micros(median),
                least_us: micros(least),
                bytes: traffic.total(),
                gb_per_s: rate,
                percent: on_device.then_some(100.0 * rate / copy),
                tuning: match (workload.tuning(), workload.dispatches()) {
                    (Some(tuning), 1) => short(tuning),
                    (Some(tuning), dispatches) => format!("{}, {dispatches} dispatches", short(tuning)),
                    (None, _) => "-".to_owned(),
                },
            })?;
        }
        Ok(())
    }

    /// From host memory and back, beside an upload of the same losses and nothing else.
    fn host(&mut self, shape: [usize; 3]) -> Result<(), Error> {
        let [groups, components, window] = shape;
        let whole = plan(Variant::Original, shape, Layout::RowMajor)?;
        let losses = losses(&whole);
        let mut weights = vec![f32::NAN; whole.shape().weights_len()];
        let mut weigh = || {
            let start = Instant::now();
            let done = self.context.weigh_into(&whole, &Batch::new(&losses), &mut Outputs::new(&mut weights));
            done.map(|()| start.elapsed()).map_err(gpu_error)
        };
        weigh()?;
        self.context.time_upload(&losses).map_err(gpu_error)?;
        // In turns, so that whatever else the machine does falls on both alike.
        let mut times: [Vec<Duration>; 2] = Default::default();
        for _ in 0..self.runs {
            times[0].push(weigh()?);
            times[1].push(self.context.time_upload(&losses).map_err(gpu_error)?);
        }
        crate::bench::check(&whole, &losses, &weights)?;
        let [end_to_end, upload] = times.map(|mut times| {
            times.sort_unstable();
            (times[times.len() / 2], times[0])
        });
        let bytes = 4 * losses.len() as u64;
        let rate = |time: Duration| bytes as f64 / time.as_nanos().max(1) as f64;
        for (path, (median, least)) in [("from host memory and back", end_to_end), ("plain upload", upload)] {
            self.add(Row {
                groups,
                components,
                window,
                layout: "row-major",
                variant: Variant::Original.name(),
                path: path.to_owned(),
                us: micros(median),
                least_us: micros(least),
                bytes,
                gb_per_s: rate(median),
                percent: Some(100.0 * rate(median) / rate(upload.0)),
                tuning: "wall clock".to_owned(),
            })?;
        }
        Ok(())
    }

    /// The whole file.
    fn text(&self) -> String {
        let adapter = self.context.adapter();
        let mut text = format!("# The kernels on {}\n\n", adapter.name);
        let words: Vec<String> = std::env::args().skip(1).collect();
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "Date: {}. Adapter: {adapter}. softadapt {}. Command: `softadapt {}`.\n\n",
            today(),
            env!("CARGO_PKG_VERSION"),
            words.join(" "),
        );
        if adapter.is_software {
            text.push_str("**A software adapter**: it computes on the CPU. The table shows that the measurement works and that answers are right; its numbers say nothing about any GPU.\n\n");
        }
        if !adapter.timestamps {
            text.push_str("The adapter has no clock: times are the host's, with submission and waiting.\n\n");
        }
        text.push_str(
            "`benches/README.md` says what the columns are. Answers were checked before anything was timed.\n\n",
        );
        let _ = writeln!(text, "{HEADER}");
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        if !self.copies.is_empty() {
            text.push_str("\nCopies on the device, which `%` compares with:\n\n| bytes copied | GB/s |\n|---:|---:|\n");
            for (bytes, rate) in &self.copies {
                let _ = writeln!(text, "| {bytes} | {rate:.2} |");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}

/// The stages of a plan, in the order in which they run.
fn stages(plan: &Plan) -> Vec<Stage> {
    let normalized = plan.config().normalize != softadapt::Normalize::None;
    [
        Some(Stage::Slopes),
        plan.is_loss_weighted().then_some(Stage::Average),
        normalized.then_some(Stage::Normalize),
        Some(Stage::Softmax),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Invocations of a workgroup, lanes of a group and components of a lane, and how windows are read and lanes reduce.
fn short(tuning: &Tuning) -> String {
    let Tuning { workgroup, team, rounds, reads, subgroups, .. } = tuning;
    let shuffles = if *subgroups { ", shuffles" } else { "" };
    format!("{workgroup}/{team}/{rounds} {reads:?}{shuffles}")
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Median and least time of whole laps.
fn wholes(laps: &[softadapt::host::Lap]) -> (Duration, Duration) {
    let mut times: Vec<Duration> = laps.iter().map(|lap| lap.whole).collect();
    times.sort_unstable();
    (times.get(times.len() / 2).copied().unwrap_or_default(), times.first().copied().unwrap_or_default())
}

/// The date in UTC, as ISO 8601 has it.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of so many days after 1970-01-01 in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_782), (2026, 11, 25));
    }

    #[test]
    fn stages_are_those_that_a_plan_has() {
        let of = |variant| stages(&plan(variant, [10, 3, 5], Layout::RowMajor).unwrap());
        assert_eq!(of(Variant::Original), [Stage::Slopes, Stage::Softmax]);
        assert_eq!(of(Variant::Normalized), [Stage::Slopes, Stage::Normalize, Stage::Softmax]);
        assert_eq!(of(Variant::LossWeighted), [Stage::Slopes, Stage::Average, Stage::Softmax]);
    }
}
