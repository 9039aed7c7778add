//! What a panic prints, and when it prints nothing.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Panics of this thread print nothing as long as the result lives: someone catches them and says it better.
#[must_use]
pub(crate) fn silence() -> Silence {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !SILENT.get() {
                usual(panic);
            }
        }));
    });
    SILENT.set(true);
    Silence(())
}

/// See [`silence`].
#[derive(Debug)]
pub(crate) struct Silence(());

impl Drop for Silence {
    fn drop(&mut self) {
        SILENT.set(false);
    }
}
