//! What `weigh` did, on one screen.

use crate::backend::Backend;
use crate::runs::Runs;
use softadapt::{OnNonFinite, Plan, Score, Slope, Status};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// Names of flagged runs that are shown for each kind of flag.
const SHOWN: usize = 5;

/// Everything that the summary tells.
#[derive(Debug)]
pub(crate) struct Summary<'a> {
    pub(crate) runs: &'a Runs,
    pub(crate) plan: &'a Plan,
    pub(crate) status: &'a [Status],
    pub(crate) sources: usize,
    pub(crate) backend: &'a Backend,
    pub(crate) reading: Duration,
    pub(crate) weighing: Duration,
    pub(crate) total: Duration,
}

impl Summary<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let runs = self.runs;
        writeln!(
            out,
            "{}, {}; {} read from {}",
            count(runs.len() as u64, "run"),
            count(runs.rows() as u64, "component"),
            count(runs.rows_read(), "row"),
            count(self.sources as u64, "source")
        )?;
        writeln!(out, "{}", self.backend)?;
        writeln!(out, "window of {}, {}", count(self.plan.shape().window() as u64, "step"), self.slope())?;
        for warning in self.plan.warnings() {
            writeln!(out, "warning: {warning}")?;
        }
        self.write_flags(out)?;
        writeln!(out, "{} in all: reading {}, weighing {}", Time(self.total), Time(self.reading), Time(self.weighing))
    }

    fn slope(&self) -> String {
        let order = self.plan.order().unwrap_or_default();
        match self.plan.config().score {
            Score::Slope(Slope::Forward { .. }) => format!("forward slope of order {order}"),
            Score::Slope(Slope::Backward { .. }) => format!("backward slope of order {order}"),
            Score::Slope(Slope::LeastSquares) => "least-squares slope".to_owned(),
            Score::Slope(Slope::Last) => "last difference".to_owned(),
            other => format!("{other:?}"),
        }
    }

    fn write_flags(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut flagged: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (run, status) in self.status.iter().enumerate().filter(|(_, status)| !status.is_ok()) {
            flagged.entry(status.bits()).or_default().push(run);
        }
        for (bits, flagged_runs) in flagged {
            let status = Status::from_bits(bits);
            let names: Vec<&str> = flagged_runs.iter().take(SHOWN).map(|&run| self.runs.name(run)).collect();
            write!(out, "{status}: {}: {}", count(flagged_runs.len() as u64, "run"), names.join(", "))?;
            if flagged_runs.len() > SHOWN {
                write!(out, " and {} more", flagged_runs.len() - SHOWN)?;
            }
            if let Some(meaning) = self.meaning(status) {
                write!(out, " ({meaning})")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// What a flag did to the weights.
    fn meaning(&self, status: Status) -> Option<String> {
        if status.contains(Status::NOT_READY) {
            return Some(format!("fewer than {} steps: neutral weights", self.plan.slope_points()));
        }
        if status.contains(Status::NON_FINITE) {
            return Some(
                match self.plan.config().on_non_finite {
                    OnNonFinite::Mask => "weight 0 for the components at fault",
                    OnNonFinite::Propagate => "weights are nan",
                    _ => "neutral weights",
                }
                .to_owned(),
            );
        }
        None
    }
}

/// A number with thin groups of digits and its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A duration in the unit that suits it.
struct Time(Duration);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 1.0 { write!(f, "{:.1} ms", seconds * 1e3) } else { write!(f, "{seconds:.2} s") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_readable() {
        assert_eq!(count(1, "run"), "1 run");
        assert_eq!(count(0, "row"), "0 rows");
        assert_eq!(count(24_320, "row"), "24 320 rows");
        assert_eq!(count(1_234_567, "row"), "1 234 567 rows");
        assert_eq!(Time(Duration::from_micros(1500)).to_string(), "1.5 ms");
        assert_eq!(Time(Duration::from_millis(61_250)).to_string(), "61.25 s");
    }
}
