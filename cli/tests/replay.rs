//! `softadapt replay`, beside a balancer that is fed by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{EVENTS, LONG, PARQUET, data, run, run_with, stderr, stdout};
use softadapt::{
    BalancerConfig, BalancerPlan, BetaSchedule, Config, InitialWeights, Shape, Slope, Smoothing, Window, cpu,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// Run, step, component, loss, weight and status of a line.
type Line = (String, i64, String, String, f32, String);

fn lines(text: &str) -> Vec<Line> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(reader.headers().unwrap(), ["run", "step", "component", "loss", "weight", "status"].as_slice());
    let line = |record: csv::StringRecord| {
        let text = |i: usize| record[i].to_owned();
        (text(0), text(1).parse().unwrap(), text(2), text(3), text(4).parse().unwrap(), text(5))
    };
    reader.records().map(|record| line(record.unwrap())).collect()
}

fn replay(log: &str, options: &[&str]) -> Vec<Line> {
    lines(&stdout(&run(&[&["replay", log, "--quiet"], options].concat())))
}

/// A run of the example log: name, components, losses `[step][component]`. Its steps count from 0.
struct Run {
    name: String,
    components: Vec<String>,
    losses: Vec<Vec<f32>>,
}

fn runs() -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in fs::read_to_string(data(LONG)).unwrap().lines().skip(1) {
        let [name, step, component, value] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if runs.last().is_none_or(|run| run.name != name) {
            runs.push(Run { name: name.to_owned(), components: Vec::new(), losses: Vec::new() });
        }
        let run = runs.last_mut().unwrap();
        let step: usize = step.parse().unwrap();
        if step == 0 {
            run.components.push(component.to_owned());
        }
        run.losses.resize(step + 1, Vec::new());
        run.losses[step].push(value.parse().unwrap_or(f32::NAN));
    }
    runs
}

/// All updates of all runs, from one balancer to which every run is a group.
fn by_hand(runs: &[Run], config: &BalancerConfig, window: usize) -> BTreeMap<(String, i64, String), (f32, String)> {
    let mut offsets = vec![0u32];
    for run in runs {
        offsets.push(offsets.last().unwrap() + run.components.len() as u32);
    }
    let plan = BalancerPlan::new(config.clone(), Shape::ragged(offsets.clone(), window).unwrap()).unwrap();
    let mut balancer = cpu::Balancer::new(&plan);
    let mut updates = BTreeMap::new();
    for step in 0..runs.iter().map(|run| run.losses.len()).max().unwrap() {
        // Runs that have ended are pushed on, and not looked at.
        let losses: Vec<f32> = runs
            .iter()
            .flat_map(|run| run.losses.get(step).cloned().unwrap_or(vec![f32::NAN; run.components.len()]))
            .collect();
        balancer.push(&losses).unwrap();
        let (push, first) = (step as u32 + 1, config.first_update());
        if push < first || (push - first) % config.every != 0 {
            continue;
        }
        for (group, run) in runs.iter().enumerate().filter(|(_, run)| step < run.losses.len()) {
            for (i, component) in run.components.iter().enumerate() {
                let weight = balancer.weights()[offsets[group] as usize + i];
                let status = balancer.status()[group].to_string();
                updates.insert((run.name.clone(), step as i64, component.clone()), (weight, status));
            }
        }
    }
    updates
}

