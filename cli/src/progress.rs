//! A progress bar on standard error while a long log is read.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

/// Reading that ends sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts the bytes of all sources.
#[derive(Debug)]
pub(crate) struct Progress {
    wanted: bool,
    total: Option<u64>,
    start: Instant,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    read: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `total`: bytes, where they are known beforehand.
    pub(crate) fn new(wanted: bool, total: Option<u64>) -> Self {
        let wanted = wanted && io::stderr().is_terminal();
        Self { wanted, total, start: Instant::now(), state: RefCell::default() }
    }

    /// Counts what is read from `input`.
    pub(crate) fn watch<'a, R: Read + 'a>(&'a self, input: R) -> impl Read + 'a {
        Watched { input, progress: self }
    }

    /// Counts bytes that were read in another way.
    pub(crate) fn advance(&self, bytes: usize) {
        if !self.wanted {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.read += bytes as u64;
        if state.bar.is_none() && self.start.elapsed() > PATIENCE {
            state.bar = Some(bar(self.total));
        }
        if let Some(bar) = &state.bar {
            bar.set_position(state.read);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.state.borrow().bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "reading {bar:40} {bytes}/{total_bytes}, {eta} left"),
        None => (ProgressBar::new_spinner(), "reading {spinner} {bytes}, {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // A plain bar is better than none.
        Err(_) => bar,
    }
}

struct Watched<'a, R> {
    input: R,
    progress: &'a Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.progress.advance(bytes);
        Ok(bytes)
    }
}
