//! `softadapt view` in a real terminal: one of tmux, whose screen is read back.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{LONG, data, run, stderr};
use std::process::Command;
use std::time::{Duration, Instant};

/// A terminal of its own server, so that no other session is touched.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    fn new() -> Self {
        let terminal = Self { folder: tempfile::tempdir().unwrap() };
        // A plain shell: without anybody's settings.
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "env PS1='$ ' sh"]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("socket");
        let output = Command::new("tmux").arg("-S").arg(socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn send(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen shows all of these words.
    fn shows(&self, words: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if words.iter().all(|words| screen.contains(words)) {
                return screen;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{words:?} are not on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the screen is the one that programs borrow.
    fn is_borrowed(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.folder.path().join("socket");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").status();
    }
}

#[test]
#[ignore = "needs tmux: --include-ignored"]
fn keys_go_through_runs_and_settings_and_the_terminal_is_given_back() {
    let terminal = Terminal::new();
    let process = terminal.folder.path().join("process");
    // The shell becomes the command, whose number is then known.
    let start = format!(
        "sh -c 'echo $$ >{}; exec {} view {} --variant original,loss-weighted --order 1,2 --window 5,8 --beta 0.1,1'",
        process.display(),
        env!("CARGO_BIN_EXE_softadapt"),
        data(LONG)
    );
    let begin = || {
        terminal.send(&[&start, "Enter"]);
        let first = "original forward order=1 window=5 beta=0.1  setting 1 of 16";
        terminal.shows(&["digits-multitask-00  run 1 of 52", first, "q: leave"])
    };
    let screen = begin();
    for words in ["loss (logarithmic)", "weight", "━━ cross_entropy", "━━ sparsity", "step"] {
        assert!(screen.contains(words), "{words}:\n{screen}");
    }
    // Braille: curves are there.
    assert!(screen.chars().filter(|sign| ('\u{2801}'..='\u{28ff}').contains(sign)).count() > 40, "{screen}");
    assert!(terminal.is_borrowed());
    terminal.send(&["Down"]);
    terminal.shows(&["digits-multitask-01  run 2 of 52"]);
    // Every combination has its turn, and its own curves.
    let mut screens = std::collections::HashSet::new();
    let mut number = 0;
    for variant in ["original", "loss-weighted"] {
        for order in [1, 2] {
            for window in [5, 8] {
                for beta in ["0.1", "1"] {
                    number += 1;
                    let name =
                        format!("{variant} forward order={order} window={window} beta={beta}  setting {number} of 16");
                    let screen = terminal.shows(&["run 2 of 52", &name]);
                    screens.insert(screen.lines().skip(2).collect::<String>());
                    terminal.send(&["Right"]);
                }
            }
        }
    }
    // A forward slope does not depend on the window, mean losses do.
    assert!(screens.len() >= 12, "{} different screens", screens.len());
    terminal.send(&["Left", "Up", "Up"]);
    terminal.shows(&["run 1 of 52", "loss-weighted forward order=2 window=8 beta=0.1  setting 15 of 16"]);
    terminal.send(&["End"]);
    terminal.shows(&["pinn-burgers-15  run 52 of 52", "━━ residual", "━━ data"]);
    terminal.send(&["PageUp", "PageUp"]);
    terminal.shows(&["run 32 of 52"]);
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    terminal.shows(&["run 32 of 52", "q: leave"]);
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    let given_back = |how: &str| {
        terminal.send(&["echo back-$((40 + 2))", "Enter"]);
        terminal.shows(&["back-42"]);
        assert!(!terminal.is_borrowed(), "{how}");
        terminal.send(&["clear", "Enter"]);
    };
    terminal.send(&["q"]);
    given_back("q");
    for how in ["C-c", "Escape"] {
        begin();
        terminal.send(&[how]);
        given_back(how);
    }
    // Ended from outside.
    begin();
    let child = std::fs::read_to_string(&process).unwrap();
    assert!(Command::new("kill").arg(child.trim()).status().unwrap().success());
    given_back("a polite kill");
}

#[test]
fn without_a_terminal_there_is_nothing_to_see() {
    let output = run(&["view", &data(LONG)]);
    assert_eq!(
        stderr(&output),
        "softadapt: standard output is no terminal: `softadapt plot` draws the same into a file\n"
    );
    assert_eq!(output.status.code(), Some(2));
    for (options, message) in [
        ("--beta x", "invalid value 'x'"),
        ("--beta 1,nan", "setting original forward order=4 window=5 beta=NaN: beta is NaN"),
        ("--order 1,7", "setting original forward order=7 window=5 beta=0.1: "),
        ("--window 5,5", "setting original forward order=4 window=5 beta=0.1 is there twice"),
        ("--tumbling --window 5,9 --every 7", "setting original forward order=4 window=5 beta=0.1: "),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let output = run(&[&["view", "no such file"], &options[..]].concat());
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
    }
}
