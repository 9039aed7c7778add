//! JSON Lines: one object a line, in long form `{"run": .., "step": .., "component": .., "value": ..}` or in wide form
//! `{"run": .., "step": .., "<component>": .., ..}`, told apart line by line.
//!
//! Accepted beyond that: `NaN`, `Infinity` and `-Infinity` as Python writes them, `null` and numbers in quotes as losses,
//! numbers as names of runs, a UTF-8 byte order mark, blank lines. Keys of a wide form that hold text, lists or objects are
//! no losses: that is an error, unless `--select` leaves them out.

use super::error::{Fault, Problem, StepFault};
use super::memo::Memo;
use super::values::{number, shown, step, step_of_number};
use super::{ColumnNames, Target};
use crate::runs::{ComponentId, Place, RunId, Unit};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

/// Keys are compared all with all among so many.
const FEW: usize = 16;

/// Reads one source.
///
/// # Errors
/// The first thing that is wrong, with its line and key.
pub(super) fn read(input: impl Read, target: &mut Target<'_>) -> Result<(), Fault> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut rows = Rows { names: Keys::new(&target.options.columns), runs: Memo::new(), components: Memo::new() };
    let (mut text, mut line) = (Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        let read = input.read_until(b'\n', &mut text);
        if read.map_err(|error| Fault::new(Unit::Line, line, Problem::Read(error)))? == 0 {
            return Ok(());
        }
        let mark = if line == 1 { &b"\xef\xbb\xbf"[..] } else { b"" };
        let object = text.strip_prefix(mark).unwrap_or(&text).trim_ascii();
        if !object.is_empty() {
            rows.add(object, line, target)?;
            target.sink.count_row();
        }
    }
}

/// The keys that are no components.
struct Keys {
    run: String,
    step: String,
    component: String,
    value: String,
    /// Whether the options make every line a long one.
    long: bool,
}

impl Keys {
    fn new(names: &ColumnNames) -> Self {
        let name = |name: &Option<String>, usual: &str| name.as_deref().unwrap_or(usual).to_owned();
        Self {
            run: name(&names.run, "run"),
            step: name(&names.step, "step"),
            component: name(&names.component, "component"),
            value: name(&names.value, "value"),
            long: names.component.is_some() || names.value.is_some(),
        }
    }
}

struct Rows {
    names: Keys,
    runs: Memo<RunId>,
    /// `None` of one that does not count.
    components: Memo<Option<ComponentId>>,
}

impl Rows {
    fn add(&mut self, text: &[u8], line: u64, target: &mut Target<'_>) -> Result<(), Fault> {
        let at = |problem: Problem| Fault::new(Unit::Line, line, problem);
        let replaced;
        let object = match serde_json::from_slice::<Object<'_>>(text) {
            Ok(object) => object,
            Err(error) => {
                // JSON has no word for them, but Python writes them.
                let Some(quoted) = quote_words(text) else { return Err(at(syntax(text, &error))) };
                replaced = quoted;
                serde_json::from_slice(&replaced).map_err(|error| at(syntax(text, &error)))?
            }
        };
        let Object(fields) = &object;
        if let Some(name) = twice(fields) {
            return Err(at(Problem::ColumnTwice { name: name.to_owned() }));
        }
        let find = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let require = |name: &str, option| {
            find(name).ok_or_else(|| {
                let header = fields.iter().map(|(key, _)| key.to_string()).collect();
                at(Problem::NoColumn { name: name.to_owned(), option, header })
            })
        };
        let column = |name: &str, problem: Problem| Fault { column: Some(name.to_owned()), ..at(problem) };
        let place = Place::new(target.number, Unit::Line, line);

        let run =
            self.run(require(&self.names.run, "--run-column")?, target).map_err(|p| column(&self.names.run, p))?;
        let step = require(&self.names.step, "--step-column")?
            .step()
            .map_err(|(text, fault)| column(&self.names.step, Problem::Step { text, fault }))?;
        if self.names.long || find(&self.names.component).is_some() {
            let component = require(&self.names.component, "--component-column")?;
            let value = require(&self.names.value, "--value-column")?;
            let value = value.number().map_err(|problem| column(&self.names.value, problem))?;
            let name = match component {
                Field::Text(name) if name.is_empty() => Err(Problem::EmptyName),
                Field::Text(name) => Ok(name),
                other => Err(Problem::NotAName { what: other.what() }),
            };
            let name = name.map_err(|problem| column(&self.names.component, problem))?;
            if let Some(component) = component_of(&mut self.components, name, target) {
                target.sink.push(run, component, step, value, place, true).map_err(at)?;
            }
        } else {
            let mut any = false;
            for (key, field) in fields {
                if *key == self.names.run || *key == self.names.step {
                    continue;
                }
                any = true;
                if key.is_empty() {
                    return Err(at(Problem::EmptyKey));
                }
                let Some(component) = component_of(&mut self.components, key, target) else { continue };
                let value = field.number().map_err(|problem| column(key, problem))?;
                target.sink.push(run, component, step, value, place, true).map_err(at)?;
            }
            if !any {
                return Err(at(Problem::NoComponents));
            }
        }
        Ok(())
    }

    fn run(&mut self, field: &Field<'_>, target: &mut Target<'_>) -> Result<RunId, Problem> {
        let number;
        let name = match field {
            Field::Text(name) if name.is_empty() => return Err(Problem::EmptyName),
            Field::Text(name) => &**name,
            // Trackers count runs.
            Field::Integer(integer) => {
                number = integer.to_string();
                &number
            }
            other => return Err(Problem::NotAName { what: other.what() }),
        };
        Ok(self.runs.get(name.as_bytes()).unwrap_or_else(|| {
            let run = target.sink.run(name);
            self.runs.insert(name.as_bytes(), run);
            run
        }))
    }
}

