//! The full run, as a document.

use crate::errors::{self, Apart, Findings, Found, Kind, Worst};
use crate::{Extent, Path, bits, exponential};
use std::fmt::Write as _;

/// Measures everything and returns `docs/promises.md`.
pub(crate) fn full(paths: &[Path]) -> String {
    let mut text = String::new();
    write(&mut text, paths).unwrap();
    text
}

fn write(out: &mut String, paths: &[Path]) -> std::fmt::Result {
    let names: Vec<String> = paths.iter().map(Path::name).collect();
    let exponentials = exponential::measure(paths, Extent::Full);
    // At once, so that the machine is loaded while bits are compared.
    let (repeats, compared, cells) = std::thread::scope(|scope| {
        let repeats = scope.spawn(|| bits::repeated_runs(paths, Extent::Full));
        let compared = scope.spawn(|| bits::batches_and_threads(paths, Extent::Full));
        let cells = errors::measure(paths, Extent::Full);
        (repeats.join().unwrap(), compared.join().unwrap(), cells)
    });
    writeln!(out, "# Numerical promises, measured\n")?;
    writeln!(
        out,
        "Written by `scripts/promises`; every `cargo test` measures a sample of it. A number beyond its bound ends"
    )?;
    writeln!(out, "the run, so that this file exists only if all promises were kept.\n")?;
    writeln!(out, "{}, {}.\n", std::env::var("SOFTADAPT_PROMISES_DATE").unwrap_or_default(), machine())?;
    writeln!(out, "| path | adapter |\n|---|---|")?;
    for (path, name) in paths.iter().zip(&names) {
        let adapter = match path {
            Path::Cpu => "f32 on the processor".to_owned(),
            Path::Gpu(context) => context.adapter().to_string(),
        };
        writeln!(out, "| {name} | {adapter} |")?;
    }

    writeln!(out, "\n## Exponential\n")?;
    writeln!(
        out,
        "Every f32 in [-104, 0]. Largest error where exp(x) is a normal number, in units in the last place (promised:"
    )?;
    writeln!(out, "{}); below, results may be flushed to zero (2^-126 is 1.2e-38).\n", exponential::PROMISED)?;
    writeln!(
        out,
        "| path | arguments | largest error | at | largest absolute error below 2^-126 |\n|---|---:|---:|---:|---:|"
    )?;
    for (name, worst) in exponentials {
        let exponential::Worst { arguments, ulp, at, subnormal } = worst;
        writeln!(out, "| {name} | {arguments} | {ulp:.3} ULP | {at} | {subnormal:.1e} |")?;
    }

    writeln!(out, "\n## Same bits\n")?;
    writeln!(out, "* {repeats} runs of each of 4 batches on every path, with every core busy: no bit differed.")?;
    writeln!(
        out,
        "* A group alone and at every place of a batch of {} groups with random neighbours, in chunks of three sizes",
        bits::BATCH
    )?;
    writeln!(
        out,
        "  (GPU), on 1, 2, 3, 7 and 16 threads (CPU): {compared} comparisons of a group's weights, slopes, means and"
    )?;
    writeln!(out, "  status, no bit differed.")?;

    let total: u64 = cells.iter().map(|found| found.paths[0].groups).sum();
    writeln!(out, "\n## Between paths\n")?;
    writeln!(out, "Largest difference of two paths' weights over the {total} groups of the next section.\n")?;
    writeln!(
        out,
        "| paths | weights | with different bits | largest difference, ordinary losses | adversarial losses |\n|---|---:|---:|---:|---:|"
    )?;
    for (i, (a, b)) in errors::pairs(paths.len()).enumerate() {
        let of = |kind: Kind| {
            cells
                .iter()
                .filter(|found| found.cell.kind == kind)
                .fold(Apart::default(), |all, found| all.join(found.pairs[i]))
        };
        let (ordinary, adversarial) = (of(Kind::Ordinary), of(Kind::Adversarial));
        let both = ordinary.join(adversarial);
        let share = 100.0 * both.different as f64 / both.weights as f64;
        writeln!(
            out,
            "| {} and {} | {} | {share:.1} % | {:.1e} | {:.1e} |",
            names[a], names[b], both.weights, ordinary.absolute, adversarial.absolute
        )?;
    }
    writeln!(
        out,
        "\nWhere slopes cancel to the last digit, weights of adversarial losses are open: two paths may answer"
    )?;
    writeln!(out, "differently there, and the bound of the reference is infinite.")?;

    writeln!(out, "\n## Errors against the f64 reference\n")?;
    writeln!(out, "{total} random groups a path. `share` is the largest error divided by its derived bound")?;
    writeln!(
        out,
        "(`reference::error_bounds`): above 1 it would have ended the run. In brackets: the bound at the largest absolute"
    )?;
    writeln!(
        out,
        "error. Relative errors count where the exact number is 2^-126 or more. `open`: share of the weights whose bound"
    )?;
    writeln!(
        out,
        "is infinite, because cancellation leaves no digits. Ordinary losses fall from 0.1 .. 10, with noise; adversarial"
    )?;
    writeln!(
        out,
        "ones have offsets of 1e8, slopes that cancel, scales of 1e30 and 1e-30, both signs, neighbours in f32.\n"
    )?;
    writeln!(out, "| path | losses | groups | weights | relative | share | open | slopes: share | means: share |")?;
    writeln!(out, "|---|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for (i, name) in names.iter().enumerate() {
        for kind in [Kind::Ordinary, Kind::Adversarial] {
            let all = cells.iter().filter(|found| found.cell.kind == kind);
            let Findings { groups, weights, slopes, means } =
                all.fold(Findings::default(), |all, found| all.join(found.paths[i]));
            writeln!(
                out,
                "| {name} | {kind:?} | {groups} | {} | {:.1e} | {:.3} | {} | {:.3} | {:.3} |",
                absolute(&weights),
                weights.relative,
                weights.share,
                open(&weights),
                slopes.share,
                means.share
            )?;
        }
    }
    for kind in [Kind::Ordinary, Kind::Adversarial] {
        for (i, name) in names.iter().enumerate() {
            table(out, name, kind, cells.iter().filter(|found| found.cell.kind == kind), i)?;
        }
    }
    Ok(())
}

