//! From arguments to files: patterns, folders, event folders, standard input.

use super::error::{InputError, Problem};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Ends of names that a folder's logs have, before an ending of a compression.
const LOGS: [&str; 8] = ["csv", "jsonl", "ndjson", "json", "parquet", "arrow", "feather", "ipc"];
/// Ends of names of compressed files.
const COMPRESSED: [&str; 3] = ["gz", "zst", "zstd"];
/// What names of event files contain, by the convention of those who write and read them.
const EVENTS: &str = "tfevents";

/// Where a log comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// `None` is standard input.
    pub(super) path: Option<PathBuf>,
    /// The run of an event file: its folder.
    pub(super) run: Option<String>,
}

impl Source {
    pub(super) const STDIN: Self = Self { path: None, run: None };

    fn file(path: &Path) -> Self {
        Self { path: Some(path.to_path_buf()), run: None }
    }

    /// Whether it is standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.path.is_none()
    }

    /// The run of an event file. One that is not called as event files are has the run of its folder, too.
    pub(super) fn run(&self) -> String {
        match (&self.run, &self.path) {
            (Some(run), _) => run.clone(),
            (None, Some(path)) => last_name(path.parent().unwrap_or(Path::new(""))),
            (None, None) => "stdin".to_owned(),
        }
    }

    /// Bytes, where they are known beforehand.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.path.as_ref()?.metadata().ok().filter(|data| data.is_file()).map(|data| data.len())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str("<stdin>"),
            Some(path) => path.display().fmt(f),
        }
    }
}

/// The files that arguments stand for, in the order of the arguments, those of one argument by name.
///
/// `-` is standard input. What exists is taken as it is; a folder stands for the logs in it and below it, and something
/// else with `*`, `?` or `[` for what it matches.
///
/// # Errors
/// A pattern without a match, a folder without logs.
pub(crate) fn expand(arguments: &[PathBuf]) -> Result<Vec<Source>, InputError> {
    let mut sources = Vec::with_capacity(arguments.len());
    for argument in arguments {
        if argument.as_os_str() == "-" {
            sources.push(Source::STDIN);
        } else if argument.is_dir() {
            folder(argument, &mut sources)?;
        } else if argument.exists() || !is_pattern(argument) {
            sources.push(file(argument, None));
        } else {
            pattern(argument, &mut sources)?;
        }
    }
    Ok(sources)
}

fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

/// A file; the run of an event file is its folder, as seen from `root` where there is one.
fn file(path: &Path, root: Option<&Path>) -> Source {
    let mut source = Source::file(path);
    if is_events(path) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let within = root.and_then(|root| folder.strip_prefix(root).ok()).filter(|path| !path.as_os_str().is_empty());
        source.run = Some(match within {
            Some(path) => path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"),
            None => last_name(folder),
        });
    }
    source
}

/// The name of a folder, also of `.` and `..`.
fn last_name(folder: &Path) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
}

fn is_events(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(EVENTS))
}

/// Whether a file in a folder is meant: notes and pictures lie there too.
fn is_log(path: &Path) -> bool {
    let ends_in =
        |path: &Path, ends: &[&str]| path.extension().and_then(OsStr::to_str).is_some_and(|end| ends.contains(&end));
    let compressed = ends_in(path, &COMPRESSED);
    let plain = if compressed { path.with_extension("") } else { path.to_path_buf() };
    is_events(path) || ends_in(&plain, &LOGS)
}

fn folder(root: &Path, sources: &mut Vec<Source>) -> Result<(), InputError> {
    let before = sources.len();
    let mut below = vec![root.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = below.pop() {
        let fail = |error| InputError::new(&Source::file(&folder), Problem::Open(error));
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            // Links to folders are not followed: they may lead back up.
            if path.is_dir() {
                if !path.is_symlink() {
                    below.push(path);
                }
            } else if is_log(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    sources.extend(files.iter().map(|path| file(path, Some(root))));
    if sources.len() == before {
        return Err(InputError::new(&Source::file(root), Problem::NoLogs));
    }
    Ok(())
}

fn pattern(argument: &Path, sources: &mut Vec<Source>) -> Result<(), InputError> {
    let before = sources.len();
    let fail = |problem| InputError::new(&Source::file(argument), problem);
    let text = argument.to_string_lossy();
    // As shells do it: hidden files are not meant.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let matches =
        glob::glob_with(&text, options).map_err(|error| fail(Problem::Pattern { reason: error.msg.to_owned() }))?;
    // Runs are named from where the pattern starts to vary.
    let mut root = PathBuf::new();
    for part in argument.components() {
        if is_pattern(Path::new(part.as_os_str())) {
            break;
        }
        root.push(part);
    }
    for found in matches {
        let path = found.map_err(|error| {
            let path = error.path().to_path_buf();
            InputError::new(&Source::file(&path), Problem::Open(error.into()))
        })?;
        if path.is_dir() {
            folder(&path, sources)?;
        } else {
            sources.push(file(&path, Some(&root)));
        }
    }
    if sources.len() == before {
        return Err(fail(Problem::NoMatch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    /// Paths below `root` and runs of what an argument stands for.
    fn expanded(root: &Path, argument: &str) -> Vec<(String, Option<String>)> {
        expand(&[root.join(argument)])
            .unwrap()
            .into_iter()
            .map(|source| {
                let path = source.path.unwrap();
                (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), source.run)
            })
            .collect()
    }

    #[test]
    fn folders_and_patterns_stand_for_the_logs_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = &fs::canonicalize(folder.path()).unwrap();
        for path in [
            "b.csv",
            "a.jsonl.gz",
            "notes.txt",
            "picture.gz",
            ".hidden.csv",
            "tb/run-2/events.out.tfevents.2.x",
            "tb/run-2/events.out.tfevents.1.x",
            "tb/seed/run-1/events.out.tfevents.1.x",
            "empty/readme.md",
            "odd[1].csv",
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        let plain = |path: &str| (path.to_owned(), None);
        let events = |path: &str, run: &str| (path.to_owned(), Some(run.to_owned()));
        let runs = [
            events("tb/run-2/events.out.tfevents.1.x", "run-2"),
            events("tb/run-2/events.out.tfevents.2.x", "run-2"),
            events("tb/seed/run-1/events.out.tfevents.1.x", "seed/run-1"),
        ];
        assert_eq!(expanded(root, "tb"), runs);
        assert_eq!(expanded(root, "tb/**/*tfevents*"), runs);
        assert_eq!(expanded(root, "tb/run-2"), runs[..2]);
        assert_eq!(expanded(root, "tb/run-2/events.out.tfevents.1.x"), runs[..1]);
        assert_eq!(expanded(root, "*.csv"), [plain("b.csv"), plain("odd[1].csv")]);
        assert_eq!(expanded(root, "odd[1].csv"), [plain("odd[1].csv")], "a file of that name comes first");
        assert_eq!(expanded(root, ".").len(), 6);
        assert_eq!(expanded(root, "missing.csv"), [plain("missing.csv")], "opening it says what is wrong");
        for (argument, message) in [("empty", "holds no logs"), ("*.tsv", "matches nothing"), ("a[.csv", "no pattern")]
        {
            let error = expand(&[root.join(argument)]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
