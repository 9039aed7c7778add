//! Line charts as SVG: panels side by side, one legend.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
const GAP: f64 = 16.0;

/// Colours that people who see fewer colours can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] = ["#000000", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a8a00"];

/// A line of points (x, y) and the entry of the legend that it belongs to.
pub(crate) struct Curve {
    pub(crate) entry: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A picture of several panels.
pub(crate) struct Chart {
    legend: Vec<String>,
    panels: Vec<Panel>,
}

struct Panel {
    title: String,
    x_title: String,
    logarithmic: bool,
    curves: Vec<Curve>,
}

impl Chart {
    pub(crate) fn new(legend: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { legend: legend.into_iter().map(Into::into).collect(), panels: Vec::new() }
    }

    /// Adds a panel. Points that are not finite, or not above zero on a logarithmic axis, are left out.
    pub(crate) fn panel(&mut self, title: &str, x_title: &str, logarithmic: bool, curves: Vec<Curve>) {
        self.panels.push(Panel { title: title.to_owned(), x_title: x_title.to_owned(), logarithmic, curves });
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let count = self.panels.len() as f64;
        let (width, height) =
            (count * (WIDTH + GAP) + GAP, HEIGHT + 20.0 * self.legend.len().div_ceil(4) as f64 + 10.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut svg, GAP + i as f64 * (WIDTH + GAP))?;
        }
        for (i, name) in self.legend.iter().enumerate() {
            let x = LEFT + (i % 4) as f64 * 200.0;
            let y = HEIGHT + 14.0 + 20.0 * (i / 4) as f64;
            let colour = COLOURS[i % COLOURS.len()];
            writeln!(
                svg,
                "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{}\" y=\"{}\">{name}</text>",
                x + 18.0,
                x + 24.0,
                y + 4.0
            )?;
        }
        svg.push_str("</svg>\n");
        std::fs::write(path, svg)?;
        println!("wrote {}", path.display());
        Ok(())
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, x0: f64) -> Result<(), Box<dyn Error>> {
        let shown = |y: f64| y.is_finite() && (!self.logarithmic || y > 0.0);
        let scale = |y: f64| if self.logarithmic { y.log10() } else { y };
        let points = || self.curves.iter().flat_map(|curve| &curve.points).filter(|point| shown(point.1));
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            if low < high { (low, high) } else { (low.min(0.0) - 1.0, low.max(0.0) + 1.0) }
        };
        let (x_low, x_high) = range(&mut points().map(|point| point.0));
        let (y_low, y_high) = range(&mut points().map(|point| scale(point.1)));
        let (left, right, top, bottom) = (x0 + LEFT, x0 + WIDTH, TOP, HEIGHT - BOTTOM);
        let x_at = |x: f64| left + (x - x_low) / (x_high - x_low) * (right - left);
        let y_at = |y: f64| bottom - (y - y_low) / (y_high - y_low) * (bottom - top);
        writeln!(
            svg,
            "<text x=\"{left}\" y=\"18\" font-size=\"13\" font-weight=\"bold\">{}</text>\
             <rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            self.title,
            right - left,
            bottom - top,
            right,
            bottom + 28.0,
            self.x_title
        )?;
        for i in 0..=4 {
            let share = f64::from(i) / 4.0;
            let (x, y) = (x_low + share * (x_high - x_low), y_low + share * (y_high - y_low));
            let value = if self.logarithmic { 10f64.powf(y) } else { y };
            writeln!(
                svg,
                "<line x1=\"{left}\" y1=\"{0:.1}\" x2=\"{right}\" y2=\"{0:.1}\" stroke=\"#eee\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>\
                 <text x=\"{4:.1}\" y=\"{5}\" text-anchor=\"middle\">{6}</text>",
                y_at(y),
                left - 4.0,
                y_at(y) + 4.0,
                label(value),
                x_at(x),
                bottom + 14.0,
                label(x)
            )?;
        }
        for curve in &self.curves {
            let line: Vec<String> = curve
                .points
                .iter()
                .filter(|point| shown(point.1))
                .map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(scale(y))))
                .collect();
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\" stroke-opacity=\"0.75\"/>",
                line.join(" "),
                COLOURS[curve.entry % COLOURS.len()]
            )?;
        }
        Ok(())
    }
}

/// A number in few characters.
fn label(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-2..1e4).contains(&size) {
        format!("{value:.0e}")
    } else if size >= 10.0 || value == value.round() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
