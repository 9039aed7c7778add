//! `softadapt plot`: losses and weights over steps as a picture.

use crate::args::PlotArguments;
use crate::backend::Single;
use crate::error::{Error, Failure};
use crate::input;
use crate::output::Output;
use crate::stream::{self, Consumer, Step};
use crate::trainers::Trainers;
use globset::GlobMatcher;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Runs in a picture.
const MOST: usize = 12;
/// Runs in a picture if none are chosen.
const USUAL: usize = 4;
/// Pixels of a picture's width and of a run's height.
const WIDTH: u32 = 1320;
const HEIGHT: u32 = 320;
/// Pixels of a legend's width, and how many names and characters of them it has room for.
const LEGEND: u32 = 180;
const NAMES: usize = 13;
const CHARACTERS: usize = 18;
/// The colours of Okabe and Ito (2008), told apart with every kind of colour vision; dark enough for white paper, so
/// without their yellow.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
/// The name under which the font is known to the drawing library.
pub(crate) const FONT: &str = "sans-serif";

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or a read or write that fails; then there is no picture.
pub(crate) fn run(arguments: &PlotArguments) -> Result<(), Error> {
    let (config, window) = arguments.trainer.balancer()?;
    let trainers = Trainers::new(config, window, &Single::Cpu)?;
    let picture = Picture::new(&arguments.output)?;
    let sources = input::sources(&arguments.log.input.files)?;
    let collector =
        Collector { trainers, patterns: &arguments.runs, places: Vec::new(), curves: Vec::new(), others: Vec::new() };
    let collected = stream::run(&arguments.log, &sources, collector).and_then(|(mut collector, _)| {
        collector.flush()?;
        Ok(collector)
    });
    let collector = collected.map_err(|failure| match failure {
        Failure::Write(error) => Error::Temporary { error },
        Failure::Other(error) => *error,
    })?;
    if collector.curves.is_empty() {
        return Err(Error::NoRun { some: collector.others });
    }
    let height = HEIGHT * collector.curves.len() as u32;
    picture.draw((WIDTH, height), Rows(&collector.curves))
}

/// A run below the other.
struct Rows<'a>(&'a [Curves]);

impl Draw for Rows<'_> {
    fn draw<B: DrawingBackend>(self, area: &DrawingArea<B, Shift>) -> Drawn {
        for (row, curves) in area.split_evenly((self.0.len(), 1)).iter().zip(self.0) {
            // The legend stands beside the curves, never on them.
            let (charts, legend) = row.split_horizontally(WIDTH - LEGEND);
            let (left, right) = charts.split_horizontally((50).percent_width());
            let positive = curves.losses.iter().flatten().all(|&loss| !(loss <= 0.0));
            let losses: Vec<Vec<f64>> = curves.losses.iter().map(|losses| on_axis(losses, positive)).collect();
            chart(&left, curves, "loss", &losses, positive)?;
            let weights: Vec<Vec<f64>> = curves.weights.iter().map(|weights| on_axis(weights, false)).collect();
            chart(&right, curves, "weight", &weights, false)?;
            draw_legend(&legend, &curves.components)?;
        }
        Ok(())
    }
}

/// Where values lie on an axis, which is that of their decimal logarithms if `logarithmic`.
fn on_axis(values: &[f32], logarithmic: bool) -> Vec<f64> {
    values.iter().map(|&value| if logarithmic { f64::from(value).log10() } else { f64::from(value) }).collect()
}

/// Least and largest finite value, with some air.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (least, most) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    match most - least {
        air if air > 0.0 => (least - 0.04 * air, most + 0.04 * air),
        _ if least.is_finite() => (least - 0.5, most + 0.5),
        _ => (0.0, 1.0),
    }
}

fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    curves: &Curves,
    what: &str,
    values: &[Vec<f64>],
    logarithmic: bool,
) -> Drawn {
    let steps: Vec<f64> = curves.steps.iter().map(|&step| step as f64).collect();
    let (first, last) = range(steps.iter().copied());
    let (low, high) = range(values.iter().flatten().copied());
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: {what}", curves.run), (FONT, 18))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(first..last, low..high)
        .map_err(words)?;
    let number = |value: f64| format!("{}", (value * 1e6).round() / 1e6);
    let label = |value: &f64| if logarithmic { format!("{:.1e}", 10f64.powf(*value)) } else { number(*value) };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.15))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .x_desc("step")
        .y_desc(if logarithmic { "loss (logarithmic)" } else { what })
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|step| number(*step))
        .y_label_formatter(&label)
        .draw()
        .map_err(words)?;
    for (component, values) in values.iter().enumerate() {
        let colour = COLOURS[component % COLOURS.len()];
        let points: Vec<(f64, f64)> = steps.iter().copied().zip(values.iter().copied()).collect();
        // A gap ends a piece of the line.
        for piece in points.split(|(_, y)| !y.is_finite()) {
            match piece {
                [] => {}
                [only] => {
                    chart.draw_series([Circle::new(*only, 2, colour.filled())]).map_err(words)?;
                }
                line => {
                    let line = LineSeries::new(line.iter().copied(), colour.stroke_width(2));
                    chart.draw_series(line).map_err(words)?;
                }
            }
        }
    }
    Ok(())
}