/// Options, and the balancer and window that they stand for.
fn cases() -> Vec<(&'static str, BalancerConfig, usize)> {
    let original = Config::original;
    vec![
        ("", BalancerConfig::new(original()), 5),
        (
            "--variant loss-weighted --beta 10 --order 2 --window 8 --every 7 --first 3",
            BalancerConfig::new(Config::loss_weighted().with_beta(10.0).with_order(2)).with_every(7).with_first(3),
            8,
        ),
        (
            "--slope least-squares --normalize l1 --beta -2 --every 5 --smoothing 0.75",
            {
                let config = Config::original().with_slope(Slope::LeastSquares).with_beta(-2.0);
                let config = config.with_normalize(softadapt::Normalize::L1);
                BalancerConfig::new(config).with_every(5).with_smoothing(Smoothing::Exponential { keep: 0.75 })
            },
            5,
        ),
        (
            "--variant normalized --slope backward --order 1 --window 3 --every 10 --cycle-mean",
            BalancerConfig::new(Config::normalized().with_slope(Slope::Backward { order: Some(1) }))
                .with_every(10)
                .with_smoothing(Smoothing::CycleMean),
            3,
        ),
        ("--tumbling --every 5 --first 6 --window 6 --initial ones", BalancerConfig::packages_loop(original(), 5), 6),
        (
            "--beta-schedule linear,0,3,40 --slope last",
            BalancerConfig::new(original().with_slope(Slope::Last)).with_beta_schedule(BetaSchedule::Linear {
                from: 0.0,
                to: 3.0,
                over: 40,
            }),
            5,
        ),
        (
            "--beta-schedule cosine,1,0,10 --tumbling --order 2 --every 4",
            BalancerConfig::new(original().with_order(2))
                .with_beta_schedule(BetaSchedule::Cosine { from: 1.0, to: 0.0, over: 10 })
                .with_window(Window::Tumbling)
                .with_every(4)
                .with_initial(InitialWeights::Neutral),
            5,
        ),
    ]
}

#[test]
fn every_update_is_that_of_a_balancer() {
    let runs = runs();
    assert_eq!(runs.len(), 52);
    for (options, config, window) in cases() {
        let expected = by_hand(&runs, &config, window);
        let options_cpu = format!("--backend cpu {options}");
        let found = replay(&data(LONG), &options_cpu.split_whitespace().collect::<Vec<_>>());
        assert_eq!(found.len(), expected.len(), "{options}");
        let mut flagged = 0;
        for (run, step, component, _, weight, status) in found {
            let (expected, word) = &expected[&(run.clone(), step, component.clone())];
            assert_eq!(weight.to_bits(), expected.to_bits(), "{options}: {run} {step} {component}");
            assert_eq!(&status, word, "{options}: {run} {step} {component}");
            flagged += usize::from(status != "ok");
        }
        assert!(flagged > 0, "{options}: two runs diverge");
    }
}

/// As `every_update_is_that_of_a_balancer`, on the device: by hand and by the command.
#[cfg(feature = "gpu")]
#[test]
fn every_update_on_the_gpu_is_that_of_a_balancer_there() {
    use softadapt::host::{AdapterChoice, Context};
    let runs = runs();
    let context = Context::new(&AdapterChoice::Any).unwrap();
    for (options, config, window) in cases() {
        // The log of a balancer to which every run is a group, with the steps after a run's end left out.
        let mut offsets = vec![0u32];
        for run in &runs {
            offsets.push(offsets.last().unwrap() + run.components.len() as u32);
        }
        let shape = Shape::ragged(offsets, window).unwrap();
        let balancer = context.balancer(&BalancerPlan::new(config.clone().with_log(200), shape).unwrap()).unwrap();
        for step in 0..runs.iter().map(|run| run.losses.len()).max().unwrap() {
            let losses: Vec<f32> = runs
                .iter()
                .flat_map(|run| run.losses.get(step).cloned().unwrap_or(vec![f32::NAN; run.components.len()]))
                .collect();
            balancer.push(&losses).unwrap();
        }
        let log = balancer.log().unwrap();
        let mut expected = BTreeMap::new();
        for (group, run) in runs.iter().enumerate() {
            for update in log.entries(group).into_iter().filter(|update| update.step as usize <= run.losses.len()) {
                for (component, weight) in run.components.iter().zip(&update.weights) {
                    let key = (run.name.clone(), i64::from(update.step) - 1, component.clone());
                    expected.insert(key, (*weight, update.status.to_string()));
                }
            }
        }
        let options_gpu = format!("--backend gpu {options}");
        let found = replay(&data(LONG), &options_gpu.split_whitespace().collect::<Vec<_>>());
        assert_eq!(found.len(), expected.len(), "{options}");
        let cpu = by_hand(&runs, &config, window);
        let bounds = bounds(&runs, &config, window);
        let mut compared = 0;
        for (run, step, component, _, weight, status) in found {
            let key = (run.clone(), step, component.clone());
            let (on_device, word) = &expected[&key];
            assert_eq!(weight.to_bits(), on_device.to_bits(), "{options}: {run} {step} {component}");
            assert_eq!((&status, &status), (word, &cpu[&key].1), "{options}: {run} {step} {component}");
            if let Some(bound) = bounds.get(&key).filter(|_| status == "ok") {
                // Either path may be as far from the truth.
                let distance = (f64::from(weight) - f64::from(cpu[&key].0)).abs();
                assert!(distance <= 2.0 * bound, "{options}: {run} {step} {component}: {distance:e}, {bound:e}");
                compared += 1;
            }
        }
        assert_eq!(compared > 1000, !bounds.is_empty(), "{options}");
    }
}

