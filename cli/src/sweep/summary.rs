//! What a setting does to the weights, in a few numbers.

use super::Setting;
use crate::args::Format;
use crate::output::{Cell, Kind, Table};
use softadapt::Status;
use std::cmp::Ordering;
use std::io::{self, Write};

/// A component rules a step if it takes more than this share of the weights.
const RULES: f64 = 0.9;

/// Counts over all steps of all runs under one setting.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    windows: u64,
    not_ready: u64,
    flagged: u64,
    /// Sum of entropies as shares of the largest possible, over `judged`.
    entropy: f64,
    /// Windows that are neither flagged nor too short, of runs with several components.
    judged: u64,
    ruled: u64,
    turned: u64,
    /// Pairs of judged windows that follow one another.
    pairs: u64,
}

impl Tally {
    /// Counts one window; `old` are the weights of the run's step before, `ready` whether those were judged. Returns
    /// whether this one is.
    pub(super) fn add(&mut self, status: Status, new: &[f64], old: &[f64], ready: bool) -> bool {
        self.windows += 1;
        if status.contains(Status::NOT_READY) {
            self.not_ready += 1;
            return false;
        }
        if !status.is_ok() {
            self.flagged += 1;
        }
        let sum: f64 = new.iter().sum();
        if status.contains(Status::NON_FINITE) || new.len() < 2 || !(sum.is_finite() && sum > 0.0) {
            return false;
        }
        let shares = || new.iter().map(|weight| weight / sum);
        let entropy: f64 = shares().filter(|&share| share > 0.0).map(|share| -share * share.ln()).sum();
        self.entropy += entropy / (new.len() as f64).ln();
        self.judged += 1;
        self.ruled += u64::from(shares().any(|share| share > RULES));
        if ready {
            self.pairs += 1;
            self.turned += u64::from(turned(old, new));
        }
        true
    }

    fn share(count: f64, of: u64) -> f64 {
        if of == 0 { f64::NAN } else { count / of as f64 }
    }

    /// Mean entropy of the weights as a share of the largest possible: 1 is uniform, 0 all weight on one component.
    pub(super) fn mean_entropy(&self) -> f64 {
        Self::share(self.entropy, self.judged)
    }

    /// Share of the steps at which one component takes more than 90 %.
    pub(super) fn ruled_share(&self) -> f64 {
        Self::share(self.ruled as f64, self.judged)
    }

    /// Share of the steps at which the ranking is another one than at the step before.
    pub(super) fn turnover(&self) -> f64 {
        Self::share(self.turned as f64, self.pairs)
    }
}

/// Whether any two components have changed places; becoming equal is no change.
fn turned(old: &[f64], new: &[f64]) -> bool {
    let mut order: Vec<usize> = (0..new.len()).collect();
    // By old weights, equal ones by new: then any pair that turned leaves a fall in the new weights.
    order.sort_by(|&a, &b| match old[a].total_cmp(&old[b]) {
        Ordering::Equal => new[a].total_cmp(&new[b]),
        other => other,
    });
    let mut highest = f64::NEG_INFINITY;
    for component in order {
        if new[component] < highest {
            return true;
        }
        highest = new[component];
    }
    false
}

/// Writes a line a setting.
///
/// # Errors
/// What the writer says.
pub(super) fn write(out: &mut (dyn Write + Send), format: Format, lines: &[(&Setting, &Tally)]) -> io::Result<()> {
    let columns = [
        ("setting", Kind::Text),
        ("variant", Kind::Text),
        ("slope", Kind::Text),
        ("order", Kind::Integer),
        ("window", Kind::Integer),
        ("beta", Kind::Double),
        ("windows", Kind::Integer),
        ("not_ready", Kind::Integer),
        ("flagged", Kind::Integer),
        ("entropy", Kind::Double),
        ("over_90_percent", Kind::Double),
        ("turnover", Kind::Double),
    ];
    let mut table = Table::new(out, format, columns.map(|(name, kind)| (name.to_owned(), kind)).into())?;
    for (setting, tally) in lines {
        let integer = |number: u64| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        table.row(&[
            Cell::Text(&setting.name),
            Cell::Text(setting.variant),
            Cell::Text(setting.slope),
            Cell::Integer(i64::from(setting.order)),
            integer(setting.window as u64),
            Cell::Double(setting.beta),
            integer(tally.windows),
            integer(tally.not_ready),
            integer(tally.flagged),
            Cell::Double(tally.mean_entropy()),
            Cell::Double(tally.ruled_share()),
            Cell::Double(tally.turnover()),
        ])?;
    }
    table.finish()
}