fn draw_legend<B: DrawingBackend>(area: &DrawingArea<B, Shift>, names: &[String]) -> Drawn {
    let style = (FONT, 14).into_font().color(&BLACK);
    for (i, name) in names.iter().enumerate() {
        let y = 50 + 20 * i as i32;
        if i == NAMES {
            let more = format!("and {} more", names.len() - NAMES);
            return area.draw(&Text::new(more, (8, y), style)).map_err(words);
        }
        let line = PathElement::new(vec![(8, y + 7), (28, y + 7)], COLOURS[i % COLOURS.len()].stroke_width(3));
        area.draw(&line).map_err(words)?;
        let mut short: String = name.chars().take(CHARACTERS).collect();
        if short.len() < name.len() {
            short.push('…');
        }
        area.draw(&Text::new(short, (34, y), style.clone())).map_err(words)?;
    }
    Ok(())
}

/// What is drawn of a run.
#[derive(Debug, Default)]
struct Curves {
    run: String,
    components: Vec<String>,
    steps: Vec<i64>,
    /// `[component][step]`.
    losses: Vec<Vec<f32>>,
    weights: Vec<Vec<f32>>,
}

struct Collector<'a> {
    trainers: Trainers<'a>,
    patterns: &'a [GlobMatcher],
    /// By run, where its curves are, if it is drawn.
    places: Vec<Option<Option<usize>>>,
    curves: Vec<Curves>,
    /// Names of some runs that are not drawn.
    others: Vec<String>,
}

impl Collector<'_> {
    /// Draws on with what has been waiting.
    fn flush(&mut self) -> Result<(), Failure> {
        let Self { trainers, places, curves, .. } = self;
        trainers.flush(|pushed| {
            let Some(&Some(Some(place))) = places.get(pushed.run.number()) else { return Ok(()) };
            let curves = &mut curves[place];
            curves.steps.push(pushed.step);
            for (component, (&loss, &weight)) in pushed.losses.iter().zip(pushed.weights).enumerate() {
                curves.losses[component].push(loss);
                curves.weights[component].push(weight);
            }
            Ok(())
        })
    }
}

impl Consumer for Collector<'_> {
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let run = step.run.number();
        if self.places.len() <= run {
            self.places.resize(run + 1, None);
        }
        let place = match self.places[run] {
            Some(place) => place,
            None => {
                let chosen = self.patterns.iter().any(|pattern| pattern.is_match(step.run_name()));
                if chosen && self.curves.len() == MOST {
                    return Err(Error::ManyRuns { most: MOST }.into());
                }
                let place =
                    (chosen || (self.patterns.is_empty() && self.curves.len() < USUAL)).then_some(self.curves.len());
                if place.is_some() {
                    let n = step.losses.len();
                    self.curves.push(Curves {
                        run: step.run_name().to_owned(),
                        components: step.components().map(str::to_owned).collect(),
                        steps: Vec::new(),
                        losses: vec![Vec::new(); n],
                        weights: vec![Vec::new(); n],
                    });
                } else if self.others.len() < 5 {
                    self.others.push(format!("{:?}", step.run_name()));
                }
                self.places[run] = Some(place);
                place
            }
        };
        if place.is_some() && self.trainers.push(step)? { self.flush() } else { Ok(()) }
    }
}

/// A picture that is to be written.
#[derive(Debug)]
pub(crate) struct Picture {
    path: PathBuf,
    vector: bool,
    output: Output,
}

/// What drawing says, in words: each kind of picture has errors of its own.
pub(crate) type Drawn = Result<(), String>;

impl Picture {
    /// # Errors
    /// A name that does not say of which kind it is, or a folder that is not there.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
        let vector = match &*end {
            "svg" => true,
            "png" => false,
            _ => return Err(Error::Picture { path: path.to_path_buf() }),
        };
        Ok(Self { path: path.to_path_buf(), vector, output: Output::new(Some(path))? })
    }

    /// Draws it in memory, then writes it.
    ///
    /// # Errors
    /// What `draw` says, or a failed write.
    pub(crate) fn draw(&self, size: (u32, u32), draw: impl Draw) -> Result<(), Error> {
        register_font()?;
        let fail = |reason: String| Error::Drawing { reason };
        let bytes = if self.vector {
            let mut text = String::new();
            let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
            whole(&area, draw).map_err(fail)?;
            drop(area);
            text.into_bytes()
        } else {
            let (width, height) = size;
            let mut pixels = vec![0; 3 * width as usize * height as usize];
            let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
            whole(&area, draw).map_err(fail)?;
            drop(area);
            png(&pixels, size).map_err(|error| fail(error.to_string()))?
        };
        debug_assert!(!bytes.is_empty(), "{}", self.path.display());
        self.output.write(|out| out.write_all(&bytes))
    }
}

/// Something that can be drawn as either kind of picture.
pub(crate) trait Draw {
    /// Draws it.
    ///
    /// # Errors
    /// What the picture says.
    fn draw<B: DrawingBackend>(self, area: &DrawingArea<B, Shift>) -> Drawn;
}

fn whole<B: DrawingBackend>(area: &DrawingArea<B, Shift>, draw: impl Draw) -> Drawn {
    area.fill(&WHITE).map_err(words)?;
    draw.draw(area)?;
    area.present().map_err(words)
}

/// An error in words.
pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(bytes)
}

/// Text is drawn, or at least measured, with a font that comes along.
fn register_font() -> Result<(), Error> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        let registered = plotters::style::register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
        if registered.is_err() {
            result = Err(Error::Drawing { reason: "its font is damaged".to_owned() });
        }
    });
    result
}