/// How far the weights at every step may be from the truth, for balancers whose weights depend on the window alone.
#[cfg(feature = "gpu")]
fn bounds(runs: &[Run], config: &BalancerConfig, window: usize) -> BTreeMap<(String, i64, String), f64> {
    let plain = config.smoothing == Smoothing::None && config.window == Window::Sliding;
    if !plain || config.beta_schedule != BetaSchedule::Constant {
        return BTreeMap::new();
    }
    let (mut keys, mut losses, mut offsets, mut points) = (Vec::new(), Vec::new(), vec![0u32], Vec::new());
    for run in runs {
        for step in 0..run.losses.len() {
            let seen = &run.losses[(step + 1).saturating_sub(window)..=step];
            for (i, component) in run.components.iter().enumerate() {
                keys.push((run.name.clone(), step as i64, component.clone()));
                losses.resize(losses.len() + window - seen.len(), 0.0);
                losses.extend(seen.iter().map(|losses| f64::from(losses[i])));
            }
            offsets.push(keys.len() as u32);
            points.push(seen.len() as u32);
        }
    }
    let plan = softadapt::Plan::new(config.config.clone(), Shape::ragged(offsets, window).unwrap()).unwrap();
    let batch = softadapt::Batch { points: Some(&points), ..softadapt::Batch::new(&losses) };
    keys.into_iter().zip(softadapt::reference::error_bounds(&plan, &batch).unwrap().weights).collect()
}

#[test]
fn backends_are_those_of_weigh() {
    let summary = |options: &[&str]| stderr(&run(&[&["replay", &data(LONG), "-o", "/dev/null"], options].concat()));
    assert!(summary(&["--backend", "cpu"]).contains("s in all, CPU path, "));
    assert_eq!(
        summary(&["--backend", "reference"]),
        "softadapt: --backend reference weighs single windows and replays no training: choose auto, gpu or cpu\n"
    );
    assert_eq!(
        summary(&["--backend", "cpu", "--adapter", "x"]),
        "softadapt: --adapter \"x\" does not fit --backend cpu, which uses no GPU: leave one out\n"
    );
    // What is chosen by itself is what `weigh` chooses, for the same reason.
    let weigh = stderr(&run(&["weigh", &data(LONG), "-o", "/dev/null"]));
    let chosen = summary(&[]).lines().last().unwrap().split_once("in all, ").unwrap().1.to_owned();
    assert!(weigh.lines().any(|line| line == chosen), "{chosen}\n{weigh}");
    #[cfg(feature = "gpu")]
    {
        assert!(summary(&["--backend", "gpu"]).contains("s in all, GPU path, "));
        let message = summary(&["--adapter", "no such adapter"]);
        assert!(message.contains("no such adapter") && !message.contains("in all"), "{message}");
    }
}

