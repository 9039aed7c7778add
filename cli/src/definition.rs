//! `softadapt completions` and `softadapt man`: what else the definition of the command line gives.

use crate::args::Arguments;
use crate::error::Error;
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Writes the completions of a shell to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), Error> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "softadapt", &mut script);
    Output::new(None)?.write(|out| out.write_all(&script))
}

/// Writes a page for the command and for each of its subcommands into a folder.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn man(folder: &Path) -> Result<(), Error> {
    let command = Arguments::command();
    let pages = command.get_subcommands().map(|sub| (format!("softadapt-{}", sub.get_name()), sub.clone()));
    for (name, page) in std::iter::once(("softadapt".to_owned(), command.clone())).chain(pages) {
        // By the first `man` finds it, the second is what is typed.
        let page = clap_mangen::Man::new(page.display_name(name.clone()).bin_name(name.replacen('-', " ", 1)));
        Output::new(Some(&folder.join(format!("{name}.1"))))?.write(|out| page.render(&mut &mut *out))?;
    }
    Ok(())
}
