//! `softadapt view`: losses and weights of runs in the terminal, under any of several betas.

use crate::args::ViewArguments;
use crate::error::{Error, Failure};
use crate::input;
use crate::interrupt;
use crate::replay::Trainers;
use crate::runs::{ComponentId, Names, RunId};
use crate::stream::{self, Consumer, Step};
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

/// Runs the command.
///
/// # Errors
/// Options that make no sense, bad data, or no terminal.
pub(crate) fn run(arguments: &ViewArguments) -> Result<(), Error> {
    let config = arguments.updates.balancer(&arguments.config)?;
    let window = arguments.updates.window;
    let mut betas = arguments.betas.clone();
    betas.push(config.config.beta);
    betas.sort_by(f64::total_cmp);
    betas.dedup();
    let start = betas.iter().position(|&beta| beta == config.config.beta).unwrap_or_default();
    let with_beta = |beta: f64| {
        let mut other = config.clone();
        other.config.beta = beta;
        other
    };
    for &beta in &betas {
        Trainers::new(with_beta(beta), window)?;
    }
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let sources = input::sources(&arguments.input.files)?;
    let collected = stream::run(&arguments.input, &sources, arguments.sort, true, Collector::default());
    let (Collector { runs }, ..) = collected.map_err(|failure| match failure {
        Failure::Write(error) => Error::Terminal { error },
        Failure::Other(error) => *error,
    })?;
    if runs.is_empty() {
        return Err(Error::NoRun { some: Vec::new() });
    }
    let mut screen = Screen { runs: &runs, run: 0, betas: &betas, beta: start, weights: Vec::new() };
    let weigh = |screen: &Screen<'_>| runs[screen.run].weights(with_beta(betas[screen.beta]), window);
    screen.weights = weigh(&screen)?;
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
                        if screen.moved(code) {
                            match weigh(&screen) {
                                Ok(weights) => screen.weights = weights,
                                Err(error) => break Err(error),
                            }
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

/// A run as it was read.
#[derive(Debug)]
struct Run {
    name: String,
    components: Vec<ComponentId>,
    names: Names,
    steps: Vec<i64>,
    /// `[step][component]`.
    losses: Vec<f64>,
}

impl Run {
    /// Weights `[step][component]`.
    fn weights(&self, config: BalancerConfig, window: usize) -> Result<Vec<f32>, Error> {
        let mut trainers = Trainers::new(config, window)?;
        let mut weights = Vec::with_capacity(self.losses.len());
        for (&step, losses) in self.steps.iter().zip(self.losses.chunks(self.components.len().max(1))) {
            let (run_name, components, component_names) = (&*self.name, &*self.components, &self.names);
            let step = Step { run: RunId(0), run_name, components, component_names, step, losses };
            weights.extend_from_slice(trainers.push(&step)?.0.weights());
        }
        Ok(weights)
    }

    /// The points of a component, as far as they can be shown.
    fn curve(&self, component: usize, value: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        let n = self.components.len();
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
        let id = step.run.0 as usize;
        // Runs begin in their order, but steps of several may be open: the first to end need not be the first to begin.
        while self.runs.len() <= id {
            self.runs.push(Run {
                name: String::new(),
                components: Vec::new(),
                names: Names::default(),
                steps: Vec::new(),
                losses: Vec::new(),
            });
        }
        let run = &mut self.runs[id];
        if run.steps.is_empty() {
            step.run_name.clone_into(&mut run.name);
            let names = step.components.iter().map(|id| step.component_names.name(id.0));
            run.components = names.map(|name| ComponentId(run.names.id(name))).collect();
        }
        run.steps.push(step.step);
        run.losses.extend(step.losses);
        Ok(())
    }
}

/// What is shown.
struct Screen<'a> {
    runs: &'a [Run],
    run: usize,
    betas: &'a [f64],
    beta: usize,
    weights: Vec<f32>,
}

impl Screen<'_> {
    /// Follows a key; whether that leads to something else.
    fn moved(&mut self, key: KeyCode) -> bool {
        let (run, beta) = (self.run, self.beta);
        match key {
            KeyCode::Up => self.run = run.saturating_sub(1),
            KeyCode::Down => self.run = (run + 1).min(self.runs.len() - 1),
            KeyCode::PageUp => self.run = run.saturating_sub(10),
            KeyCode::PageDown => self.run = (run + 10).min(self.runs.len() - 1),
            KeyCode::Home => self.run = 0,
            KeyCode::End => self.run = self.runs.len() - 1,
            KeyCode::Left => self.beta = beta.saturating_sub(1),
            KeyCode::Right => self.beta = (beta + 1).min(self.betas.len() - 1),
            _ => {}
        }
        (run, beta) != (self.run, self.beta)
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let run = &self.runs[self.run];
        let rows = [Constraint::Length(1), Constraint::Min(4), Constraint::Length(1), Constraint::Length(1)];
        let [head, charts, legend, foot] = Layout::vertical(rows).areas(frame.area());
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(charts);
        let title =
            format!("{}  run {} of {}  beta {}", run.name, self.run + 1, self.runs.len(), self.betas[self.beta]);
        frame.render_widget(Paragraph::new(title).bold(), head);
        let logarithmic = run.losses.iter().all(|&loss| !(loss <= 0.0));
        let loss = |at: usize| if logarithmic { run.losses[at].log10() } else { run.losses[at] };
        let curves = |value: &dyn Fn(usize) -> f64| (0..run.components.len()).map(|i| run.curve(i, value)).collect();
        self.chart(frame, left, if logarithmic { "loss (logarithmic)" } else { "loss" }, curves(&loss), logarithmic);
        self.chart(frame, right, "weight", curves(&|at| f64::from(self.weights[at])), false);
        let names = run.components.iter().enumerate().flat_map(|(i, id)| {
            let colour = Style::new().fg(COLOURS[i % COLOURS.len()]);
            [Span::styled("━━ ", colour), Span::raw(format!("{}  ", run.names.name(id.0)))]
        });
        frame.render_widget(Line::from_iter(names), legend);
        frame.render_widget(Line::from("up, down: runs   left, right: beta   q: leave").dim(), foot);
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
