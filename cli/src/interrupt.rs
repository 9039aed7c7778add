//! What has to be put in order before an interrupt (Ctrl-C, a polite kill) ends the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// By convention 128 and the number of the signal that Ctrl-C sends.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Default)]
struct Duties {
    /// A file that is not whole yet.
    unfinished: Option<PathBuf>,
    /// Gives the terminal back.
    terminal: Option<fn()>,
}

static DUTIES: Mutex<Duties> = Mutex::new(Duties { unfinished: None, terminal: None });

fn duties() -> MutexGuard<'static, Duties> {
    DUTIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts everything in order; the lock stays closed, so that nothing new begins.
fn settle() -> MutexGuard<'static, Duties> {
    let mut duties = duties();
    if let Some(path) = duties.unfinished.take() {
        let _ = fs::remove_file(path);
    }
    if let Some(restore) = duties.terminal.take() {
        restore();
    }
    duties
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where there can be no handler, an interrupt leaves a hidden temporary file: better than not working at all.
        let _ = ctrlc::set_handler(|| {
            let _closed = settle();
            #[expect(clippy::exit, reason = "the main thread may be waiting for input that never comes")]
            std::process::exit(INTERRUPTED)
        });
    });
}

/// An interrupt removes this file as long as the result lives.
#[must_use]
pub(crate) fn remove_on_interrupt(path: &Path) -> Unfinished {
    install();
    duties().unfinished = Some(path.to_path_buf());
    Unfinished(())
}

/// See [`remove_on_interrupt`].
#[derive(Debug)]
pub(crate) struct Unfinished(());

impl Unfinished {
    /// Lets `finish` give the file its final name; an interrupt waits until it is done.
    pub(crate) fn keep<T>(self, finish: impl FnOnce() -> T) -> T {
        let mut duties = duties();
        let result = finish();
        duties.unfinished = None;
        drop(duties);
        std::mem::forget(self);
        result
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        duties().unfinished = None;
    }
}

/// `restore` is called when the result goes out of scope, or at an interrupt.
#[must_use]
pub(crate) fn restore_terminal(restore: fn()) -> Changed {
    install();
    duties().terminal = Some(restore);
    Changed(())
}

/// See [`restore_terminal`].
#[derive(Debug)]
pub(crate) struct Changed(());

impl Drop for Changed {
    fn drop(&mut self) {
        if let Some(restore) = duties().terminal.take() {
            restore();
        }
    }
}