#[test]
fn the_last_weights_are_those_of_weigh() {
    let output = run(&["weigh", &data(LONG), "--quiet", "--backend", "cpu"]);
    let weighed = common::by_name(&common::rows(&stdout(&output)));
    let mut last = BTreeMap::new();
    for (run, _, component, _, weight, status) in replay(&data(LONG), &[]) {
        last.insert((run, component), (weight, status));
    }
    assert_eq!(last.len(), weighed.len());
    for (key, (weight, status)) in last {
        let row = &weighed[&key];
        assert_eq!(row.status, status, "{key:?}");
        // A run that diverges keeps the weights that it had; without a past it gets neutral ones.
        if status == "ok" {
            assert_eq!(row.weight.parse::<f32>().unwrap(), weight, "{key:?}");
        }
    }
}

#[test]
fn all_steps_are_there_on_request() {
    let updates = replay(&data(LONG), &["--every", "10"]);
    let all = replay(&data(LONG), &["--every", "10", "--all-steps"]);
    assert_eq!((updates.len(), all.len()), (1888, 18_880));
    let at_updates: Vec<&Line> = all.iter().filter(|line| line.1 % 10 == 9).collect();
    assert_eq!(at_updates, updates.iter().collect::<Vec<_>>());
    assert!(all.iter().filter(|line| line.1 < 9).all(|line| line.5 == "not-ready"));
}

#[test]
fn formats_orders_and_outputs_do_not_matter() {
    let expected = replay(&data(LONG), &["--every", "3"]);
    assert_eq!(replay(&data(PARQUET), &["--every", "3"]), expected);
    let of_events = replay(&data(EVENTS), &["--every", "3", "--strip-prefix", "loss/"]);
    assert!(of_events.iter().all(|line| expected.contains(line)) && of_events.len() > 300);
    // Runs side by side: the same lines, in another order.
    let log = fs::read_to_string(data(LONG)).unwrap();
    let (header, body) = log.split_once('\n').unwrap();
    let step = |line: &str| line.split(',').nth(1).unwrap().parse::<usize>().unwrap();
    let mut rows: Vec<&str> = body.lines().collect();
    rows.sort_by_key(|line| step(line));
    let text = |rows: &[&str]| rows.iter().fold(header.to_owned() + "\n", |text, row| text + row + "\n");
    let sorted = |mut lines: Vec<Line>| {
        lines.sort_by(|a, b| (&a.0, a.1, &a.2).cmp(&(&b.0, b.1, &b.2)));
        lines
    };
    let output = run_with(&["replay", "-", "--quiet", "--every", "3"], text(&rows).as_bytes());
    assert_eq!(sorted(lines(&stdout(&output))), sorted(expected.clone()));
    // Backward, which has to be sorted; the components keep their order.
    rows.sort_by_key(|line| std::cmp::Reverse(step(line)));
    let backward = text(&rows);
    let output = run_with(&["replay", "-"], backward.as_bytes());
    assert!(stderr(&output).contains(": step 198 of run \"pinn-burgers-00\" comes after its step 199"));
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
    let output = run_with(&["replay", "-", "--quiet", "--every", "3", "--sort"], backward.as_bytes());
    assert_eq!(sorted(lines(&stdout(&output))), sorted(expected));
}

#[test]
fn nothing_is_left_of_a_replay_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.csv");
    let mut log = fs::read_to_string(data(LONG)).unwrap();
    writeln!(log, "r,0,a,oops").unwrap();
    let output = run_with(&["replay", "-", "-o", path.to_str().unwrap()], log.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("<stdin>:18882: column \"value\": \"oops\" is not a number"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The output grows while standard input stays open; then comes Ctrl-C, or a polite kill.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_no_half_written_file() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.csv");
        fs::write(&path, "precious").unwrap();
        let mut child =
            common::command(&["replay", "-", "-o", path.to_str().unwrap()]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&fs::read(data(LONG)).unwrap()).unwrap();
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let start = Instant::now();
        while files() < 2 {
            assert!(start.elapsed() < Duration::from_secs(60), "no temporary file appears");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(output.status.code(), Some(130), "{signal}");
        assert_eq!((files(), &*fs::read_to_string(&path).unwrap()), (1, "precious"), "{signal}");
    }
}
