//! Fields of all formats as steps, losses and names.

use super::error::StepFault;

/// Integers up to here are exact as f64.
const EXACT: f64 = (1u64 << 53) as f64;
/// Characters of a bad field that a message shows.
const SHOWN: usize = 40;

/// A loss; an empty field is a missing one. Rust's own spellings: decimals with or without exponent, `nan`, `inf` and
/// `infinity` in any case and with either sign.
pub(super) fn number(bytes: &[u8]) -> Option<f64> {
    if bytes.is_empty() {
        return Some(f64::NAN);
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A step: an integer, also written `3.0` or `1e3`.
pub(super) fn step(bytes: &[u8]) -> Result<i64, StepFault> {
    if bytes.is_empty() {
        return Err(StepFault::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| StepFault::NotANumber)?;
    if let Ok(step) = text.parse() {
        return Ok(step);
    }
    match text.parse::<f64>() {
        // A finite decimal beyond f64 is out of range, the words inf and nan are no numbers.
        Ok(step) if !step.is_finite() && bytes.iter().any(u8::is_ascii_digit) => Err(StepFault::OutOfRange),
        Ok(step) => step_of_number(step),
        Err(_) => Err(StepFault::NotANumber),
    }
}

/// A step that is stored as a floating-point number.
pub(super) fn step_of_number(step: f64) -> Result<i64, StepFault> {
    if !step.is_finite() {
        Err(StepFault::NotANumber)
    } else if step.fract() != 0.0 {
        Err(StepFault::Fraction)
    } else if step.abs() <= EXACT {
        Ok(step as i64)
    } else {
        Err(StepFault::OutOfRange)
    }
}

/// The start of a bad field, for a message of one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rusts_and_empty_fields_missing() {
        for (text, value) in
            [("1", 1.0), ("-2.5e-3", -2.5e-3), (".5", 0.5), ("+7.", 7.0), ("0.1", 0.1), ("1e999", f64::INFINITY)]
        {
            assert_eq!(number(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["inf", "Infinity", "-inf", "NaN", "nan", "-nan", ""] {
            assert!(number(text.as_bytes()).is_some_and(|x| !x.is_finite()), "{text}");
        }
        for text in ["abc", "1,5", "1_000", "0x10", "1 2", "--1", "1e", "null", "\u{0}", "１"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number(b"\xff"), None);
    }

    #[test]
    fn steps_are_integers_in_any_spelling() {
        for (text, value) in
            [("3", 3), ("3.0", 3), ("-4", -4), ("1e3", 1000), ("+2", 2), ("9223372036854775807", i64::MAX)]
        {
            assert_eq!(step(text.as_bytes()), Ok(value), "{text}");
        }
        for (text, fault) in [
            ("", StepFault::Empty),
            ("2.5", StepFault::Fraction),
            ("1e-3", StepFault::Fraction),
            ("epoch 3", StepFault::NotANumber),
            ("nan", StepFault::NotANumber),
            ("inf", StepFault::NotANumber),
            ("9223372036854775808", StepFault::OutOfRange),
            ("-9223372036854775809", StepFault::OutOfRange),
            ("9007199254740994.0", StepFault::OutOfRange),
            ("1e400", StepFault::OutOfRange),
        ] {
            assert_eq!(step(text.as_bytes()), Err(fault), "{text}");
        }
    }
}
