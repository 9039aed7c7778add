//! `softadapt view`: losses and weights of runs in the terminal, under any of several settings.

use crate::args::ViewArguments;
use crate::backend::Single;
use crate::error::{Error, Failure};
use crate::input;
use crate::interrupt;
use crate::runs::{Catalog, RunId};
use crate::stream::{self, Consumer, Step};
use crate::sweep::{Family, Setting};
use crate::trainers::Trainers;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};
use softadapt::BalancerConfig;
use std::io::{self, IsTerminal};

/// As in pictures, the colours of Okabe and Ito, without those that are lost on dark or light ground.
const COLOURS: [Color; 6] = [
    Color::Rgb(86, 180, 233),
    Color::Rgb(213, 94, 0),
    Color::Rgb(0, 158, 115),
    Color::Rgb(204, 121, 167),
    Color::Rgb(230, 159, 0),
    Color::Rgb(0, 114, 178),
];

/// A balancer under a setting, and what the setting is called.
struct Choice {
    name: String,
    config: BalancerConfig,
    window: usize,
}

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or no terminal.
pub(crate) fn run(arguments: &ViewArguments) -> Result<(), Error> {
    let mut choices = Vec::new();
    for Family { config, window, settings } in arguments.settings.families()? {
        for Setting { name, beta, .. } in settings {
            let config = arguments.updates.balancer(config.clone().with_beta(beta));
            if let Err(error) = Trainers::new(config.clone(), window, &Single::Cpu) {
                return Err(Error::Setting { name, error: Box::new(error) });
            }
            choices.push(Choice { name, config, window });
        }
    }
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let sources = input::sources(&arguments.log.input.files)?;
    let collected = stream::run(&arguments.log, &sources, Collector::default());
    let (Collector { runs }, catalog) = collected.map_err(failed)?;
    if runs.is_empty() {
        return Err(Error::NoRun { some: Vec::new() });
    }
    let mut screen =
        Screen { catalog: &catalog, runs: &runs, run: 0, choices: &choices, choice: 0, weights: Vec::new() };
    screen.weigh()?;
    // From here on the terminal is changed; whatever ends this function gives it back.
    let guard = interrupt::restore_terminal(ratatui::restore);
    let mut terminal = ratatui::try_init().map_err(|error| Error::Terminal { error })?;
    let result = loop {
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(Error::Terminal { error });
        }
        match event::read() {
            Err(error) => break Err(Error::Terminal { error }),
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => break Ok(()),
                    // The terminal sends no interrupt as long as it is ours.
                    KeyCode::Char('c') if control => break Ok(()),
                    code => {
                        if screen.moved(code)
                            && let Err(error) = screen.weigh()
                        {
                            break Err(error);
                        }
                    }
                }
            }
            // Also of another size: it is drawn anew.
            Ok(_) => {}
        }
    };
    drop(guard);
    result
}

/// Why there is nothing to see.
fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Write(error) => Error::Terminal { error },
        Failure::Other(error) => *error,
    }
}

/// A run as it was read.
#[derive(Debug, Default)]
struct Run {
    components: usize,
    steps: Vec<i64>,
    /// `[step][component]`.
    losses: Vec<f64>,
}

impl Run {
    /// The points of a component, as far as they can be shown.
    fn curve(&self, component: usize, value: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        let n = self.components;
        let points = self.steps.iter().enumerate().map(|(at, &step)| (step as f64, value(at * n + component)));
        points.filter(|(_, value)| value.is_finite()).collect()
    }
}

#[derive(Default)]
struct Collector {
    runs: Vec<Run>,
}

impl Consumer for Collector {
    fn take(&mut self, step: &Step<'_>) -> Result<(), Failure> {
        let number = step.run.number();
        // Runs begin in their order, but steps of several may be open: the first to end need not be the first to begin.
        if self.runs.len() <= number {
            self.runs.resize_with(number + 1, Run::default);
        }
        let run = &mut self.runs[number];
        run.components = step.losses.len();
        run.steps.push(step.step);
        run.losses.extend(step.losses);
        Ok(())
    }
}

/// What is shown.
struct Screen<'a> {
    catalog: &'a Catalog,
    runs: &'a [Run],
    run: usize,
    choices: &'a [Choice],
    choice: usize,
    /// Of the run under the setting, `[step][component]`.
    weights: Vec<f32>,
}

