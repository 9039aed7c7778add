//! Which columns carry a log, in tables of any format.

use super::ColumnNames;
use super::error::Problem;

/// What the columns are.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) names: Vec<String>,
    pub(super) run: usize,
    pub(super) step: usize,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    /// A value a row.
    Long { component: usize, value: usize },
    /// All columns besides run and step are components.
    Wide { components: Vec<usize> },
}

impl Header {
    /// Finds the columns by their names.
    ///
    /// # Errors
    /// A column that is missing, there twice or without a name.
    pub(super) fn new(names: Vec<String>, wanted: &ColumnNames) -> Result<Self, Problem> {
        let find = |name: &str| -> Result<Option<usize>, Problem> {
            let mut found = (0..names.len()).filter(|&i| names[i] == name);
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(Problem::ColumnTwice { name: name.to_owned() }),
                (first, None) => Ok(first),
            }
        };
        let missing = |name: &str, option| Problem::NoColumn { name: name.to_owned(), option, header: names.clone() };
        let require = |name: &Option<String>, usual: &str, option| {
            let name = name.as_deref().unwrap_or(usual);
            find(name)?.ok_or_else(|| missing(name, option))
        };
        let run = require(&wanted.run, "run", "--run-column")?;
        let step = require(&wanted.step, "step", "--step-column")?;
        // Without options a lone `value` is a component of that name; a lone `component` cannot be one, it holds names.
        let long = wanted.component.is_some() || wanted.value.is_some() || find("component")?.is_some();
        let form = if long {
            Form::Long {
                component: require(&wanted.component, "component", "--component-column")?,
                value: require(&wanted.value, "value", "--value-column")?,
            }
        } else {
            let components: Vec<usize> = (0..names.len()).filter(|&i| i != run && i != step).collect();
            for &i in &components {
                if names[i].is_empty() {
                    return Err(Problem::UnnamedColumn { position: i + 1 });
                }
            }
            // Sorted: comparing all with all would take hours for a million columns.
            let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Problem::ColumnTwice { name: pair[0].to_owned() });
            }
            if components.is_empty() {
                return Err(Problem::NoComponents);
            }
            Form::Wide { components }
        };
        Ok(Self { names, run, step, form })
    }
}