/// A key that is there twice.
fn twice<'a>(fields: &'a [(Cow<'_, str>, Field<'_>)]) -> Option<&'a str> {
    if fields.len() <= FEW {
        let mut keys = fields.iter().enumerate();
        return keys
            .find(|&(i, (key, _))| fields[..i].iter().any(|(other, _)| other == key))
            .map(|(_, (key, _))| &**key);
    }
    // Sorted: comparing all with all would take hours for a million keys.
    let mut keys: Vec<&str> = fields.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

fn component_of(known: &mut Memo<Option<ComponentId>>, name: &str, target: &mut Target<'_>) -> Option<ComponentId> {
    known.get(name.as_bytes()).unwrap_or_else(|| {
        let component = target.component(name);
        known.insert(name.as_bytes(), component);
        component
    })
}

fn syntax(text: &[u8], error: &serde_json::Error) -> Problem {
    if text.starts_with(b"[") {
        return Problem::JsonArray;
    }
    if std::str::from_utf8(text).is_err() {
        return Problem::NotUtf8 { text: shown(text) };
    }
    // The crate says "at line 1 column 7"; the line is another one here, and said already.
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
    Problem::Json { reason, position: error.column() }
}

/// The text with Python's words for numbers that are not finite in quotes, if it has some outside of quotes.
fn quote_words(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 8);
    let (mut rest, mut quoted, mut found) = (text, false, false);
    while let [first, tail @ ..] = rest {
        let word = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(word) = word {
            out.push(b'"');
            out.extend(word);
            out.push(b'"');
            (rest, found) = (&rest[word.len()..], true);
            continue;
        }
        out.push(*first);
        rest = tail;
        match first {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                if let [escaped, tail @ ..] = rest {
                    out.push(*escaped);
                    rest = tail;
                }
            }
            _ => {}
        }
    }
    found.then_some(out)
}

/// An object's keys and values in their order.
struct Object<'a>(Vec<(Cow<'a, str>, Field<'a>)>);

/// A value, as far as losses go.
enum Field<'a> {
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
    Null,
    Boolean,
    List,
    Object,
}

impl Field<'_> {
    fn what(&self) -> &'static str {
        match self {
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }

    fn number(&self) -> Result<f64, Problem> {
        match self {
            Self::Integer(integer) => Ok(*integer as f64),
            Self::Number(number) => Ok(*number),
            Self::Null => Ok(f64::NAN),
            Self::Text(text) => {
                number(text.trim().as_bytes()).ok_or_else(|| Problem::NotANumber { text: shown(text.as_bytes()) })
            }
            other => Err(Problem::NoLoss { what: other.what() }),
        }
    }

    fn step(&self) -> Result<i64, (String, StepFault)> {
        match self {
            Self::Integer(integer) => Ok(*integer),
            Self::Number(number) => step_of_number(*number).map_err(|fault| (number.to_string(), fault)),
            Self::Text(text) => step(text.trim().as_bytes()).map_err(|fault| (shown(text.as_bytes()), fault)),
            Self::Null => Err((String::new(), StepFault::Empty)),
            other => Err((other.what().to_owned(), StepFault::NotANumber)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(4);
                while let Some(Text(key)) = map.next_key()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Text, borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Field<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Field::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Field::Number(value as f64), Field::Integer))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Field::Number(value))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Field::Boolean)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Field::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Field::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Object)
            }
        }
        deserializer.deserialize_any(Values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_words_are_quoted_outside_of_text_only() {
        let quoted = |text: &str| quote_words(text.as_bytes()).map(|text| String::from_utf8_lossy(&text).into_owned());
        assert_eq!(quoted(r#"{"a": NaN, "b": -Infinity}"#).as_deref(), Some(r#"{"a": "NaN", "b": "-Infinity"}"#));
        assert_eq!(
            quoted(r#"{"NaN": "\"NaN", "b": Infinity}"#).as_deref(),
            Some(r#"{"NaN": "\"NaN", "b": "Infinity"}"#)
        );
        for text in [r#"{"NaN": 1}"#, "", "\"\\", r#"{"a": nan}"#] {
            assert_eq!(quoted(text), None, "{text}");
        }
    }
}