/// The cells of one path.
fn table<'a>(
    out: &mut String,
    name: &str,
    kind: Kind,
    cells: impl Iterator<Item = &'a Found>,
    path: usize,
) -> std::fmt::Result {
    writeln!(out, "\n### {name}, {} losses\n", format!("{kind:?}").to_lowercase())?;
    writeln!(
        out,
        "| n | w | order | variant | beta | groups | weights | relative | share | open | slopes | relative | share | means | relative | share |"
    )?;
    writeln!(out, "|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for found in cells {
        let Findings { groups, weights, slopes, means } = &found.paths[path];
        write!(out, "| {} | {groups}", found.cell)?;
        for (i, worst) in [weights, slopes, means].into_iter().enumerate() {
            write!(out, " | {} | {:.1e} | {:.3}", absolute(worst), worst.relative, worst.share)?;
            if i == 0 {
                write!(out, " | {}", open(worst))?;
            }
        }
        writeln!(out, " |")?;
    }
    Ok(())
}

fn absolute(worst: &Worst) -> String {
    format!("{:.1e} ({:.1e})", worst.absolute, worst.bound)
}

fn open(worst: &Worst) -> String {
    let share = 100.0 * worst.open as f64 / (worst.open + worst.compared).max(1) as f64;
    if worst.open == 0 { "-".to_owned() } else { format!("{share:.1} %") }
}

/// Processor and number of cores.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    format!("{cores} cores of {}", model.unwrap_or("an unnamed processor"))
}