impl Screen<'_> {
    /// Computes the weights.
    fn weigh(&mut self) -> Result<(), Error> {
        let (run, Choice { config, window, .. }) = (&self.runs[self.run], &self.choices[self.choice]);
        let mut trainers = Trainers::new(config.clone(), *window, &Single::Cpu)?;
        let weights = &mut self.weights;
        weights.clear();
        let mut flush = |trainers: &mut Trainers<'_>| {
            let flushed = trainers.flush(|pushed| {
                weights.extend_from_slice(pushed.weights);
                Ok(())
            });
            flushed.map_err(failed)
        };
        for (&step, losses) in run.steps.iter().zip(run.losses.chunks(run.components.max(1))) {
            if trainers.push(&Step { run: RunId::new(self.run), step, losses, catalog: self.catalog })? {
                flush(&mut trainers)?;
            }
        }
        flush(&mut trainers)
    }

    /// Follows a key; whether that leads to something else.
    fn moved(&mut self, key: KeyCode) -> bool {
        let (run, choice) = (self.run, self.choice);
        match key {
            KeyCode::Up => self.run = run.saturating_sub(1),
            KeyCode::Down => self.run = (run + 1).min(self.runs.len() - 1),
            KeyCode::PageUp => self.run = run.saturating_sub(10),
            KeyCode::PageDown => self.run = (run + 10).min(self.runs.len() - 1),
            KeyCode::Home => self.run = 0,
            KeyCode::End => self.run = self.runs.len() - 1,
            KeyCode::Left => self.choice = choice.saturating_sub(1),
            KeyCode::Right => self.choice = (choice + 1).min(self.choices.len() - 1),
            _ => {}
        }
        (run, choice) != (self.run, self.choice)
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let run = &self.runs[self.run];
        let rows = [Constraint::Length(2), Constraint::Min(4), Constraint::Length(1), Constraint::Length(1)];
        let [head, charts, legend, foot] = Layout::vertical(rows).areas(frame.area());
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(charts);
        let id = RunId::new(self.run);
        let title = [
            format!("{}  run {} of {}", self.catalog.run_name(id), self.run + 1, self.runs.len()),
            format!("{}  setting {} of {}", self.choices[self.choice].name, self.choice + 1, self.choices.len()),
        ];
        frame.render_widget(Paragraph::new(title.map(Line::from).to_vec()).bold(), head);
        let logarithmic = run.losses.iter().all(|&loss| !(loss <= 0.0));
        let loss = |at: usize| if logarithmic { run.losses[at].log10() } else { run.losses[at] };
        let curves = |value: &dyn Fn(usize) -> f64| (0..run.components).map(|i| run.curve(i, value)).collect();
        self.chart(frame, left, if logarithmic { "loss (logarithmic)" } else { "loss" }, curves(&loss), logarithmic);
        self.chart(frame, right, "weight", curves(&|at| f64::from(self.weights[at])), false);
        let names = self.catalog.components(id).iter().enumerate().flat_map(|(i, &component)| {
            let colour = Style::new().fg(COLOURS[i % COLOURS.len()]);
            [Span::styled("━━ ", colour), Span::raw(format!("{}  ", self.catalog.component_name(component)))]
        });
        frame.render_widget(Line::from_iter(names), legend);
        frame.render_widget(Line::from("up, down: runs   left, right: settings   q: leave").dim(), foot);
    }

    fn chart(&self, frame: &mut Frame<'_>, area: Rect, title: &str, curves: Vec<Vec<(f64, f64)>>, logarithmic: bool) {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
            match most - least {
                spread if spread > 0.0 => [least, most],
                _ if least.is_finite() => [least - 0.5, most + 0.5],
                _ => [0.0, 1.0],
            }
        };
        let x = range(&mut self.runs[self.run].steps.iter().map(|&step| step as f64));
        let y = range(&mut curves.iter().flatten().map(|point| point.1));
        let label = |value: f64| if logarithmic { format!("{:.1e}", 10f64.powf(value)) } else { format!("{value:.3}") };
        let sets = curves.iter().enumerate().map(|(i, curve)| {
            let style = Style::new().fg(COLOURS[i % COLOURS.len()]);
            Dataset::default().data(curve).graph_type(GraphType::Line).marker(Marker::Braille).style(style)
        });
        let steps = Axis::default().title("step").bounds(x).labels([x[0].to_string(), x[1].to_string()]);
        let values = Axis::default().bounds(y).labels([label(y[0]), label((y[0] + y[1]) / 2.0), label(y[1])]);
        let chart = Chart::new(sets.collect()).block(Block::bordered().title(title)).x_axis(steps).y_axis(values);
        frame.render_widget(chart, area);
    }
}
