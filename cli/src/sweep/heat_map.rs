//! The summary of a sweep as a picture: what the settings do, by beta and everything else.

use super::Setting;
use super::summary::Tally;
use crate::error::Error;
use crate::plot::{Draw, Drawn, FONT, Picture, words};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Pixels of a cell, and of the room for names.
const CELL: (u32, u32) = (76, 34);
const NAMES: u32 = 270;
/// Above and below the cells of a map.
const TITLE: u32 = 34;
const FOOT: u32 = 60;

/// What a map shows, and how it is found.
type Map = (&'static str, fn(&Tally) -> f64);

const MAPS: [Map; 3] = [
    ("entropy of the weights (share of the largest)", Tally::mean_entropy),
    ("steps where one component takes over 90 %", Tally::ruled_share),
    ("steps where the ranking turns over", Tally::turnover),
];

/// Draws it. `rows`: settings of each family, which differ in beta only.
///
/// # Errors
/// A picture that cannot be drawn or written.
pub(super) fn draw(picture: &Picture, lines: &[(&Setting, &Tally)], rows: &[usize]) -> Result<(), Error> {
    let mut rest = lines;
    let mut table = Vec::new();
    for &length in rows {
        let (row, others) = rest.split_at(length);
        table.push(row);
        rest = others;
    }
    let columns = rows.iter().copied().max().unwrap_or_default() as u32;
    let width = NAMES + (columns * CELL.0).max(300) + 40;
    let height = (TITLE + FOOT + CELL.1 * rows.len() as u32) * MAPS.len() as u32;
    picture.draw((width, height), Maps(&table))
}

struct Maps<'a>(&'a [&'a [(&'a Setting, &'a Tally)]]);

impl Draw for Maps<'_> {
    fn draw<B: DrawingBackend>(self, area: &DrawingArea<B, Shift>) -> Drawn {
        for (map, &(title, value)) in area.split_evenly((MAPS.len(), 1)).iter().zip(&MAPS) {
            one(map, title, self.0, value)?;
        }
        Ok(())
    }
}

fn one<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    rows: &[&[(&Setting, &Tally)]],
    value: fn(&Tally) -> f64,
) -> Drawn {
    let style = |size: u32, horizontal: HPos, colour: &RGBColor| {
        (FONT, size).into_font().color(colour).pos(Pos::new(horizontal, VPos::Center))
    };
    let text = |text: &str, place: (u32, u32), style: TextStyle<'_>| {
        area.draw(&Text::new(text.to_owned(), (place.0 as i32, place.1 as i32), style)).map_err(words)
    };
    text(title, (NAMES, TITLE / 2), style(17, HPos::Left, &BLACK))?;
    let center = |row: usize| TITLE + CELL.1 * row as u32 + CELL.1 / 2;
    for (row, &cells) in rows.iter().enumerate() {
        if let Some((setting, _)) = cells.first() {
            let name = setting.name.rsplit_once(" beta=").map_or(&*setting.name, |(name, _)| name);
            text(name, (NAMES - 8, center(row)), style(13, HPos::Right, &BLACK))?;
        }
        for (column, (_, tally)) in cells.iter().enumerate() {
            let value = value(tally);
            let (x, y) = (NAMES + CELL.0 * column as u32, TITLE + CELL.1 * row as u32);
            let colour = if value.is_nan() { RGBColor(230, 230, 230) } else { colour(value) };
            let corners = [(x as i32, y as i32), ((x + CELL.0 - 2) as i32, (y + CELL.1 - 2) as i32)];
            area.draw(&Rectangle::new(corners, colour.filled())).map_err(words)?;
            let words = if value.is_nan() { "-".to_owned() } else { format!("{value:.3}") };
            // Dark paper wants light ink.
            let ink = if value < 0.55 { WHITE } else { BLACK };
            text(&words, (x + CELL.0 / 2 - 1, y + CELL.1 / 2 - 1), style(14, HPos::Center, &ink))?;
        }
    }
    let foot = TITLE + CELL.1 * rows.len() as u32;
    if let Some(longest) = rows.iter().max_by_key(|cells| cells.len()) {
        for (column, (setting, _)) in longest.iter().enumerate() {
            let x = NAMES + CELL.0 * column as u32 + CELL.0 / 2;
            text(&setting.beta.to_string(), (x, foot + 12), style(13, HPos::Center, &BLACK))?;
        }
    }
    text("beta", (NAMES, foot + 34), style(14, HPos::Left, &BLACK))
}

/// A colour for 0 to 1 whose brightness rises evenly, so that it says the same in grey and to colour-blind people: points of
/// the map "cividis" (Nunez, Anderton, Renslow 2018), straight lines between.
fn colour(value: f64) -> RGBColor {
    const POINTS: [[f64; 3]; 5] =
        [[0.0, 34.0, 78.0], [64.0, 77.0, 107.0], [124.0, 123.0, 120.0], [187.0, 173.0, 108.0], [254.0, 232.0, 56.0]];
    let at = value.clamp(0.0, 1.0) * (POINTS.len() - 1) as f64;
    let low = (at as usize).min(POINTS.len() - 2);
    let part = at - low as f64;
    let [r, g, b] = [0, 1, 2].map(|i| ((1.0 - part) * POINTS[low][i] + part * POINTS[low + 1][i]).round() as u8);
    RGBColor(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_get_brighter_evenly() {
        let brightness = |value: f64| {
            let RGBColor(r, g, b) = colour(value);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        let steps: Vec<f64> = (0..=20).map(|i| brightness(f64::from(i) / 20.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
        assert!(steps[20] - steps[0] > 180.0);
    }
}