/// Writes the summary for a person.
///
/// # Errors
/// What the writer says.
pub(super) fn print(out: &mut dyn Write, lines: &[(&Setting, &Tally)]) -> io::Result<()> {
    let width = lines.iter().map(|(setting, _)| setting.name.chars().count()).max().unwrap_or_default().max(7);
    writeln!(
        out,
        "{:<width$}  {:>9}  {:>9}  {:>8}  {:>7}  {:>9}  {:>8}",
        "setting", "windows", "not ready", "flagged", "entropy", "over 90 %", "turnover"
    )?;
    for (setting, tally) in lines {
        let percent = |share: f64| if share.is_nan() { "-".to_owned() } else { format!("{:.1} %", 100.0 * share) };
        let entropy = tally.mean_entropy();
        let entropy = if entropy.is_nan() { "-".to_owned() } else { format!("{entropy:.3}") };
        writeln!(
            out,
            "{:<width$}  {:>9}  {:>9}  {:>8}  {entropy:>7}  {:>9}  {:>8}",
            setting.name,
            tally.windows,
            tally.not_ready,
            tally.flagged,
            percent(tally.ruled_share()),
            percent(tally.turnover())
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_turn_when_two_components_change_places() {
        for (old, new, expected) in [
            ([0.1, 0.2, 0.7], [0.2, 0.3, 0.5], false),
            ([0.1, 0.2, 0.7], [0.2, 0.1, 0.7], true),
            ([0.1, 0.2, 0.7], [0.7, 0.2, 0.1], true),
            ([0.1, 0.2, 0.7], [0.3, 0.3, 0.4], false),
            ([0.3, 0.3, 0.4], [0.2, 0.1, 0.7], false),
            ([0.3, 0.3, 0.4], [0.1, 0.5, 0.4], true),
        ] {
            assert_eq!(turned(&old, &new), expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn windows_are_counted_for_what_they_are() {
        let mut tally = Tally::default();
        let uniform = [0.25; 4];
        assert!(!tally.add(Status::NOT_READY, &uniform, &uniform, false));
        assert!(!tally.add(Status::NON_FINITE, &uniform, &uniform, false));
        assert!(tally.add(Status::OK, &uniform, &uniform, false));
        assert!(tally.add(Status::OK, &[0.97, 0.01, 0.01, 0.01], &uniform, true));
        assert!(tally.add(Status::ZERO_SLOPE_SUM, &[0.0, 0.0, 0.0, 1.0], &[0.97, 0.01, 0.01, 0.01], true));
        assert!(!tally.add(Status::OK, &[1.0], &[1.0], true), "one component has no ranking");
        assert_eq!((tally.windows, tally.not_ready, tally.flagged, tally.judged), (6, 1, 2, 3));
        assert_eq!((tally.ruled, tally.turned, tally.pairs), (2, 1, 2));
        // Of the three: 1, then -(0.97 ln 0.97 + 3 * 0.01 ln 0.01) / ln 4, then 0.
        let second = -(0.97f64 * 0.97f64.ln() + 0.03 * 0.01f64.ln()) / 4f64.ln();
        assert!((tally.entropy - 1.0 - second).abs() < 1e-12);
        // Weights may add up to the number of components.
        let mut scaled = Tally::default();
        scaled.add(Status::OK, &[3.88, 0.04, 0.04, 0.04], &uniform, false);
        assert!(scaled.ruled == 1 && (scaled.entropy - second).abs() < 1e-12);
        assert!(Tally::default().turnover().is_nan());
    }
}
